"""MLflow runs: one per execution of the pipeline, one below it per trial, and how they end."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import MlflowException

from aelif import __version__
from aelif.artifacts import new_folder
from aelif.config import Trial, TrackingConfig
from aelif.progress import EVENTS_VARIABLE
from aelif.registry.lineage import flatten, shorten, weights_digest
from aelif.registry.store import PATIENCE_S, TrackingError, artifact_root, database_file, run_with_store

RUN_KEY = "kfp.run_id"
STEP = "kfp.step"
PARENT_STEP = "pipeline"
PARENT = "mlflow.parentRunId"
EndState = Literal["FINISHED", "FAILED", "KILLED"]

PARAM_LIMIT, TAG_LIMIT = 6000, 8000
"""Longest parameter and tag that MLflow keeps, in characters."""


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
        end: EndState = {"SUCCEEDED": "FINISHED", "FAILED": "FAILED", "CANCELLED": "KILLED"}.get(  # type: ignore[assignment]
            state, "FINISHED" if "gate.verdict" in run.data.tags else "FAILED"
        )
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


def parent_run(client: MlflowClient, config: TrackingConfig, run_key: str) -> Run:
    """Return the execution's run, created if need be.

    Kubeflow Pipelines' own MLflow plugin opens one and names a run below it to every step, by
    ``MLFLOW_RUN_ID``: then that one is used.

    Raises:
        TrackingError: if ``MLFLOW_RUN_ID`` names no run, or that of another execution.
    """
    if "'" in run_key or not run_key:
        raise ValueError(f"run_key = {run_key!r}: give a name without quotes")
    given = os.environ.get("MLFLOW_RUN_ID")
    if not given:
        tags = {RUN_KEY: run_key, STEP: PARENT_STEP}
        return start_or_resume(client, experiment_id(client, config), tags=tags, name=run_key)
    try:
        run = client.get_run(given)
        run = client.get_run(run.data.tags.get(PARENT, given))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise TrackingError(f"MLFLOW_RUN_ID = {given!r}: {config.tracking_uri} has no such run; unset it") from error
    if (owner := run.data.tags.get(RUN_KEY, run_key)) != run_key:
        raise TrackingError(f"MLFLOW_RUN_ID = {given!r}: that run belongs to {owner}, not {run_key}; unset it")
    return run


def child_run(client: MlflowClient, parent: Run, run_key: str, trial: str) -> Run:
    """Return the run of one trial below the execution's, created with its parameters if need be."""
    tags = {RUN_KEY: run_key, STEP: f"trial {trial}", PARENT: parent.info.run_id}
    run = start_or_resume(client, parent.info.experiment_id, tags=tags, name=trial)
    parsed = Trial.parse(trial)
    params = {
        "variant": str(parsed.variant),
        "augmentation": parsed.variant.augmentation,
        "magnitude": f"{parsed.variant.magnitude:g}",
        "seed": str(parsed.seed),
    }
    log_params(client, run.info.run_id, params, tags={})
    return run


def start_or_resume(client: MlflowClient, experiment: str, *, tags: Mapping[str, str], name: str) -> Run:
    """Return the earliest run that carries all `tags`; a repeated step gets the same one."""
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    order = ["attributes.start_time ASC", "attributes.run_id ASC"]
    if found := client.search_runs([experiment], query, order_by=order, max_results=1):
        return found[0]
    return client.create_run(experiment, tags=dict(tags), run_name=name)


def resume(client: MlflowClient, run: Run) -> str:
    """Set an ended run running again, for its pipeline is retried; return its id."""
    if run.info.status != "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
    return run.info.run_id


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, str], *, tags: Mapping[str, str]) -> None:
    """Log parameters and tags, by the hundred that one request may hold; empty tags are left out."""
    pairs = [Param(key, value) for key, value in params.items()]
    for start in range(0, len(pairs), 100):
        client.log_batch(run_id, params=pairs[start : start + 100])
    labels = [RunTag(key, shorten(value, limit=TAG_LIMIT)) for key, value in tags.items() if value]
    for start in range(0, len(labels), 100):
        client.log_batch(run_id, tags=labels[start : start + 100])


def experiment_id(client: MlflowClient, config: TrackingConfig) -> str:
    """Return the experiment's id, creating it with its artifact location if need be.

    Raises:
        TrackingError: if it was deleted, or its files lie in another folder than configured.
    """
    location = artifact_root(config)
    if (found := client.get_experiment_by_name(config.experiment)) is None:
        try:
            return client.create_experiment(config.experiment, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = client.get_experiment_by_name(config.experiment)
    if found.lifecycle_stage != "active":
        raise TrackingError(f"experiment {config.experiment!r} was deleted: restore it, or choose another name")
    if location is not None and location.startswith("file:") and found.artifact_location != location:
        raise TrackingError(
            f"experiment {config.experiment!r} keeps its files in {found.artifact_location}, not {location}: "
            f"move the folder back, choose another experiment, or move {database_file(config)} away"
        )
    return found.experiment_id


def download_model(
    uri: str, destination: Path, *, tracking_uri: str = "", patience_s: float = PATIENCE_S
) -> Path:
    """Download a registered model's folder and return `destination`.

    Args:
        uri: ``models:/name@alias`` or ``models:/name/version``.
        destination: the folder to write; it appears whole or not at all.
        tracking_uri: the store; "" takes ``MLFLOW_TRACKING_URI``.
        patience_s: seconds to wait for a locked database or an absent server.

    Raises:
        ValueError: if `uri` is malformed, names no model, or no store is known.
        TrackingError: if the store fails, or the weights are not those that were registered.
    """
    match = re.fullmatch(r"models:/([^/@:'\"`]+)(?:@([\w-]+)|/(\d+))", uri)
    if match is None:
        raise ValueError(f"model = {uri!r}: write models:/NAME@ALIAS or models:/NAME/VERSION")
    store = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not store:
        raise ValueError(f"model = {uri!r}: which MLflow? set MLFLOW_TRACKING_URI to its address")
    config = TrackingConfig(tracking_uri=store)
    if (path := database_file(config)) is not None and not path.exists():
        raise ValueError(f"model = {uri!r}: there is no MLflow database at {path}")
    name, alias, number = match.groups()

    def action(client: MlflowClient, _config: TrackingConfig) -> Path:
        try:
            version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise ValueError(f"model = {uri!r}: {_known_models(client)}") from error
        _download(version.source, destination, tracking_uri=store, weights=version.tags.get("weights.sha256", ""))
        return destination

    return run_with_store({"tracking_uri": store}, action, patience_s=patience_s)


def _known_models(client: MlflowClient) -> str:
    """Return what can be asked for."""
    models = [client.get_registered_model(model.name) for model in client.search_registered_models()]
    known = [f"models:/{model.name}@{alias}" for model in models for alias in sorted(model.aliases)]
    return f"no such model; known: {', '.join(known)}" if known else "no such model; none has been registered yet"


def _download(source: str, destination: Path, *, tracking_uri: str, weights: str) -> None:
    """Copy a model's files below `destination` and compare the weights with their registered digest."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(destination) as folder, tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        fetched = Path(download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=tracking_uri))
        for path in sorted(fetched.iterdir()):
            path.replace(folder / path.name)
        if weights and (actual := weights_digest(folder)) != weights:
            raise TrackingError(f"{source}: weights have sha256 {actual}, registered was {weights}; register them again")
