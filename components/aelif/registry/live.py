"""A step's own MLflow run while it works: metrics, machine load, duration, and how it ended.

Steps write to the spool, in microseconds; a thread sends it every few seconds. With the server away a
step works on as if it were there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aelif import __version__
from aelif.config import TrackingConfig, to_dict
from aelif.progress import EVENTS_VARIABLE, MEASURES_VARIABLE, StepProgress, append_lines, step_work
from aelif.registry.spool import Sent, begin_file, send, spool_folder
from aelif.retries import no_vain_repetition

INTERVAL_S = 5.0
"""Between two sendings, and between two looks at the machine."""
SHARED_S = 15.0
"""How long short steps of one machine leave what they have to say to a later one: to open a store takes half a second
of processor time."""
PATIENCE_S, LAST_PATIENCE_S = 0.5, 10.0
"""How long a sending waits for a store that is away or locked where another follows soon, and where none does."""
_LAST_SENT = ".last-sent"
_NOT_TRACKED = ("open_run", "close_run")
"""Steps that are about the execution's run, and have none."""
_ELSEWHERE = ("tracking", "settings", "code_version", "run_key", "trials")
"""Inputs that are no parameters of a step, or are the execution's."""
_POD = ("accelerator_", "cpu_", "memory_", "pipelinechannel--")
"""Beginnings of what Kubeflow adds to a step's inputs to place its pod."""


@contextmanager
def tracked_step(step: str, label: str = "") -> Iterator[StepProgress]:
    """Do what `aelif.progress.step_work` does, and tell MLflow; without `AELIF_SPOOL` or a run key, only the former.

    The store is that of ``MLFLOW_TRACKING_URI``, ``MLFLOW_EXPERIMENT_NAME`` and ``AELIF_ARTIFACT_LOCATION``.

    Args:
        step: name of the step, such as ``"train"``.
        label: which trial or shard, such as ``"aelif_mask:0.3/seed=0"``.
    """
    folder, run_key = spool_folder(), execution_key()
    with step_work(step, label) as progress, _once(folder, run_key, step, label):
        reporter = None if step in _NOT_TRACKED else _reporter(folder, run_key, step, label, progress)
        if reporter is None:
            yield progress
            return
        os.environ[MEASURES_VARIABLE] = str(reporter.path)
        reporter.start()
        state, cause = "FINISHED", ""
        try:
            yield progress
        except BaseException as error:
            state = "FAILED" if isinstance(error, Exception) else "KILLED"
            cause = str(error) or type(error).__name__
            raise
        finally:
            os.environ.pop(MEASURES_VARIABLE, None)
            reporter.end(state, cause)


def _once(folder: Path | None, run_key: str, step: str, label: str) -> AbstractContextManager[None]:
    return no_vain_repetition(folder, run_key, step, label) if folder else nullcontext()


def _reporter(folder: Path | None, run_key: str, step: str, label: str, progress: StepProgress) -> Reporter | None:
    """Return what reports a step; None where there is nowhere or nothing to report to."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if folder is None or not run_key or not uri:
        return None
    try:
        tracking = to_dict(
            TrackingConfig(
                tracking_uri=uri,
                experiment=os.environ.get("MLFLOW_EXPERIMENT_NAME") or "aelif",
                artifact_location=os.environ.get("AELIF_ARTIFACT_LOCATION", ""),
            )
        )
        tags = {"image.digest": os.environ.get("AELIF_IMAGE_DIGEST", ""), "aelif.version": __version__}
        path = begin_file(folder, tracking, run_key, kind="begin", step=step, label=label, params=step_inputs(sys.argv),
                          tags=tags)  # fmt: skip
    except (ValueError, OSError) as error:  # an address that is none, or a full disk: the step itself may do without
        progress.emit("warning", message=f"this step is not tracked: {error}")
        return None
    return Reporter(step=step, folder=folder, path=path, tracking=tracking, progress=progress)


@dataclass(slots=True, kw_only=True)
class Reporter:
    """Sends one step's spool file, and looks at the machine, in a thread."""

    step: str
    folder: Path
    path: Path
    tracking: Mapping[str, Any]
    progress: StepProgress
    interval_s: float = INTERVAL_S
    _began: float = field(default_factory=time.monotonic)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _warned: bool = False

    def start(self) -> None:
        """Begin to report."""
        self._thread = threading.Thread(target=self._report, daemon=True, name="aelif-tracking")
        self._thread.start()

    def end(self, state: str, cause: str) -> None:
        """Write how the step ended, and send it; where others follow on this machine, they may do that.

        Where many short steps share a folder, each sending would cost as much as the step.
        """
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=self.interval_s)  # it may wait for a server that does not answer
        given, took = os.environ.get("MLFLOW_RUN_ID", ""), time.monotonic() - self._began
        try:
            append_lines(self.path, [{"kind": "end", "step": self.step, "given": given, "state": state,
                                      "cause": cause, "duration_s": round(took, 3)}])  # fmt: skip
        except OSError as error:
            self._warn(str(error))
            return
        followed = EVENTS_VARIABLE in os.environ  # on this machine, `close_run` sends the rest
        if not (followed and state == "FINISHED" and self._sent_lately()):
            self._send(patience_s=PATIENCE_S if followed else LAST_PATIENCE_S)

    def _report(self) -> None:
        """Look and send, every few seconds, until the step ends."""
        import psutil

        psutil.cpu_percent()  # it counts from one call to the next
        machine: Machine | None = None
        while not self._stopped.wait(self.interval_s):
            machine = machine or Machine()
            self.progress.measure(machine.look())
            self._send()

    def _sent_lately(self) -> bool:
        marker = self.folder / _LAST_SENT
        return marker.exists() and time.time() - marker.stat().st_mtime < SHARED_S

    def _send(self, *, patience_s: float = PATIENCE_S) -> None:
        """Send what the folder holds; a fault is told once."""
        try:
            sent = send(self.folder, self.tracking, patience_s=patience_s, wait_s=patience_s)
            (self.folder / _LAST_SENT).touch()
        except (OSError, ValueError) as error:
            self._warn(str(error))
            return
        if sent.fault or sent.set_aside:
            self._warn(told(sent))

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            self.progress.emit("warning", message=message)


def told(sent: Sent) -> str:
    """Return what to tell a person of a sending that was not complete."""
    parts = [f"{sent.fault}; the metrics are kept in the spool and sent later"] if sent.fault else []
    parts += [f"MLflow refused {len(sent.set_aside)} lines, set aside in the spool: {sent.set_aside[0]}"
              ] if sent.set_aside else []  # fmt: skip
    return "; ".join(parts)


class Machine:
    """What MLflow's own monitors say of processor, memory, disk, network and GPU."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self._monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with suppress(ImportError, RuntimeError):  # no nvidia-ml-py, or no GPU
            self._monitors.append(GPUMonitor())
        node = os.environ.get("MLFLOW_SYSTEM_METRICS_NODE_ID")
        self._prefix = f"system/{node}/" if node else "system/"
        self._looks = 0

    def look(self) -> dict[int, dict[str, float]]:
        """Return the present figures, as `StepProgress.measure` takes them."""
        figures: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            figures |= {self._prefix + name: float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        self._looks += 1
        return {self._looks: figures}


def execution_key() -> str:
    """Return the execution's run key: of the pod's label, or what `open_run` reported here; "" if unknown."""
    if key := os.environ.get("AELIF_RUN_KEY"):
        return key
    events = Path(os.environ.get(EVENTS_VARIABLE, ""))
    if events.is_file():
        with events.open() as lines:
            for line in lines:
                event = json.loads(line)
                if event["step"] == "open_run":
                    return str(event["label"])
    return ""


def step_inputs(arguments: list[str]) -> dict[str, Any]:
    """Return a step's own input parameters, from the command line by which Kubeflow starts it; {} without one."""
    if "--executor_input" not in arguments[:-1]:
        return {}
    text = arguments[arguments.index("--executor_input") + 1]
    inputs = json.loads(text).get("inputs", {}).get("parameterValues", {})
    return {name: value for name, value in inputs.items() if name not in _ELSEWHERE and not name.startswith(_POD)}
