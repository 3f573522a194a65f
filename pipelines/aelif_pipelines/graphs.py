"""The pipelines by name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from aelif.config import nearest, require

PIPELINES = ("robustness", "retrain")


def load_pipeline(name: str) -> Any:
    """Return a pipeline; imports kfp and the components.

    Raises:
        ValueError: if there is none of this name.
    """
    require(name in PIPELINES, "pipeline", name, nearest(name, PIPELINES))
    return getattr(import_module(f"aelif_pipelines.{name}"), name)
