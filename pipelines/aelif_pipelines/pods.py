"""How many pods a run makes, and how many may be too many for Kubeflow and for the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aelif_pipelines.steps import Task, expand

MOST_PODS = 60
"""Of steps, in one run. Argo keeps a run in one object of at most 1 MiB, compressed, in which each step is six nodes:
about 0.75 MiB at this number, by an estimate from our packages. And a namespace's quota is seldom made for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlan:
    """What a run asks of a cluster if nothing is cached."""

    pods: int
    """Of steps, the workers of TrainJobs included."""
    drivers: int
    """Of Kubeflow, before each step, sub-pipeline and turn of a loop: seconds, no accelerator."""
    accelerator_pods: int
    most_pods: int
    """At once, drivers apart."""
    most_accelerators: int

    def __str__(self) -> str:
        accelerators = (
            f"{self.accelerator_pods} of them with accelerators" if self.accelerator_pods else "none with accelerators"
        )
        at_once = f"at most {self.most_pods} at once" + (
            f", with {self.most_accelerators} accelerators" if self.most_accelerators else ""
        )
        return f"{self.pods} pods of steps, {accelerators}, {at_once}; and {self.drivers} short ones of Kubeflow"


def pod_plan(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> PodPlan:
    """Return the pods that a run makes.

    Args:
        spec: the compiled pipeline.
        arguments: what it is given.
    """
    run = expand(spec, arguments)
    steps = list(run.leaves())
    return PodPlan(
        pods=sum(map(_pods, steps)),
        drivers=_drivers(run),
        accelerator_pods=sum((step.accelerators > 0) + step.workers * (step.worker_accelerators > 0) for step in steps),
        most_pods=_most(run, _pods),
        most_accelerators=_most(run, lambda step: step.accelerators + step.workers * step.worker_accelerators),
    )


def check_pods(plan: PodPlan, *, many: bool = False) -> None:
    """Refuse a run of more pods than `MOST_PODS`, unless `many` are wanted.

    Raises:
        ValueError: naming what to do instead.
    """
    if plan.pods > MOST_PODS and not many:
        raise ValueError(
            f"pods = {plan.pods}: a run of more than {MOST_PODS} nears the 1 MiB that Argo keeps of one; give fewer "
            "variants or seeds, num_shards = 1 (it multiplies pods on a cluster), several runs, or --many-pods where "
            "Argo has nodeStatusOffLoad"
        )


def _pods(step: Task) -> int:
    return 1 + step.workers


def _drivers(task: Task) -> int:
    """Return the drivers: one for a step, a sub-pipeline, a turn; and one that unrolls each loop."""
    return 1 + sum(map(_drivers, task.inner))


def _most(task: Task, weight: Callable[[Task], int]) -> int:
    """Return the greatest weight of steps that may run at once."""
    if not task.inner and not task.loop:
        return weight(task)
    inner = {child: _most(child, weight) for child in task.inner}
    if task.loop:
        return sum(sorted(inner.values(), reverse=True)[: task.parallel or None])
    return _antichain(task.inner, inner)


def _antichain(tasks: Sequence[Task], weights: Mapping[Task, int]) -> int:
    """Return the greatest sum of weights of tasks of which none waits for another; they come in their order."""
    before: dict[str, frozenset[str]] = {}
    for task in tasks:
        before[task.name] = task.after.union(*(before[name] for name in task.after))

    def heaviest(left: tuple[Task, ...]) -> int:
        if not left:
            return 0
        first, others = left[0], left[1:]
        free = tuple(task for task in others if first.name not in before[task.name])
        taken = weights[first] + heaviest(free)
        return taken if free == others else max(taken, heaviest(others))

    return heaviest(tuple(tasks))
