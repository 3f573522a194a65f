"""What code ran: versions of the libraries that matter, and one digest of our own code."""

from __future__ import annotations

import os
import platform
import subprocess
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


def git_sha() -> str:
    """Return the commit of our code: baked into an image as ``AELIF_GIT_SHA``, else of the checkout; "" without either.

    "-dirty" says that files differ from it.
    """
    if baked := os.environ.get("AELIF_GIT_SHA"):
        return baked
    root = Path(aelif.__file__).parent
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    is_ours = ["git", "-C", str(root), "ls-files", "--error-unmatch", "__init__.py"]  # not of another one around it
    try:
        subprocess.run(is_ours, capture_output=True, check=True, timeout=10)
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout
        return ""
