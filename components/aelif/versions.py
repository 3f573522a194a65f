"""What code ran: versions of the libraries that matter, and one digest of our own code."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import aelif
from aelif.artifacts import digest_of, sha256_of

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "open_clip_torch", "POT", "kfp", "mlflow", "numpy")


def versions() -> dict[str, str]:
    """Return name → installed version of aelif, Python and the libraries behind the numbers.

    Those that run models are absent where they are not installed: in the image of CPU steps.
    """
    found = {"aelif": aelif.__version__, "python": platform.python_version()}
    for library in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


def code_version() -> str:
    """Return a digest of our package's files, part of every cache key: edited code never meets stale results."""
    root = Path(aelif.__file__).parent
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return digest_of([(path.relative_to(root).as_posix(), sha256_of(path)) for path in files])[:16]
