"""What the steps of a run on a cluster do, read from the server's details of it.

A detail is a node of Argo Workflows: its own name is a task's, alike in every trial, and its identifier is left out;
what it has are the identifiers of the nodes that follow it. Those are hashes of full names (`node_id`), which
`aelif_pipelines.steps` foretells, so a node is recognised by its child. A step is such nodes (Kubeflow 2.17):
``NAME-driver`` → ``NAME`` → ``executor`` → ``executor(0)``, ``executor(1)`` …, the pods of its attempts. A cached
step's ``executor`` has no pods. Which of several pods waits for a machine cannot be told, only how many do.

On a server that names its nodes otherwise no step is recognised: then those of one name are counted, without saying
which trial they are of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from aelif_pipelines.steps import Task

State = Literal["", "running", "succeeded", "cached", "failed", "skipped"]
ENDED: tuple[State, ...] = ("succeeded", "cached", "failed", "skipped")
_STATES: dict[str, State] = {
    "PENDING": "running", "RUNNING": "running", "SUCCEEDED": "succeeded", "FAILED": "failed", "SKIPPED": "skipped",
}  # fmt: skip
_FNV_BASIS, _FNV_PRIME = 0x811C9DC5, 0x01000193


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """A step at one moment."""

    name: str
    label: str
    """Trial and shard, "" for a step that is there once."""
    state: State
    """"" has not begun."""
    began: datetime | None = None
    ended: datetime | None = None
    attempts: int = 1
    """Pods that were started for it, one after another."""
    pod: str = ""
    """How the name of the latest of them ends, "" where it is not known."""

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from the others."""
        return self.name, self.label

    @property
    def took(self) -> timedelta | None:
        """How long it worked, None while it does."""
        return self.ended - self.began if self.began and self.ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run at one moment."""

    steps: tuple[StepState, ...]
    waiting: int
    """Pods of steps that have no machine yet, or are being started."""
    failed_drivers: tuple[str, ...]
    """Names of steps that Kubeflow could not start."""
    workflow: str
    """Name of Argo's object, "" while no step has begun."""

    @property
    def done(self) -> int:
        """How many steps have ended."""
        return sum(step.state in ENDED for step in self.steps)


def read_states(details: Iterable[Any], run: Task) -> RunState:
    """Return what the steps do.

    Args:
        details: the server's `V2beta1PipelineTaskDetail` of the run.
        run: the run as foretold by `steps.expand`.
    """
    found = list(details)
    nodes = {
        (str(detail.display_name), str(child.pod_name)): detail
        for detail in found
        for child in detail.child_tasks or ()
    }
    workflow = next((child.rpartition("-")[0] for _, child in nodes), "")
    steps = [_step(step, workflow + step.node, nodes, workflow) for step in run.leaves()]
    unused = sum(detail.display_name == "executor" and detail.state == "SKIPPED" for detail in found)
    if sum(step.state == "cached" for step in steps) > unused:  # a package without repetitions: its pods are not told
        steps = [replace(step, state="succeeded") if step.state == "cached" else step for step in steps]
    if all(step.state == "" for step in steps):
        steps = _counted(steps, found)
    drivers = {str(detail.display_name) for detail in found if detail.state == "FAILED"}
    return RunState(
        steps=tuple(steps),
        waiting=sum(str(detail.display_name).startswith("executor") and detail.state == "PENDING" for detail in found),
        failed_drivers=tuple(sorted(name.removesuffix("-driver") for name in drivers if name.endswith("-driver"))),
        workflow=workflow,
    )


def _step(step: Task, node: str, nodes: Mapping[tuple[str, str], Any], workflow: str) -> StepState:
    """Return the state of one step; `node` is the full name of its node."""
    detail = nodes.get((step.name, node_id(workflow, f"{node}.executor")))
    state = _STATES.get(str(detail.state), "") if detail else ""
    if detail is None or not state:
        return StepState(name=step.name, label=step.label, state="")
    pods: list[str] = []
    while ("executor", pod := node_id(workflow, f"{node}.executor({len(pods)})")) in nodes:
        pods.append(pod)
    if state == "succeeded" and not pods:
        state = "cached"
    return StepState(
        name=step.name, label=step.label, state=state, began=detail.start_time,
        ended=_end(detail) if state in ENDED else None, attempts=max(1, len(pods)),
        pod=pods[-1].rpartition("-")[2] if pods else "",
    )  # fmt: skip


def _counted(steps: list[StepState], details: list[Any]) -> list[StepState]:
    """Return the states of unrecognised steps: as many of each name as the server tells of."""
    left = {step.name: [detail for detail in details if detail.display_name == step.name] for step in steps}
    counts = Counter(step.name for step in steps)
    numbers: Counter[str] = Counter()
    counted = []
    for step in steps:
        numbers[step.name] += 1
        many = f"{numbers[step.name]} of {counts[step.name]}" if counts[step.name] > 1 else ""
        detail = left[step.name].pop(0) if left[step.name] else None
        state = _STATES.get(str(detail.state), "") if detail else ""
        counted.append(StepState(name=step.name, label=many, state=state, began=detail.start_time if detail else None,
                                 ended=_end(detail) if state in ENDED else None))  # fmt: skip
    return counted if any(step.state for step in counted) else steps


def _end(detail: Any) -> datetime | None:
    """Return when a node ended; the server calls "not yet" a time long ago."""
    return detail.end_time if detail.end_time and detail.end_time >= detail.start_time else None


def node_id(workflow: str, node: str) -> str:
    """Return the identifier of an Argo node: the workflow's name and FNV-1a, 32 bits, of the node's full name."""
    value = _FNV_BASIS
    for byte in node.encode():
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return f"{workflow}-{value}"
