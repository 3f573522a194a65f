"""Sends spooled records to MLflow, each once, whatever was sent before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from aelif.config import TrackingConfig
from aelif.progress import append_lines
from aelif.registry.lineage import flatten, shorten
from aelif.registry.runs import PARAM_LIMIT, STEP, TAG_LIMIT, parent_run, resume, step_run
from aelif.registry.spool import SET_ASIDE, Sent, head_of, offset_of, read_records, set_offset
from aelif.registry.store import AbsentError, TrackingError, is_passing, run_with_store
from aelif.registry.tracking import end_run, open_runs

BATCH = 500
"""Metrics in one request; MLflow takes 1000 entities."""
BEGAN = "step.began"
"""Tag of a step's run: when its first attempt began, in milliseconds."""


def send_files(files: Sequence[Path], tracking: Mapping[str, Any], *, patience_s: float) -> Sent:
    """Send files one after another; one that MLflow refuses is left, and does not hold up those behind it."""
    lines, left = 0, 0
    faults: list[str] = []
    aside: list[str] = []
    for number, path in enumerate(files):
        try:
            sent, refused = run_with_store(tracking, partial(_send_file, path=path), patience_s=patience_s)
        except AbsentError as error:
            return Sent(lines=lines, left=len(files) - number + left, set_aside=tuple(aside), fault=str(error))
        except (TrackingError, ValueError) as error:
            left, faults = left + 1, [*faults, f"{path.name}: {error}"]
            continue
        lines, aside = lines + sent, [*aside, *refused]
    return Sent(lines=lines, left=left, set_aside=tuple(aside), fault=_first(faults))


def _first(faults: Sequence[str]) -> str:
    return f"{faults[0]} (and {len(faults) - 1} files more)" if len(faults) > 1 else "".join(faults)


def _send_file(client: MlflowClient, config: TrackingConfig, path: Path) -> tuple[int, list[str]]:
    """Send the rest of a file; return how many lines, and why some were refused."""
    head, offset = head_of(path), offset_of(path)
    records, broken, end = read_records(path, offset)
    refused = [(line.decode(errors="replace"), "it is no record") for line in broken]
    if head["kind"] == "open":
        open_runs(client, config, head["run_key"], settings=head["settings"], trials=head["trials"],
                  code_version=head["code_version"], given=head["given"])  # fmt: skip
    elif head["kind"] == "close":
        end_run(client, config, head["run_key"], state=head["state"], cause=head["cause"], given=head["given"])
    else:
        execution = parent_run(client, config, head["run_key"], given=head["given"])
        run = step_run(client, config, head["run_key"], step=head["step"], label=head["label"], given=head["given"],
                       began=head["time"])  # fmt: skip
        refused += _send_step(client, run, head, records)
        if execution.info.status != "RUNNING" and not head["given"]:  # it was closed without waiting for this step
            client.set_terminated(run.info.run_id, execution.info.status)
    for record, reason in refused:
        append_lines(path.parent / SET_ASIDE, [{"kind": "refused", "file": path.name, "reason": reason,
                                                "record": record}])  # fmt: skip
    set_offset(path, end)
    return len(records), [f"{path.name}: {reason}" for _, reason in refused]


def _send_step(
    client: MlflowClient, run: Run, head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Send records of a step in their order; return those that were refused, and why."""
    refused: list[tuple[str, str]] = []
    told = _told_before(client, run, head, records)
    for kind, group in groupby(records, key=lambda record: record["kind"]):
        if kind == "metrics":
            metrics = [metric for metric in _metrics(group) if (metric.key, metric.step) not in told]
            for start in range(0, len(metrics), BATCH):
                refused += _log_metrics(client, run.info.run_id, metrics[start : start + BATCH])
            continue
        for record in group:
            try:
                _send_record(client, run, record)
            except MlflowException as error:
                if is_passing(error):
                    raise
                refused.append((str(dict(record)), _reason(error)))
    return refused


def _send_record(client: MlflowClient, run: Run, record: Mapping[str, Any]) -> None:
    """Send what is no metric: how a step begins and ends."""
    run_id = run.info.run_id
    if record["kind"] == "begin":
        began = run.data.tags.get(BEGAN, str(record["time"]))
        params, tags = flatten(record.get("params", {}), limit=PARAM_LIMIT)
        labels = [RunTag(name, shorten(str(value), limit=TAG_LIMIT)) for name, value in
                  {**tags, **record.get("tags", {}), BEGAN: began}.items() if value]  # fmt: skip
        if record["given"]:
            labels.append(RunTag(STEP, f"{record['step']} {record['label']}".strip()))
        else:
            resume(client, run)
        client.log_batch(run_id, tags=labels[:100])  # apart: a parameter that has another value is refused
        entries = [Param(name, value) for name, value in params.items()]
        for start in range(0, len(entries), 100):
            client.log_batch(run_id, params=entries[start : start + 100])
    elif record["kind"] == "end":
        state, cause, name = record["state"], record["cause"], record["step"]
        labels = [RunTag("failure.cause", shorten(cause, limit=TAG_LIMIT))] if cause else []
        metrics = [Metric(f"{name}/duration_s", record["duration_s"], record["time"], 0)]
        client.log_batch(run_id, metrics=metrics, tags=labels)
        if not cause and "failure.cause" in run.data.tags:
            client.delete_tag(run_id, "failure.cause")
        # Kubeflow ends the run that it gave; a trial's goes on after its training.
        if not record["given"] and (state != "FINISHED" or name != "train"):
            client.set_terminated(run_id, state, end_time=record["time"])


def _metrics(records: Iterator[Mapping[str, Any]]) -> Iterator[Metric]:
    for record in records:
        for name, value in record["values"].items():
            yield Metric(name, float(value), int(record["time"]), int(record["step"]))


def _log_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> list[tuple[str, str]]:
    """Log a batch; where MLflow refuses it, one by one, and return those that it refuses."""
    try:
        client.log_batch(run_id, metrics=metrics)
        return []
    except MlflowException as error:
        if is_passing(error):
            raise
        if len(metrics) == 1:
            return [(f"{metrics[0].key} = {metrics[0].value} at step {metrics[0].step}", _reason(error))]
    half = len(metrics) // 2
    return _log_metrics(client, run_id, metrics[:half]) + _log_metrics(client, run_id, metrics[half:])


def _told_before(
    client: MlflowClient, run: Run, head: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> set[tuple[str, int]]:
    """Return name and step of what an earlier attempt told of the training steps that this one repeats."""
    told: set[tuple[str, int]] = set()
    if run.data.tags.get(BEGAN, str(head["time"])) == str(head["time"]):
        return told
    names = {name for record in records if record["kind"] == "metrics" for name in record["values"]}
    for name in sorted(name for name in names if name.startswith("train/") and name in run.data.metrics):
        history = client.get_metric_history(run.info.run_id, name)
        told |= {(name, metric.step) for metric in history if metric.timestamp < head["time"]}
    return told


def _reason(error: MlflowException) -> str:
    return str(error).strip().partition("\n")[0]
