"""Watches a TrainJob from the step that started it: states, progress, metrics and log, until it ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelif.progress import StepProgress
from aelif.train.exchange import first_error
from aelif.train.launch import FOLLOWED
from aelif.train.trainjob import EVENTS, MEASURES, NODE, status_of

if TYPE_CHECKING:
    from kubeflow.trainer import TrainerClient
    from kubeflow.trainer.types.types import TrainJob

POLL_S = 5.0
"""Between two looks."""
AWAY_S = 300.0
"""How long the API server may be away: training needs it as little as a terminal."""
_WAITING_S = 60.0
"""Between two words about why a node has not started."""


def find_job(client: TrainerClient, name: str) -> TrainJob | None:
    """Return a TrainJob, or None if there is none.

    Raises:
        RuntimeError, TimeoutError: if the API server does not say.
    """
    try:
        return client.get_job(name)
    except RuntimeError as error:
        # The SDK looks up the job's runtime as well, which may be missing by itself.
        if status_of(error) == 404 and "TrainJob" in str(error):
            return None
        raise


@dataclass(slots=True, kw_only=True)
class Follower:
    """One TrainJob, followed to its end."""

    client: TrainerClient
    name: str
    work: Path
    """Its work folder."""
    progress: StepProgress
    poll_s: float = POLL_S
    away_s: float = AWAY_S
    _told: str = ""
    _why: str = ""
    _heard: float = field(default_factory=time.monotonic)
    _asked: float = field(default_factory=time.monotonic)
    _read: dict[str, int] = field(default_factory=dict)
    _log: threading.Thread | None = None

    def follow(self) -> None:
        """Return when the job is complete.

        Raises:
            ValueError, FloatingPointError, MemoryError: as `fine_tune` does, in the words of the process that failed
                first.
            RuntimeError: if it failed otherwise, was deleted, or the API server stays away.
        """
        while True:
            (self.work / FOLLOWED).touch()
            job = self._look()
            self._pass_on()
            if first_error(self.work) is not None:
                time.sleep(self.poll_s)  # an earlier error may still be on its way
                raise self._failure(job)
            if job is not None and job.status in ("Complete", "Failed"):
                if self._log is not None:
                    self._log.join(self.poll_s)
                if job.status == "Complete":
                    self._pass_on()
                    return
                raise self._failure(job)
            time.sleep(self.poll_s)

    def _look(self) -> TrainJob | None:
        """Return the job's state and tell it where it changed; None while the API server is away."""
        try:
            job = find_job(self.client, self.name)
        except (RuntimeError, TimeoutError) as error:
            if time.monotonic() - self._heard > self.away_s:
                raise RuntimeError(f"TrainJob {self.name}: the API server does not answer for {self.away_s:g} s: "
                                   f"{error.__cause__ or error}") from error  # fmt: skip
            return None
        if job is None:
            raise RuntimeError(f"TrainJob {self.name} was deleted by somebody else")
        self._heard = time.monotonic()
        state = states(job)
        if state != self._told:
            self._told = state
            self.progress.emit("trainjob", name=self.name, state=state)
        running = {step.name: step.status for step in job.steps}.get(f"{NODE}-0") == "Running"
        if running and self._log is None:
            self._log = threading.Thread(target=self._stream, daemon=True, name="aelif-node-log")
            self._log.start()
        if any(step.status == "Pending" for step in job.steps) or len(job.steps) < job.num_nodes:
            self._tell_why()
        return job

    def _tell_why(self) -> None:
        """Say what Kubernetes has to say of a job whose nodes do not start."""
        if time.monotonic() - self._asked < _WAITING_S:
            return
        self._asked = time.monotonic()
        why = self._last_event()
        if why and why != self._why:
            self._why = why
            self.progress.emit("waiting", name=self.name, why=why)

    def _last_event(self) -> str:
        try:
            events = self.client.get_job_events(self.name)
        except (RuntimeError, TimeoutError, OSError) as error:  # only words are at stake
            return f"its events are not known: {error.__cause__ or error}"
        return f"{events[-1].reason}: {events[-1].message}" if events else ""

    def _stream(self) -> None:
        """Print the first node's log, in a thread of its own: it blocks."""
        try:
            for line in self.client.get_job_logs(self.name, follow=True):
                print(f"[{NODE}-0] {line}", flush=True)
        except RuntimeError as error:  # training goes on; errors and progress come by the work folder
            self.progress.emit("warning", message=f"the log of {NODE}-0 is no longer shown: {error.__cause__ or error}")

    def _pass_on(self) -> None:
        """Tell what the first process wrote since the last look: of several words on progress the last one."""
        latest: dict[str, Any] | None = None
        for line in self._new_lines(EVENTS):
            fields = {name: value for name, value in line.items() if name not in ("time", "step", "label")}
            if fields["event"] == "progress":
                latest = fields
            else:
                self.progress.emit(**fields)
        if latest:
            self.progress.emit(**latest)
        self.progress.measure({int(line["step"]): line["values"] for line in self._new_lines(MEASURES)})

    def _new_lines(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.work / name
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._read.get(name, 0))
            for line in file:
                if not line.endswith(b"\n"):  # half of it has arrived
                    return
                self._read[name] = self._read.get(name, 0) + len(line)
                yield json.loads(line)

    def _failure(self, job: TrainJob | None) -> Exception:
        """Return the error of the process that failed first, else what Kubernetes says."""
        error = first_error(self.work)
        if error is not None and not isinstance(error, RuntimeError):
            return error
        known = states(job) if job else self._told
        if error is not None:
            return RuntimeError(f"{error} (TrainJob {self.name}: {known}; where a node was lost or killed for memory, "
                                "this is what the others made of it)")  # fmt: skip
        event = self._last_event()
        last = f" (the last event: {event})" if event else ""
        return RuntimeError(f"TrainJob {self.name}: {known}; no process said why{last}; if it was for memory, "
                            "lower batch_size or turn gradient_checkpointing on")  # fmt: skip


def states(job: TrainJob) -> str:
    """Return the states of a job and its nodes in words: ``Running, node-0 Running, node-1 Pending``."""
    steps = sorted(job.steps, key=lambda step: (len(step.name), step.name))
    return ", ".join([job.status, *(f"{step.name} {step.status}" for step in steps)])
