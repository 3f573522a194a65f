"""Every step that a run on a cluster will make, from the compiled pipeline and its arguments.

Counted before anything is submitted, and recognised while it runs. So that a step of the run can be told from its
twin in another trial, each knows the name that Argo Workflows will give its node: the names of the tasks on the way
to it, as Kubeflow's compiler for Argo (2.17, ``backend/src/v2/compiler/argocompiler/dag.go``) joins them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\['(.+)'\]\}\}")
_AFTER_ALL = "ALL_UPSTREAM_TASKS_COMPLETED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A step, or what holds others: a sub-pipeline, a loop, one turn of a loop."""

    name: str
    label: str
    """Which of several: ``aelif_mask:0.3/seed=1``, ``aelif_mask:0.3/seed=1 2/4``; "" where there is but one."""
    node: str
    """Name of its Argo node, after that of the workflow."""
    after: frozenset[str] = frozenset()
    """Names of tasks beside it that end before it starts."""
    inner: tuple[Task, ...] = ()
    loop: bool = False
    """Whether `inner` are the turns of a loop, of which none waits for another."""
    parallel: int = 0
    """How many turns at once; 0: all."""
    accelerators: int = 0
    """Of its pod."""
    workers: int = 0
    """Pods beside its own: those of a TrainJob."""
    worker_accelerators: int = 0
    """Of each of them."""

    def leaves(self) -> Iterator[Task]:
        """Yield the steps in it, in the order of the graph."""
        if not self.inner and not self.loop:
            yield self
        for task in self.inner:
            yield from task.leaves()


def read_package(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a compiled pipeline: its specification, and what Kubernetes is told."""
    spec, platform = yaml.safe_load_all(path.read_text())
    return spec, platform


def expand(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> Task:
    """Return the whole run as one task.

    A loop over what only a running step would know has no turns here: our pipelines have none.

    Args:
        spec: a compiled pipeline.
        arguments: its arguments; those left out have their defaults.
    """
    given = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {name: rule.get("defaultValue") for name, rule in given.items()} | dict(arguments)
    inner = _tasks(spec, spec["root"], values, node=".root", label="")
    return Task(name=spec["pipelineInfo"]["name"], label="", node=".root", inner=inner)


def _tasks(
    spec: Mapping[str, Any], component: Mapping[str, Any], values: Mapping[str, Any], *, node: str, label: str
) -> tuple[Task, ...]:
    tasks: Mapping[str, Any] = component["dag"]["tasks"]
    made = []
    for name in _in_order(tasks):
        task = tasks[name]
        after = frozenset(task.get("dependentTasks", ()))
        ends_others = task.get("triggerPolicy", {}).get("strategy") == _AFTER_ALL
        place = f"{node}.{min(after)}.onExit" if ends_others else node
        made.append(_task(spec, name, task, values, node=f"{place}.{name}", label=label, after=after))
    return tuple(made)


def _in_order(tasks: Mapping[str, Any]) -> list[str]:
    """Return the names so that each comes after those that it waits for."""
    order: list[str] = []
    while left := [name for name in tasks if name not in order]:
        order.append(next(name for name in left if set(tasks[name].get("dependentTasks", ())) <= set(order)))
    return order


def _task(
    spec: Mapping[str, Any], name: str, task: Mapping[str, Any], values: Mapping[str, Any], *,
    node: str, label: str, after: frozenset[str],
) -> Task:  # fmt: skip
    inputs = task.get("inputs", {}).get("parameters", {})
    own = {key: _value(source, values) for key, source in inputs.items()}
    component = spec["components"][task["componentRef"]["name"]]
    if "parameterIterator" in task:
        return _loop(spec, name, task, component, own, node=node, label=label, after=after)
    if "dag" in component:
        inner = _tasks(spec, component, own, node=node, label=label)
        return Task(name=name, label=label, node=node, after=after, inner=inner)
    container = spec["deploymentSpec"]["executors"][component["executorLabel"]].get("container", {})
    spread = own.get("distributed") or {}
    return Task(
        name=name, label=label, node=node, after=after,
        accelerators=_accelerators(container.get("resources", {}).get("accelerator", {}), own),
        workers=int(spread.get("nodes", 0)), worker_accelerators=int(spread.get("accelerators", 0)),
    )  # fmt: skip


def _loop(
    spec: Mapping[str, Any], name: str, task: Mapping[str, Any], component: Mapping[str, Any],
    values: Mapping[str, Any], *, node: str, label: str, after: frozenset[str],
) -> Task:  # fmt: skip
    rule = task["parameterIterator"]
    source = rule["items"]
    items: Sequence[Any] = json.loads(source["raw"]) if "raw" in source else values.get(source["inputParameter"]) or ()
    turns = []
    for number, item in enumerate(items):
        place = f"{node}.iteration-iterations({number}:{number}).iteration-item"
        which = item if isinstance(item, str) else f"{number + 1}/{len(items)}" if len(items) > 1 else ""
        words = f"{label} {which}".strip()
        inner = _tasks(spec, component, {**values, rule["itemInput"]: item}, node=place, label=words)
        turns.append(Task(name=name, label=words, node=place, inner=inner))
    limit = int(task.get("iteratorPolicy", {}).get("parallelismLimit", 0))
    return Task(name=name, label=label, node=node, after=after, inner=tuple(turns), loop=True, parallel=limit)


def _value(source: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """Return what an input is given; None for the output of a step."""
    if "componentInputParameter" in source:
        return values.get(source["componentInputParameter"])
    return source.get("runtimeValue", {}).get("constant")


def _accelerators(resource: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    count = resource.get("resourceCount", resource.get("count", 0))
    named = _INPUT.fullmatch(str(count))
    return int((values.get(named[1]) or 0) if named else count)
