"""Where a run's time went, from the events of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One process of one step; times are seconds since the epoch."""

    step: str
    label: str
    launched: float
    """When the process was created: interpreter start and imports come next."""
    start: float
    """When its own work began."""
    end: float
    failed: bool = False


def spans_of(events: list[dict[str, Any]]) -> list[Span]:
    """Pair start and end events of each step; a step that never ended is left out."""
    started: dict[tuple[str, str], dict[str, Any]] = {}
    spans = []
    for event in events:
        key = (event["step"], event["label"])
        if event["event"] == "start":
            started[key] = event
        elif event["event"] in ("end", "failed") and key in started:
            begin = started.pop(key)
            spans.append(
                Span(
                    step=event["step"],
                    label=event["label"],
                    launched=begin["launched"],
                    start=begin["time"],
                    end=event["time"],
                    failed=event["event"] == "failed",
                )
            )
    return spans


def orchestration_seconds(spans: list[Span], *, began: float, ended: float) -> float:
    """Return the wall-clock time of a run that was not its steps' own work.

    At every instant the wall clock is shared among the step processes alive: those that still
    start their interpreter or import count as orchestration, those at work do not; an instant
    with no step process at all is orchestration wholly.
    """
    marks = sorted({began, ended, *(t for span in spans for t in (span.launched, span.start, span.end))})
    marks = [mark for mark in marks if began <= mark <= ended]
    idle = 0.0
    for left, right in pairwise(marks):
        alive = [span for span in spans if span.launched <= left < span.end]
        working = sum(span.start <= left for span in alive)
        idle += (right - left) * (1 - working / len(alive) if alive else 1.0)
    return idle


def timings(events: list[dict[str, Any]], *, began: float, ended: float) -> dict[str, Any]:
    """Return `total_s`, `orchestration_s` and, per step, the seconds of its own work over all its tasks."""
    spans = spans_of(events)
    steps: dict[str, float] = {}
    for span in spans:
        steps[span.step] = steps.get(span.step, 0.0) + span.end - span.start
    return {
        "total_s": round(ended - began, 2),
        "orchestration_s": round(orchestration_seconds(spans, began=began, ended=ended), 2),
        "steps_s": {step: round(seconds, 2) for step, seconds in steps.items()},
    }
