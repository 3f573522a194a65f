"""Finding MLflow runs again: whatever a step repeats, it meets the run that it opened before."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Param, Run, RunTag
from mlflow.exceptions import MlflowException

from aelif.config import TrackingConfig, Trial
from aelif.registry.lineage import shorten
from aelif.registry.store import TrackingError, artifact_root, database_file

RUN_KEY = "kfp.run_id"
STEP = "kfp.step"
PARENT_STEP = "pipeline"
PARENT = "mlflow.parentRunId"

PARAM_LIMIT, TAG_LIMIT = 6000, 8000
"""Longest parameter and tag that MLflow keeps, in characters."""


def parent_run(client: MlflowClient, config: TrackingConfig, run_key: str, *, given: str | None = None) -> Run:
    """Return the execution's run, created if need be.

    Kubeflow Pipelines' own MLflow plugin opens one and names a run below it to every step, by
    ``MLFLOW_RUN_ID``: then that one is used.

    Args:
        client: of the store.
        config: where it is.
        run_key: names the execution.
        given: what ``MLFLOW_RUN_ID`` was where it matters, "" where nothing; None: what it is here.

    Raises:
        TrackingError: if ``MLFLOW_RUN_ID`` names no run, or that of another execution.
    """
    if "'" in run_key or not run_key:
        raise ValueError(f"run_key = {run_key!r}: give a name without quotes")
    given = os.environ.get("MLFLOW_RUN_ID", "") if given is None else given
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
        "magnitude": "+".join(str(term.magnitude) for term in parsed.variant.terms) or "0",
        "seed": str(parsed.seed),
    }
    log_params(client, run.info.run_id, params, tags={})
    return run


def step_run(
    client: MlflowClient,
    config: TrackingConfig,
    run_key: str,
    *,
    step: str,
    label: str,
    given: str,
    began: int | None = None,
) -> Run:
    """Return the run of one step: Kubeflow's own, that of its trial for training, else one of its own.

    A step of a trial has its run below the trial's, any other below the execution's.

    Args:
        client: of the store.
        config: where it is.
        run_key: names the execution.
        step: such as ``"synthesize"``.
        label: which trial, shard or version, "" where there is but one.
        given: what ``MLFLOW_RUN_ID`` was in that step, "" where nothing.
        began: when the step began, in milliseconds; None: now.
    """
    parent = parent_run(client, config, run_key, given=given)
    if given and given != parent.info.run_id:
        return client.get_run(given)
    if trial := trial_of(label):
        parent = child_run(client, parent, run_key, trial)
        if step == "train":
            return parent
    name = f"{step} {label}".strip()
    tags = {RUN_KEY: run_key, STEP: name, PARENT: parent.info.run_id}
    return start_or_resume(client, parent.info.experiment_id, tags=tags, name=name, began=began)


def trial_of(label: str) -> str:
    """Return the trial that a step's label begins with, "" where it names none."""
    found = re.match(r"(.+?/seed=\d+)(/|$)", label)
    return found[1] if found else ""


def start_or_resume(
    client: MlflowClient, experiment: str, *, tags: Mapping[str, str], name: str, began: int | None = None
) -> Run:
    """Return the earliest run that carries all `tags`; a repeated step gets the same one."""
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    order = ["attributes.start_time ASC", "attributes.run_id ASC"]
    if found := client.search_runs([experiment], query, order_by=order, max_results=1):
        return found[0]
    return client.create_run(experiment, start_time=began, tags=dict(tags), run_name=name)


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
    found = client.get_experiment_by_name(config.experiment)
    if found is None:
        try:
            return client.create_experiment(config.experiment, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return experiment_id(client, config)  # another process was first
    if found.lifecycle_stage != "active":
        raise TrackingError(f"experiment {config.experiment!r} was deleted: restore it, or choose another name")
    if location is not None and location.startswith("file:") and found.artifact_location != location:
        raise TrackingError(
            f"experiment {config.experiment!r} keeps its files in {found.artifact_location}, not {location}: "
            f"move the folder back, choose another experiment, or move {database_file(config)} away"
        )
    return found.experiment_id
