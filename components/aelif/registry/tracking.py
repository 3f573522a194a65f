"""MLflow runs: one per execution of the pipeline, one below it per trial, and how they end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Run

from aelif import __version__
from aelif.config import TrackingConfig
from aelif.progress import EVENTS_VARIABLE
from aelif.registry.lineage import flatten, shorten
from aelif.registry.runs import (
    PARAM_LIMIT,
    PARENT_STEP,
    RUN_KEY,
    STEP,
    TAG_LIMIT,
    child_run,
    log_params,
    parent_run,
    resume,
)
from aelif.registry.store import PATIENCE_S, run_with_store

EndState = Literal["FINISHED", "FAILED", "KILLED"]
_END_STATES: dict[str, EndState] = {"SUCCEEDED": "FINISHED", "FAILED": "FAILED", "CANCELLED": "KILLED"}


def open_parent(
    tracking: Mapping[str, Any],
    run_key: str,
    *,
    settings: Mapping[str, Any],
    trials: Iterable[str],
    code_version: str,
    patience_s: float = PATIENCE_S,
) -> str:
    """Open the MLflow run of one execution with a child for each trial, or resume them; return its id.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution (the pipeline's job id); a retry with it meets the same run.
        settings: nested values, logged as parameters; ``git_sha`` becomes a tag.
        trials: such as ``"aelif_mask:0.3/seed=0"``.
        code_version: digest of the code, logged as a tag.
        patience_s: seconds to wait for a locked database or an absent server.

    Raises:
        TrackingError: if the store fails, or the run exists with other settings.
    """

    def action(client: MlflowClient, config: TrackingConfig) -> str:
        run = parent_run(client, config, run_key)
        params, tags = flatten({k: v for k, v in settings.items() if k != "git_sha"}, limit=PARAM_LIMIT)
        tags |= {"git.sha": settings.get("git_sha", ""), "code_version": code_version, "aelif.version": __version__}
        log_params(client, run.info.run_id, params, tags={**tags, RUN_KEY: run_key, STEP: PARENT_STEP})
        for trial in trials:
            resume(client, child_run(client, run, run_key, trial))
        return resume(client, run)

    return run_with_store(tracking, action, patience_s=patience_s)


def close(
    tracking: Mapping[str, Any], run_key: str, *, state: EndState, cause: str, patience_s: float = PATIENCE_S
) -> None:
    """End the execution's MLflow run, and those below it that still run, in `state`.

    A run that does not exist, because the pipeline failed before it opened one, is created: a
    failure that nobody sees would be none.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        state: how it ended.
        cause: why; becomes the tag ``failure.cause``. "" where it succeeded.
        patience_s: seconds to wait for a locked database or an absent server.

    Raises:
        TrackingError: if the store fails.
    """
    run_with_store(
        tracking,
        lambda client, config: _end(client, parent_run(client, config, run_key), run_key, state=state, cause=cause),
        patience_s=patience_s,
    )


def close_by_status(
    tracking: Mapping[str, Any], run_key: str, *, state: str, message: str, patience_s: float = PATIENCE_S
) -> None:
    """End the execution's run as Kubeflow reports its end (see `close`).

    Kubeflow may say RUNNING of a pipeline with loops that has ended: then the run tells by its
    ``gate.verdict``, the last thing that a complete pipeline writes.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        state: SUCCEEDED, FAILED, CANCELLED or RUNNING.
        message: Kubeflow's error message; a step's own report goes before it.
        patience_s: seconds to wait for a locked database or an absent server.

    Raises:
        TrackingError: if the store fails.
    """

    def action(client: MlflowClient, config: TrackingConfig) -> None:
        run = parent_run(client, config, run_key)
        end = _END_STATES.get(state, "FINISHED" if "gate.verdict" in run.data.tags else "FAILED")
        cause = "" if end == "FINISHED" else reported_failure() or message or f"the pipeline ended in state {state}"
        _end(client, run, run_key, state=end, cause=cause)

    run_with_store(tracking, action, patience_s=patience_s)


def reported_failure() -> str:
    """Return the first failure that a step reported (see `aelif.progress`), "" where none did."""
    path = Path(os.environ.get(EVENTS_VARIABLE, ""))
    for line in path.read_text().splitlines() if path.is_file() else []:
        event = json.loads(line)
        if event["event"] == "failed":
            return f"{event['step']} {event['label']}".strip() + f": {event['error']}"
    return ""


def _end(client: MlflowClient, parent: Run, run_key: str, *, state: EndState, cause: str) -> None:
    """Write the cause, then end the children, then the parent: what readers look at changes last."""
    if cause:
        client.set_tag(parent.info.run_id, "failure.cause", shorten(cause, limit=TAG_LIMIT))
    elif "failure.cause" in parent.data.tags:
        client.delete_tag(parent.info.run_id, "failure.cause")
    query = f"tags.`{RUN_KEY}` = '{run_key}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([parent.info.experiment_id], query):
        if run.info.run_id != parent.info.run_id:
            client.set_terminated(run.info.run_id, state)
    client.set_terminated(parent.info.run_id, state)
