"""Schedules on a cluster: Kubeflow's recurring runs, one for each name, whatever is repeated or interrupted.

A recurring run cannot be changed, only switched off and on, so a schedule with other content is a new one.
Its description carries the digest of its content: equal digests are the same schedule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from kfp_server_api import (
    ApiException,
    RecurringRunMode,
    V2beta1CronSchedule,
    V2beta1DeletePropagationPolicy,
    V2beta1PipelineVersionReference,
    V2beta1RecurringRun,
    V2beta1RecurringRunStatus,
    V2beta1RuntimeConfig,
    V2beta1Trigger,
)

from aelif.artifacts import digest_of
from aelif.config import nearest, require
from aelif_pipelines.cluster import Cluster, clear_errors
from aelif_pipelines.cron import next_times, parse_cluster_cron
from aelif_pipelines.package import pages, version_name

_MARK = re.compile(r"aelif schedule, content ([0-9a-f]{32})")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a schedule is: two with equal fields are the same."""

    name: str
    cron: str
    """Six fields, seconds first, in the server's time zone."""
    pipeline_id: str
    version_id: str
    """"" runs the version that is the latest when the time comes."""
    experiment_id: str
    arguments: dict[str, Any]
    service_account: str = ""
    pipeline_root: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)
        next_times(parse_cluster_cron(self.cron), datetime.fromisoformat("2024-01-01T00:00:00+00:00"), count=1)

    @property
    def digest(self) -> str:
        """Digest of everything in it, 32 hexadecimal digits."""
        return digest_of({**asdict(self), "cron": self.cron.split()})[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What `create` did."""

    state: Literal["created", "replaced", "unchanged"]
    schedule_id: str
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A schedule as `aelif schedule list` shows it."""

    name: str
    cron: str
    enabled: bool
    next_run: datetime | None
    """None where it is paused, or its expression is not ours to read."""
    last_run: datetime | None
    last_state: str
    version: str
    concurrency: str
    fault: str
    """What the server says is wrong with it, "" if nothing."""


def check_name(name: str) -> None:
    """Check a schedule's name: Kubeflow makes names of Kubernetes objects of it.

    Raises:
        ValueError: if it is none.
    """
    require(bool(_NAME.fullmatch(name)), "name", name, "give lower-case letters, digits and '-', at most 63")


def create(cluster: Cluster, plan: Plan) -> Made:
    """Make the schedule what `plan` says; the same plan again changes nothing.

    Order of writes: the new one is created switched off, switched on, then the old ones are deleted. So
    whatever fails, one is there that runs, and a repetition completes the rest. A schedule that is paused
    stays paused under its new content.

    Raises:
        ValueError: if somebody else's recurring run has this name.
        ClusterError: if the server refuses.
    """
    with clear_errors(cluster.host):
        before = _named(cluster, plan.name)
        running = not before or any(map(_enabled, before))
        if not any(_digest(item) == plan.digest for item in before):
            mode = RecurringRunMode.DISABLE if before else RecurringRunMode.ENABLE
            cluster.client.recurring_runs.recurring_run_service_create_recurring_run(_body(plan, mode))
        now = _named(cluster, plan.name)
        # The oldest of equal ones: two people who create at once keep the same.
        same = sorted((item for item in now if _digest(item) == plan.digest),
                      key=lambda item: (item.created_at, item.recurring_run_id))  # fmt: skip
        kept = same[0]
        if running and not _enabled(kept):
            cluster.client.recurring_runs.recurring_run_service_enable_recurring_run(kept.recurring_run_id)
        others = [item for item in now if item.recurring_run_id != kept.recurring_run_id]
        _delete(cluster, others)
    state: Literal["created", "replaced", "unchanged"] = "created" if not before else "unchanged"
    if any(_digest(item) != plan.digest for item in before):
        state = "replaced"
    return Made(state=state, schedule_id=kept.recurring_run_id, enabled=running)


def _body(plan: Plan, mode: str) -> V2beta1RecurringRun:
    """Return the request.

    The SDK's `create_recurring_run` demands a version beside the pipeline, and its `enable_caching` would switch
    the cache on for the steps that exist by their side effects, too; so the body is written here, and caching
    stays as compiled: on, but for those steps.
    """
    return V2beta1RecurringRun(
        display_name=plan.name,
        description=f"aelif schedule, content {plan.digest}",
        experiment_id=plan.experiment_id,
        mode=mode,
        pipeline_version_reference=V2beta1PipelineVersionReference(
            pipeline_id=plan.pipeline_id, pipeline_version_id=plan.version_id or None
        ),
        runtime_config=V2beta1RuntimeConfig(parameters=plan.arguments, pipeline_root=plan.pipeline_root or None),
        trigger=V2beta1Trigger(cron_schedule=V2beta1CronSchedule(cron=plan.cron)),
        max_concurrency="1",
        no_catchup=True,
        service_account=plan.service_account or None,
    )


def pause(cluster: Cluster, name: str) -> bool:
    """Switch a schedule off; return whether it was on.

    Raises:
        ValueError: if there is none of this name.
        ClusterError: if the server refuses.
    """
    return _switch(cluster, name, on=False)


def resume(cluster: Cluster, name: str) -> bool:
    """Switch a schedule on; return whether it was off (see `pause`)."""
    return _switch(cluster, name, on=True)


def delete(cluster: Cluster, name: str, *, missing_ok: bool = False) -> bool:
    """Delete a schedule; return whether there was one. Runs that have begun go on.

    Raises:
        ValueError: if there is none, and that is not `missing_ok`.
        ClusterError: if the server refuses.
    """
    with clear_errors(cluster.host):
        found = _named(cluster, name) if missing_ok else _existing(cluster, name)
        _delete(cluster, found)
    return bool(found)


def list_schedules(cluster: Cluster, *, now: datetime, zone: str = "UTC") -> list[Row]:
    """Return aelif's schedules by name; recurring runs that others made are left out.

    Args:
        cluster: the server.
        now: an aware time; the next runs are those after it.
        zone: the server's time zone.

    Raises:
        ClusterError: if the server refuses.
    """
    with clear_errors(cluster.host):
        found = sorted((item for item in _all(cluster) if _digest(item)), key=lambda item: item.display_name)
        latest = _latest_runs(cluster) if found else {}
        return [_row(cluster, item, latest.get(item.recurring_run_id), now=now, zone=zone) for item in found]


def following_latest(cluster: Cluster, pipeline_id: str) -> tuple[str, ...]:
    """Return the schedules, ours and others', that run the latest version of a pipeline, by name."""
    found = [item for item in _all(cluster) if _enabled(item) and item.pipeline_version_reference]
    references = [(item.display_name, item.pipeline_version_reference) for item in found]
    return tuple(
        sorted(name for name, it in references if it.pipeline_id == pipeline_id and not it.pipeline_version_id)
    )


def _row(cluster: Cluster, item: Any, run: Any, *, now: datetime, zone: str) -> Row:
    cron = (item.trigger and item.trigger.cron_schedule and item.trigger.cron_schedule.cron) or ""
    reference = item.pipeline_version_reference
    return Row(
        name=item.display_name,
        cron=cron,
        enabled=_enabled(item),
        next_run=next_times(parse_cluster_cron(cron), now, zone=zone, count=1)[0] if _enabled(item) else None,
        last_run=run.created_at if run else None,
        last_state=(run.state or "") if run else "",
        version=version_name(cluster, reference.pipeline_id, reference.pipeline_version_id or ""),
        concurrency=str(item.max_concurrency),
        fault=(item.error.message or "") if item.error else "",
    )


def _switch(cluster: Cluster, name: str, *, on: bool) -> bool:
    service = cluster.client.recurring_runs
    act: Callable[[str], Any] = (
        service.recurring_run_service_enable_recurring_run
        if on
        else service.recurring_run_service_disable_recurring_run
    )
    with clear_errors(cluster.host):
        other = [item for item in _existing(cluster, name) if _enabled(item) != on]
        for item in other[:1] if on else other:  # leftovers of an interrupted change stay off
            act(item.recurring_run_id)
    return bool(other)


def _all(cluster: Cluster) -> list[Any]:
    where = {"namespace": cluster.namespace} if cluster.namespace else {}
    listing = cluster.client.recurring_runs.recurring_run_service_list_recurring_runs
    return list(pages(listing, "recurring_runs", **where))


def _named(cluster: Cluster, name: str) -> list[Any]:
    """Return aelif's recurring runs of this name; several where a change was interrupted."""
    found = [item for item in _all(cluster) if item.display_name == name]
    if any(not _digest(item) for item in found):
        raise ValueError(f"name = {name!r}: a recurring run of this name was not made by aelif; choose another name")
    return found


def _existing(cluster: Cluster, name: str) -> list[Any]:
    found = _named(cluster, name)
    if not found:
        names = sorted({item.display_name for item in _all(cluster) if _digest(item)})
        known = nearest(name, names) if names else "there is none; make one with aelif schedule create"
        raise ValueError(f"name = {name!r}: no such schedule; {known}")
    return found


def _delete(cluster: Cluster, items: Iterable[Any]) -> None:
    """Delete recurring runs and leave alone what they started: Kubernetes would end a training in the middle."""
    for item in items:
        try:
            cluster.client.recurring_runs.recurring_run_service_delete_recurring_run(
                item.recurring_run_id, propagation_policy=V2beta1DeletePropagationPolicy.ORPHAN
            )
        except ApiException as error:
            if error.status != 404:  # somebody else was first
                raise


def _latest_runs(cluster: Cluster) -> dict[str, Any]:
    """Return the latest run of each recurring run, as far as the last hundred runs tell."""
    where = {"namespace": cluster.namespace} if cluster.namespace else {}
    listing = cluster.client.runs.run_service_list_runs
    page = listing(page_size=100, sort_by="created_at desc", **where)
    found: dict[str, Any] = {}
    for run in page.runs or ():
        if run.recurring_run_id:
            found.setdefault(run.recurring_run_id, run)
    return found


def _digest(item: Any) -> str:
    """Return the digest in a recurring run's description, "" where aelif did not make it."""
    match = _MARK.search(item.description or "")
    return match[1] if match else ""


def _enabled(item: Any) -> bool:
    """Tell whether it is switched on: by what was asked for, else by what the server reports."""
    asked = {RecurringRunMode.ENABLE: True, RecurringRunMode.DISABLE: False}
    return asked.get(item.mode, item.status == V2beta1RecurringRunStatus.ENABLED)
