"""One training on all GPUs of a machine: in this process, or in one process each, by ``accelerate launch``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from aelif.artifacts import read_json, write_json
from aelif.config import DataConfig, TrainConfig, Trial, from_dict, require, to_dict
from aelif.progress import StepProgress
from aelif.train.dreambooth import TrainReport, fine_tune

_KINDS = {kind.__name__: kind for kind in (ValueError, FloatingPointError, MemoryError)}
"""Errors that the launching process raises as they are."""
_GRACE_S = 30


def train_on_all_devices(
    *,
    base: Path,
    photos: Path,
    class_images: Path | None,
    output: Path,
    trial: Trial,
    data: DataConfig,
    config: TrainConfig,
    checkpoint_dir: Path | None,
    progress: StepProgress,
    num_processes: int | None = None,
) -> TrainReport:
    """Do what `fine_tune` does, on as many GPUs as there are.

    Args:
        base: diffusers folder of the base model.
        photos: image folder of the subjects.
        class_images: image folder of the class prompts.
        output: the folder to write.
        trial: variant and seed.
        data: prompts and image size.
        config: training settings; `batch_size` is each device's.
        checkpoint_dir: where checkpoints go.
        progress: told the steps.
        num_processes: processes, each on a device of its own; None: one for each GPU, one without any.

    Raises:
        ValueError, FloatingPointError, MemoryError: as `fine_tune` does.
        RuntimeError: if a process fails otherwise; the others are stopped.
    """
    gpus = torch.cuda.device_count()
    count = num_processes if num_processes is not None else max(1, gpus)
    require(count >= 1 and (not gpus or count <= gpus), "num_processes", count, f"this machine has {gpus} GPUs")
    if count == 1:
        return fine_tune(
            base=base, photos=photos, class_images=class_images, output=output, trial=trial, data=data,
            config=config, checkpoint_dir=checkpoint_dir, progress=progress,
        )  # fmt: skip
    arguments = {
        "base": str(base), "photos": str(photos), "class_images": str(class_images) if class_images else None,
        "output": str(output), "trial": str(trial), "data": to_dict(data), "config": to_dict(config),
        "checkpoint_dir": str(checkpoint_dir) if checkpoint_dir else None,
    }  # fmt: skip
    return _launch(arguments, count)


def _launch(arguments: dict[str, Any], count: int) -> TrainReport:
    """Run a training in `count` processes and return the first one's report."""
    with TemporaryDirectory(prefix="aelif-train-") as scratch:
        folder = Path(scratch)
        write_json(folder / "arguments.json", arguments)
        status = _run(_command(folder, count))
        if status:
            raise _failure(folder, status)
        report = read_json(folder / "report.json")
    return TrainReport(**{**report, "losses": tuple(report["losses"])})


def _command(folder: Path, count: int) -> list[str]:
    """Return the command line; everything that a user's accelerate configuration could change is given."""
    return [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(count),
        "--num_machines", "1", "--machine_rank", "0", "--main_process_port", "0", "--mixed_precision", "no",
        "--dynamo_backend", "no", "--module", "aelif.train.launch", str(folder),
    ]  # fmt: skip


def _run(command: list[str]) -> int:
    """Run a command to its end and return its status; whatever stops us stops it too."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def _failure(folder: Path, status: int) -> Exception:
    """Return the error of the process that failed first: what the others say is but its consequence."""
    errors = sorted((read_json(path) for path in folder.glob("error-*.json")), key=lambda error: error["time"])
    if not errors:
        return RuntimeError(f"a training process was killed (exit status {status}); if it was for memory, "
                            "lower batch_size or turn gradient_checkpointing on")  # fmt: skip
    kind, message = errors[0]["kind"], errors[0]["message"]
    return _KINDS[kind](message) if kind in _KINDS else RuntimeError(f"{kind}: {message}")


class _Silence(StepProgress):
    """Progress of a process that is not the first: the first speaks for all."""

    def emit(self, event: str, **fields: object) -> None:
        """Say nothing."""

    def measure(self, points: Mapping[int, Mapping[str, float]]) -> None:
        """Record nothing."""


def main(folder: Path) -> None:
    """Run one process of a training; its arguments, report and errors are files in `folder`."""
    rank, arguments = int(os.environ["RANK"]), read_json(folder / "arguments.json")
    progress = _Silence("train", "") if rank else StepProgress("train", arguments["trial"])
    try:
        report = fine_tune(**_parsed(arguments), progress=progress)
    except Exception as error:  # whatever it is, the launching process tells it; it goes on from here as well
        write_json(folder / f"error-{rank}.json",
                   {"time": time.time(), "kind": type(error).__name__, "message": str(error)})  # fmt: skip
        raise
    if rank == 0:
        write_json(folder / "report.json", asdict(report))


def _parsed(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `fine_tune` from JSON."""
    folders = {name: Path(arguments[name]) if arguments[name] else None
               for name in ("base", "photos", "class_images", "output", "checkpoint_dir")}  # fmt: skip
    return {
        **folders,
        "trial": Trial.parse(arguments["trial"]),
        "data": from_dict(DataConfig, arguments["data"]),
        "config": from_dict(TrainConfig, arguments["config"]),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
