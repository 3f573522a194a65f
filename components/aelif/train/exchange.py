"""What a launching process and those of a training tell each other, as files of a folder that all of them see."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aelif.artifacts import read_json, write_json
from aelif.config import DataConfig, TrainConfig, Trial, from_dict, to_dict
from aelif.train.dreambooth import TrainReport

REPORT = "report.json"
_ARGUMENTS = "arguments.json"
_FOLDERS = ("base", "photos", "class_images", "output", "checkpoint_dir")
_KINDS = {kind.__name__: kind for kind in (ValueError, FloatingPointError, MemoryError)}
"""Errors that the launching process raises as they are."""


def write_arguments(
    folder: Path,
    *,
    base: Path,
    photos: Path,
    class_images: Path | None,
    output: Path,
    trial: Trial,
    data: DataConfig,
    config: TrainConfig,
    checkpoint_dir: Path | None,
) -> None:
    """Write the arguments of `fine_tune`."""
    paths = dict(zip(_FOLDERS, (base, photos, class_images, output, checkpoint_dir), strict=True))
    write_json(folder / _ARGUMENTS, {
        **{name: str(path) if path else None for name, path in paths.items()},
        "trial": str(trial), "data": to_dict(data), "config": to_dict(config),
    })  # fmt: skip


def read_arguments(folder: Path) -> dict[str, Any]:
    """Return the arguments of `fine_tune`."""
    arguments = read_json(folder / _ARGUMENTS)
    return {
        **{name: Path(arguments[name]) if arguments[name] else None for name in _FOLDERS},
        "trial": Trial.parse(arguments["trial"]),
        "data": from_dict(DataConfig, arguments["data"]),
        "config": from_dict(TrainConfig, arguments["config"]),
    }


def write_report(folder: Path, report: TrainReport) -> None:
    """Write what the training did: the last thing that its first process does."""
    write_json(folder / REPORT, asdict(report))


def read_report(folder: Path) -> TrainReport:
    """Return what the training did."""
    report = read_json(folder / REPORT)
    return TrainReport(**{**report, "losses": tuple(report["losses"])})


def write_error(folder: Path, rank: int, error: Exception) -> None:
    """Write why a process failed, unless nobody waits for it any more."""
    if not folder.is_dir():
        return
    write_json(folder / f"error-{rank}.json",
               {"time": time.time(), "kind": type(error).__name__, "message": str(error)})  # fmt: skip


def first_error(folder: Path) -> Exception | None:
    """Return the error of the process that failed first, if any: what the others say is but its consequence."""
    errors = sorted((read_json(path) for path in folder.glob("error-*.json")), key=lambda error: error["time"])
    if not errors:
        return None
    kind, message = errors[0]["kind"], errors[0]["message"]
    return _KINDS[kind](message) if kind in _KINDS else RuntimeError(f"{kind}: {message}")
