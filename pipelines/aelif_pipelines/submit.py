"""One run on a cluster: checked here first, then the package is uploaded once and the run is made once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from kfp_server_api import (
    ApiException,
    V2beta1PipelineVersionReference,
    V2beta1Run,
    V2beta1RuntimeConfig,
)
from urllib3.exceptions import HTTPError

from aelif.config import RunConfig, require
from aelif_pipelines.cluster import Cluster, clear_errors
from aelif_pipelines.deployment import Deployment
from aelif_pipelines.package import Uploaded, compile_package, ensure_experiment, ensure_version, version_of
from aelif_pipelines.pods import PodPlan, check_pods, pod_plan
from aelif_pipelines.schedule import following_latest
from aelif_pipelines.steps import read_package

_LONGEST_NAME = 128
"""Characters; Kubeflow's column holds 191."""
_LATEST = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A run that is ready to be made; nothing of it needed a server."""

    name: str
    pipeline: str
    package: Path
    arguments: Mapping[str, Any]
    deployment: Deployment
    pods: PodPlan
    experiment: str
    """Kubeflow's."""
    service_account: str
    pipeline_root: str
    caching: bool
    """Whether steps whose inputs are as before are left out."""

    @property
    def version(self) -> str:
        """Name of the package's version."""
        return version_of(self.package)

    @property
    def warnings(self) -> list[str]:
        """What is likely not meant."""
        found = []
        if not self.deployment.pinned:
            found.append("images are named by tag, which a node may hold an older one of: give --cpu-image and "
                         "--gpu-image by digest")  # fmt: skip
        if not self.arguments["checkpoint_root"]:
            found.append("checkpoint-root is empty: a training that is interrupted begins anew")
        models = str(self.arguments["base_model"])
        if models.startswith("builtin:") and self.pods.most_accelerators:
            found.append(f"{models} needs no accelerator: --set cluster.accelerators=0 --set cluster.memory=4Gi "
                         "lets it run on CPUs")  # fmt: skip
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """What `submit` did."""

    run_id: str
    uploaded: Uploaded
    schedules: tuple[str, ...]
    """Those that run the latest version, if this upload became it."""


def default_name(recipe: str, now: datetime) -> str:
    """Return the name of a run that was given none."""
    return f"{recipe}-{now:%Y%m%d-%H%M%S}"


def prepare(
    config: RunConfig, arguments: Mapping[str, Any], *,
    name: str, folder: Path, deployment: Deployment, experiment: str, service_account: str, pipeline_root: str,
    caching: bool, many_pods: bool,
) -> Submission:  # fmt: skip
    """Compile and check a run.

    Args:
        config: what to run.
        arguments: of its pipeline, as `cluster.cluster_arguments` gives them.
        name: of the run.
        folder: the package is written there.
        deployment: images, queue, labels.
        experiment: Kubeflow's, created if there is none.
        service_account: of the steps; "": the server's default.
        pipeline_root: where Kubeflow keeps what steps hand on; "": the server's default.
        caching: whether steps whose inputs are as before are left out.
        many_pods: whether more than `pods.MOST_PODS` are meant.

    Raises:
        ValueError: naming what is wrong.
    """
    require(0 < len(name) <= _LONGEST_NAME, "name", name, f"give at most {_LONGEST_NAME} characters")
    package = compile_package(config.pipeline, folder / f"{config.pipeline}.yaml", deployment)
    spec, _ = read_package(package)
    pods = pod_plan(spec, arguments)
    check_pods(pods, many=many_pods)
    return Submission(
        name=name, pipeline=config.pipeline, package=package, arguments=arguments, deployment=deployment, pods=pods,
        experiment=experiment, service_account=service_account, pipeline_root=pipeline_root, caching=caching,
    )  # fmt: skip


def submit(cluster: Cluster, submission: Submission) -> Submitted:
    """Upload the package where it is not there yet, and make the run.

    Raises:
        ClusterError: if the server refuses, or cannot be asked whether a run was made whose answer was lost.
    """
    with clear_errors(cluster.host):
        uploaded = ensure_version(cluster, f"aelif-{submission.pipeline}", submission.package)
        experiment_id = ensure_experiment(cluster, submission.experiment)
        schedules = _schedules(cluster, uploaded)
        run_id = _create(cluster, _body(submission, uploaded, experiment_id))
    return Submitted(run_id=run_id, uploaded=uploaded, schedules=schedules)


def _schedules(cluster: Cluster, uploaded: Uploaded) -> tuple[str, ...]:
    """Return the schedules that run the new version from now on."""
    if not uploaded.new:
        return ()
    try:
        return following_latest(cluster, uploaded.pipeline_id)
    except ApiException as error:
        if error.status != 403:  # who may submit need not see schedules
            raise
        return ()


def stop(cluster: Cluster, run_id: str) -> None:
    """Terminate a run: Kubeflow ends its pods.

    Raises:
        ClusterError: if there is none, or it has ended.
    """
    with clear_errors(cluster.host):
        cluster.client.runs.run_service_terminate_run(run_id)


def _body(submission: Submission, uploaded: Uploaded, experiment_id: str) -> V2beta1Run:
    """Return the request; without caching it carries the package itself, whose steps say whether they are cached.

    A version without caching would become the latest, which schedules run.
    """
    what: dict[str, Any] = {
        "pipeline_version_reference": V2beta1PipelineVersionReference(
            pipeline_id=uploaded.pipeline_id, pipeline_version_id=uploaded.version_id
        )
    }
    if not submission.caching:
        spec, platform = read_package(submission.package)
        what = {"pipeline_spec": {"pipeline_spec": without_caching(spec), "platform_spec": platform}}
    return V2beta1Run(
        display_name=submission.name,
        description=f"aelif submit, {uploaded.version}, mark {secrets.token_hex(8)}",
        experiment_id=experiment_id,
        runtime_config=V2beta1RuntimeConfig(
            parameters=dict(submission.arguments), pipeline_root=submission.pipeline_root or None
        ),
        service_account=submission.service_account or None,
        **what,
    )


def without_caching(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a compiled pipeline of which every step runs."""
    changed = deepcopy(dict(spec))
    for component in (changed["root"], *changed["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
    return changed


def _create(cluster: Cluster, body: V2beta1Run) -> str:
    """Make the run once; where the answer is lost, the mark in its description tells whether it was made."""
    service = cluster.client.runs
    try:
        return str(service.run_service_create_run(body).run_id)
    except (ApiException, HTTPError) as error:
        if isinstance(error, ApiException) and (error.status or 0) in range(400, 500):
            raise  # refused: there is none
        where = {"namespace": cluster.namespace} if cluster.namespace else {}
        page = service.run_service_list_runs(page_size=_LATEST, sort_by="created_at desc", **where)
        made = next((run for run in page.runs or () if run.description == body.description), None)
        if made is None:
            raise
        return str(made.run_id)
