"""One training on several nodes: a TrainJob of Kubeflow Trainer, started, followed, and taken away at its end.

A step whose pod was lost finds the job that it had started, by a note in the work folder, and goes on to follow it.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aelif.artifacts import digest_of, new_folder, read_json, write_json
from aelif.config import ClusterConfig, DataConfig, TrainConfig, Trial, require, to_dict
from aelif.progress import StepProgress
from aelif.train.dreambooth import TrainReport
from aelif.train.exchange import REPORT, first_error, read_report, write_arguments
from aelif.train.following import POLL_S, Follower, find_job
from aelif.train.job import TrainJob
from aelif.train.launch import FOLLOWED
from aelif.train.trainjob import VOLUME, check_runtime, connect, read_own_pod, status_of, submit

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient

IMAGE_VARIABLE, RUN_VARIABLE = "AELIF_IMAGE", "AELIF_RUN_KEY"
_NOTE = "trainjob.json"
"""Names the job of a training; its work folder, of the same name, lies beside it."""
_MODEL = "model"
_ARRIVAL_S = 90.0
"""How long a file of another node may take to be seen here: NFS remembers for a minute what was not there."""


def train_on_nodes(
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
    cluster: ClusterConfig,
    client: TrainerClient | None = None,
    volume: Path = VOLUME,
) -> TrainReport:
    """Do what `fine_tune` does, on `cluster.nodes` nodes with `cluster.accelerators` each.

    Args:
        base: diffusers folder of the base model.
        photos: image folder of the subjects.
        class_images: image folder of the class prompts.
        output: the folder to write.
        trial: variant and seed.
        data: prompts and image size.
        config: training settings; `batch_size` is each device's.
        checkpoint_dir: folder on the shared volume, for checkpoints and what the nodes read and write.
        progress: told the steps.
        cluster: where to train.
        client: of the cluster; None: of the one that this pod runs in.
        volume: where the shared volume is mounted, here and on the nodes.

    Raises:
        ValueError, FloatingPointError, MemoryError: as `fine_tune` does.
        RuntimeError: if a process fails otherwise, or Kubernetes does; the job is deleted.
    """
    require(checkpoint_dir is not None and checkpoint_dir.is_relative_to(volume), "checkpoint_root",
            str(checkpoint_dir or ""), f"training on {cluster.nodes} nodes needs a folder below {volume}, "
            "where all of them see it")  # fmt: skip
    assert checkpoint_dir is not None
    image = os.environ.get(IMAGE_VARIABLE, "")
    require(bool(image), IMAGE_VARIABLE, image, "the nodes run this step's image; a package that aelif compile wrote "
            "names it, set it in any other")  # fmt: skip
    if client is None:
        client = connect(cluster)
    else:
        check_runtime(client, cluster)
    prior = class_images if config.prior_preservation else None
    job = TrainJob(base=base, photos=photos, class_images=prior, trial=trial, data=data, config=config)
    notes = {"aelif/run": os.environ.get(RUN_VARIABLE, ""), "aelif/trial": str(trial)}
    key = digest_of({**job.origin(), **notes, "cluster": to_dict(cluster)})
    root = checkpoint_dir / f"trainjob-{key[:16]}"
    with _stopped_by_signal():
        name = _running(client, root)
        found = name is not None
        if name is None:
            name = f"aelif-{key[:10]}-{uuid4().hex[:6]}"
        work = root / name
        try:
            if found:
                progress.emit("trainjob", name=name, state="found; going on with it")
            else:
                _lay_out(job, work, checkpoint_dir=checkpoint_dir)
                write_json(root / _NOTE, {"name": name})  # before there is a job: it must never be lost from sight
                submit(client, name, work, cluster=cluster, pod=read_own_pod(client, image), notes=notes, volume=volume)
            Follower(client=client, name=name, work=work, progress=progress, poll_s=POLL_S).follow()
            return _fetch(work, output)
        finally:
            _take_away(client, name, progress)
            shutil.rmtree(root, ignore_errors=True)  # processes that end just now may still write there


def _running(client: TrainerClient, root: Path) -> str | None:
    """Return the job that an earlier attempt of this step started, if it is of use; remove what is not."""
    if (root / _NOTE).exists():
        name = str(read_json(root / _NOTE)["name"])
        job = find_job(client, name)
        if job is not None and job.status != "Failed" and first_error(root / name) is None:
            return name
        if job is not None:
            client.delete_job(name)
    shutil.rmtree(root, ignore_errors=True)
    return None


def _lay_out(job: TrainJob, work: Path, *, checkpoint_dir: Path) -> None:
    """Write the work folder: all that the nodes read."""
    inputs = {"base": job.base, "photos": job.photos, "class_images": job.class_images}
    with new_folder(work) as folder:
        for name, source in inputs.items():
            if source is not None:
                shutil.copytree(source, folder / name)
        places: dict[str, Any] = {name: work / name if source is not None else None for name, source in inputs.items()}
        write_arguments(folder, **places, output=work / _MODEL, trial=job.trial, data=job.data, config=job.config,
                        checkpoint_dir=checkpoint_dir)  # fmt: skip
        (folder / FOLLOWED).touch()


def _fetch(work: Path, output: Path) -> TrainReport:
    """Copy the model folder to its place and return the report."""
    deadline = time.monotonic() + _ARRIVAL_S
    while not (work / REPORT).exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{work / REPORT}: the training ended without its report; is the volume the same one "
                               "on all nodes (ReadWriteMany)?")  # fmt: skip
        time.sleep(0.5)
    report = read_report(work)
    with new_folder(output) as folder:
        shutil.copytree(work / _MODEL, folder, dirs_exist_ok=True)
    return report


def _take_away(client: TrainerClient, name: str, progress: StepProgress) -> None:
    """Delete the job and, by that, its pods; a fault is told, for the training has its own end."""
    try:
        client.delete_job(name)
    except (RuntimeError, TimeoutError) as error:
        if status_of(error) != 404:
            progress.emit("warning", message=f"TrainJob {name} could not be deleted: {error.__cause__ or error}; "
                          f"run kubectl delete trainjob {name}")  # fmt: skip


@contextmanager
def _stopped_by_signal() -> Iterator[None]:
    """Let SIGTERM, by which Kubernetes ends a pod, unwind what is inside instead of ending the process at once."""
    if threading.current_thread() is not threading.main_thread():  # which alone may set it
        yield
        return

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # what unwinds now must come to its end
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
