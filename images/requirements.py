"""Print what an image installs beside our own package: the dependencies of pyproject.toml that its steps import.

Versions come from constraints.txt, one lock for both images. Needs only the standard library, so that
it runs in an empty base image.

Example: python3 images/requirements.py cpu
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"

MODELS_ONLY = frozenset(
    {"accelerate", "diffusers", "open-clip-torch", "peft", "timm", "torch", "torchvision", "transformers"}
)
"""What only steps that run a model import: the CPU image does without, and so without 5 GB of CUDA.

`tests/images/test_requirements.py` follows the imports of every CPU step and holds this.
"""

EXTRAS = {"cpu": ("server",), "gpu": ("gpu-metrics", "optimizers", "trainer")}
"""Image → extras of pyproject.toml that it holds; the CPU image also serves MLflow (manifests/base/servers)."""


def requirements(image: str, *, project: Path = PROJECT) -> list[str]:
    """Return the requirements of `image`, as pyproject.toml writes them.

    Raises:
        ValueError: if there is no such image.
    """
    if image not in EXTRAS:
        raise ValueError(f"image = {image!r}: known are {', '.join(EXTRAS)}")
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    wanted = list(declared["dependencies"])
    for extra in EXTRAS[image]:
        wanted += declared["optional-dependencies"][extra]
    return [one for one in wanted if image == "gpu" or name_of(one) not in MODELS_ONLY]


def name_of(requirement: str) -> str:
    """Return the normalised name of a requirement: ``open-clip-torch`` of ``open_clip_torch>=3.2``."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: requirements.py cpu|gpu")
    try:
        print("\n".join(requirements(sys.argv[1])))
    except ValueError as error:
        sys.exit(str(error))
