"""MLflow runs: one per execution of the pipeline, one below it per trial, and how they end."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Run

from aelif import __version__
from aelif.config import TrackingConfig
from aelif.progress import EVENTS_VARIABLE, StepProgress
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
from aelif.registry.spool import begin_file, flush, spool_folder
from aelif.registry.store import PATIENCE_S, AbsentError, run_with_store

EndState = Literal["FINISHED", "FAILED", "KILLED"]
FACTS = ("state", "model", "version", "verdict", "reasons", "trial", "against", "run_id", "run_url", "cause")
"""What `close_by_status` returns."""
OPENING_PATIENCE_S = 10.0
"""How long the start of a run waits for a server; what it has to say can wait longer than the run."""
_END_STATES: dict[str, EndState] = {
    "SUCCEEDED": "FINISHED",
    "COMPLETE": "FINISHED",
    "FAILED": "FAILED",
    "CANCELLED": "KILLED",
}
"""Words of kfp.local, and COMPLETE, that of the server."""


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

    A server that is away does not hold up the run: the opening is spooled, and "" returned.

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
    trials, folder = list(trials), spool_folder()
    served = str(tracking["tracking_uri"]).startswith("http")
    try:
        return run_with_store(
            tracking,
            lambda client, config: open_runs(
                client, config, run_key, settings=settings, trials=trials, code_version=code_version
            ),
            patience_s=min(patience_s, OPENING_PATIENCE_S) if served else patience_s,
        )
    except AbsentError as error:
        if folder is None or not served:
            raise
        begin_file(folder, tracking, run_key, kind="open", settings=dict(settings), trials=trials,
                   code_version=code_version)  # fmt: skip
        StepProgress("open_run", run_key).emit("warning", message=f"{error}; what steps tell is kept and sent later")
        return ""


def open_runs(
    client: MlflowClient,
    config: TrackingConfig,
    run_key: str,
    *,
    settings: Mapping[str, Any],
    trials: Iterable[str],
    code_version: str,
    given: str | None = None,
) -> str:
    """Open or resume the runs of one execution and return the parent's id; see `open_parent`."""
    run = parent_run(client, config, run_key, given=given)
    params, tags = flatten({k: v for k, v in settings.items() if k != "git_sha"}, limit=PARAM_LIMIT)
    sha = settings.get("git_sha", "")
    tags |= {"git.sha": sha, "code_version": code_version, "aelif.version": __version__}
    tags |= {"mlflow.source.git.commit": sha, "mlflow.source.type": "JOB"}
    tags["mlflow.source.name"] = str(settings.get("command") or "aelif")
    log_params(client, run.info.run_id, params, tags={**tags, RUN_KEY: run_key, STEP: PARENT_STEP})
    if run.info.run_name == run_key:  # ours, and new
        client.update_run(run.info.run_id, name=_title(settings, run_key))
    for trial in trials:
        resume(client, child_run(client, run, run_key, trial))
    return resume(client, run)


def _title(settings: Mapping[str, Any], run_key: str) -> str:
    """Return a name by which people know a run in a list."""
    prompt = settings.get("data", {}).get("instance_prompt")
    return f"{settings.get('pipeline', 'run')}: {prompt} ({run_key})" if prompt else run_key


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
        lambda client, config: end_run(client, config, run_key, state=state, cause=cause),
        patience_s=patience_s,
    )


def close_by_status(
    tracking: Mapping[str, Any], run_key: str, *, state: str, message: str, patience_s: float = PATIENCE_S
) -> dict[str, str]:
    """End the execution's run as Kubeflow reports its end (see `close`), after sending what steps could not.

    The run tells by its ``gate.verdict``, the last thing that a complete pipeline writes: the server may say
    RUNNING of one that has ended, and FAILED of one in which an attempt failed and the next succeeded, where a loop's
    steps came from the cache. With MLflow away, the end is spooled too.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        state: SUCCEEDED or COMPLETE, FAILED, CANCELLED, RUNNING.
        message: Kubeflow's error message; a step's own report goes before it.
        patience_s: seconds to wait for a locked database or an absent server.

    Returns:
        What a notice says, by the names of `FACTS`; "" where unknown.

    Raises:
        TrackingError: if the store fails and there is no spool, or it refuses.
    """
    flush(tracking, patience_s=patience_s)

    def action(client: MlflowClient, config: TrackingConfig) -> dict[str, str]:
        run = parent_run(client, config, run_key)
        end, cause = _ending(state, message, complete="gate.verdict" in run.data.tags)
        end_run(client, config, run_key, state=end, cause=cause)
        return _facts(config, run, state=end, cause=cause)

    folder = spool_folder()
    try:
        return run_with_store(tracking, action, patience_s=patience_s)
    except AbsentError as error:
        if folder is None:
            raise
        end, cause = _ending(state, message, complete=False)
        begin_file(folder, tracking, run_key, kind="close", state=end, cause=cause)
        StepProgress("close_run", "").emit("warning", message=f"{error}; a later run with this output tells MLflow")
        return {**dict.fromkeys(FACTS, ""), "state": end, "cause": cause}


def _ending(state: str, message: str, *, complete: bool) -> tuple[EndState, str]:
    """Return MLflow's word for Kubeflow's state, and the cause of a failure."""
    end = "FINISHED" if complete else _END_STATES.get(state, "FAILED")
    cause = "" if end == "FINISHED" else reported_failure() or message or f"the pipeline ended in state {state}"
    return end, cause


def _facts(config: TrackingConfig, run: Run, *, state: str, cause: str) -> dict[str, str]:
    """Return what a notice says of a run."""
    tags, uri = run.data.tags, re.sub(r"//[^/@]*@", "//", config.tracking_uri).rstrip("/")
    model, _, version = tags.get("model.version", "").rpartition("/")
    page = f"{uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" if uri.startswith("http") else ""
    of_gate = [tags.get(name, "") for name in ("gate.verdict", "gate.reasons", "trial", "gate.against")]
    values = (state, model, version, *of_gate, run.info.run_id, page, cause)
    return dict(zip(FACTS, values, strict=True))


def reported_failure() -> str:
    """Return the first failure that a step reported (see `aelif.progress`), "" where none did."""
    path = Path(os.environ.get(EVENTS_VARIABLE, ""))
    for line in path.read_text().splitlines() if path.is_file() else []:
        event = json.loads(line)
        if event["event"] == "failed":
            return f"{event['step']} {event['label']}".strip() + f": {event['error']}"
    return ""


def end_run(
    client: MlflowClient,
    config: TrackingConfig,
    run_key: str,
    *,
    state: EndState,
    cause: str,
    given: str | None = None,
) -> None:
    """Write the cause, then end the children, then the parent: what readers look at changes last."""
    parent = parent_run(client, config, run_key, given=given)
    if cause:
        client.set_tag(parent.info.run_id, "failure.cause", shorten(cause, limit=TAG_LIMIT))
    elif "failure.cause" in parent.data.tags:
        client.delete_tag(parent.info.run_id, "failure.cause")
    query = f"tags.`{RUN_KEY}` = '{run_key}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([parent.info.experiment_id], query):
        if run.info.run_id != parent.info.run_id:
            client.set_terminated(run.info.run_id, state)
    client.set_terminated(parent.info.run_id, state)
