"""How a step says what it is doing: events for a watching terminal, or plain lines in a pod's log.

The watcher (`aelif run`) sets `AELIF_EVENTS` to a file; every step appends JSON lines to it.
Without the variable, on a cluster, the same news is printed every few seconds.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

EVENTS_VARIABLE = "AELIF_EVENTS"
MEASURES_VARIABLE = "AELIF_MEASURES"
"""File for a step's metrics, set by `aelif.registry.live`; processes that the step starts inherit it."""
_INTERVAL_S = {"events": 0.25, "lines": 10.0}


class StepProgress:
    """Reports one step's own work; made by `step_work`."""

    def __init__(self, step: str, label: str) -> None:
        self._step, self._label = step, label
        path = os.environ.get(EVENTS_VARIABLE)
        self._events = Path(path) if path else None
        self._last = 0.0
        self._pace: tuple[float, int] | None = None

    def advance(self, done: int, total: int, unit: str) -> None:
        """Say that `done` of `total` units ("steps", "images" …) are finished; rate-limited."""
        now = time.monotonic()
        if done < total and now - self._last < _INTERVAL_S["events" if self._events else "lines"]:
            return
        self._last = now
        self.emit("progress", done=done, total=total, unit=unit)
        if self._pace and done > self._pace[1] and now > self._pace[0]:
            rate = (done - self._pace[1]) / (now - self._pace[0])
            self.measure({done: {f"{self._step}/{unit}_per_second": rate}})
        self._pace = (now, done)

    def measure(self, points: Mapping[int, Mapping[str, float]]) -> None:
        """Record metrics, step → name → value, for MLflow; without a file for them, nothing.

        One appended line for each step: training waits for no server.
        """
        path = os.environ.get(MEASURES_VARIABLE)
        if not path:
            return
        try:
            append_lines(Path(path), [{"kind": "metrics", "step": step, "values": dict(values)}
                                      for step, values in points.items()])  # fmt: skip
        except OSError as error:  # a full disk, perhaps: training itself may need none
            os.environ.pop(MEASURES_VARIABLE)
            self.emit("warning", message=f"metrics of this step are no longer recorded: {error}")

    def emit(self, event: str, **fields: object) -> None:
        """Append one event, or print it where nobody watches."""
        if self._events is None:
            words = " ".join(f"{key}={value}" for key, value in fields.items())
            print(f"[{self._step}{' ' + self._label if self._label else ''}] {event} {words}".rstrip(), flush=True)
            return
        line = {"time": time.time(), "step": self._step, "label": self._label, "event": event, **fields}
        with self._events.open("a") as file:  # short appends are atomic: several steps share the file
            file.write(json.dumps(line) + "\n")


def append_lines(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Append JSON lines with the time in milliseconds, in one write: threads and processes may share the file."""
    now = time.time_ns() // 1_000_000
    text = "".join(json.dumps({"time": now, **record}, ensure_ascii=False) + "\n" for record in records)
    with path.open("ab", buffering=0) as file:
        file.write(text.encode())


@contextmanager
def step_work(step: str, label: str = "") -> Iterator[StepProgress]:
    """Mark the span in which a step does its own work, after imports; a failure is reported and re-raised.

    Args:
        step: name of the step, such as ``"train"``.
        label: which trial or shard, such as ``"aelif_mask:0.3/seed=0"``.
    """
    import psutil

    progress = StepProgress(step, label)
    progress.emit("start", launched=psutil.Process().create_time(), pid=os.getpid())
    try:
        yield progress
    except BaseException as error:
        progress.emit("failed", error=str(error) or type(error).__name__, kind=type(error).__name__)
        raise
    progress.emit("end")
