"""One training on all GPUs of a machine: in this process, or in one process each, by ``accelerate launch``.

As a module it is one of those processes; `aelif.train.nodes` starts it on several nodes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from aelif.config import DataConfig, TrainConfig, Trial, require
from aelif.progress import StepProgress
from aelif.train.dreambooth import TrainReport, fine_tune
from aelif.train.exchange import first_error, read_arguments, read_report, write_arguments, write_error, write_report

_GRACE_S = 30
FOLLOWED = "followed"
"""File that whoever follows a training on other nodes touches every few seconds."""
UNFOLLOWED_S = 1800
"""After which such a training stops: as long as a lost pod may need to come back, with its inputs."""


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
    return _launch(count, base=base, photos=photos, class_images=class_images, output=output, trial=trial, data=data,
                   config=config, checkpoint_dir=checkpoint_dir)  # fmt: skip


def _launch(count: int, **arguments: Any) -> TrainReport:
    """Run a training in `count` processes and return the first one's report."""
    with TemporaryDirectory(prefix="aelif-train-") as scratch:
        folder = Path(scratch)
        write_arguments(folder, **arguments)
        status = _run(_command(folder, count))
        if status:
            raise first_error(folder) or RuntimeError(
                f"a training process was killed (exit status {status}); if it was for memory, "
                "lower batch_size or turn gradient_checkpointing on"
            )
        return read_report(folder)


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


class _Silence(StepProgress):
    """Progress of a process that is not the first: the first speaks for all."""

    def emit(self, event: str, **fields: object) -> None:
        """Say nothing."""

    def measure(self, points: Mapping[int, Mapping[str, float]]) -> None:
        """Record nothing."""


class _Followed(StepProgress):
    """Progress of a training that ends when nobody follows it any more: its GPUs are dear."""

    def __init__(self, label: str, sign: Path) -> None:
        super().__init__("train", label)
        self._sign = sign
        self._check("before its first step")  # Kubernetes starts a pod that failed once more

    def advance(self, done: int, total: int, unit: str) -> None:
        """Say how far it is.

        Raises:
            RuntimeError: if nobody followed for `UNFOLLOWED_S`.
        """
        self._check(f"after {done} {unit}")
        super().advance(done, total, unit)

    def _check(self, when: str) -> None:
        alone_s = time.time() - self._sign.stat().st_mtime
        if alone_s > UNFOLLOWED_S:
            raise RuntimeError(f"stopped {when}: the step that started this training is gone for "
                               f"{alone_s / 60:.0f} minutes")  # fmt: skip


def main(folder: Path) -> None:
    """Run one process of a training; its arguments, report and errors are files in `folder`."""
    rank, arguments = int(os.environ["RANK"]), read_arguments(folder)
    try:
        report = fine_tune(**arguments, progress=_progress(folder, rank, str(arguments["trial"])))
    except Exception as error:  # whatever it is, the launching process tells it; it goes on from here as well
        write_error(folder, rank, error)
        raise
    if rank == 0:
        write_report(folder, report)


def _progress(folder: Path, rank: int, label: str) -> StepProgress:
    if rank:
        return _Silence("train", "")
    sign = folder / FOLLOWED
    return _Followed(label, sign) if sign.exists() else StepProgress("train", label)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
