"""Why a step on a cluster failed: what Kubernetes said of its pod, and the last lines of its log.

Neither is part of the API that the rest uses: both come from older routes of the server, that of Kubeflow 1's API and
that of logs, and may be missing. Then there is still the command that shows the log.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError

from aelif_pipelines.cluster import Cluster
from aelif_pipelines.states import RunState, StepState

_LINES = 12
_TIMEOUT_S = (5, 30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A step that failed, as a person reads it."""

    step: str
    message: str
    """What Argo says of the pod: ``OOMKilled (exit code 137)``; "" if it is not known."""
    log: tuple[str, ...]
    """Its last lines, none if they are not known."""
    command: str
    """Shows the whole log; for a shell."""


def explain_failures(cluster: Cluster, run_id: str, state: RunState) -> list[Failure]:
    """Return each failed step with its reasons, those that Kubeflow could not start included."""
    workflow = _workflow(cluster, run_id)
    space = workflow.get("metadata", {}).get("namespace") or cluster.namespace or "kubeflow"
    nodes = (workflow.get("status") or {}).get("nodes") or {}
    found = [
        _explain(cluster, run_id, step, space, nodes.get(f"{state.workflow}-{step.pod}") or {})
        for step in state.steps
        if step.state == "failed"
    ]
    for name in state.failed_drivers:
        drivers = [node for node in nodes.values() if node.get("displayName") == f"{name}-driver"]
        messages = [node.get("message", "") for node in drivers if node.get("phase") in ("Failed", "Error")]
        command = f"kubectl -n {space} get pods --selector pipeline/runid={run_id}"
        found.append(Failure(step=f"{name}, before it started", message="; ".join(filter(None, messages)), log=(),
                             command=command))  # fmt: skip
    return found


def _explain(cluster: Cluster, run_id: str, step: StepState, space: str, node: dict[str, Any]) -> Failure:
    """Return why a step failed; `node` is Argo's node of its last pod, {} where that is unknown."""
    pod = f"{node['id'].rpartition('-')[0]}-{node['templateName']}-{step.pod}" if node.get("templateName") else ""
    pods = f"kubectl -n {space} get pods --selector pipeline/runid={run_id},app.kubernetes.io/component={step.name}"
    return Failure(
        step=f"{step.name} {step.label}".strip(),
        message=str(node.get("message", "")),
        log=_log(cluster, run_id, pod) if pod else (),
        command=f"kubectl -n {space} logs {pod} --container main" if pod else pods,
    )


def _workflow(cluster: Cluster, run_id: str) -> dict[str, Any]:
    """Return Argo's record of the run, {} if the server does not give it."""
    try:
        answer = json.loads(_get(cluster, f"/apis/v1beta1/runs/{run_id}"))
        found = json.loads(answer["pipeline_runtime"]["workflow_manifest"])
    except (ApiException, HTTPError, OSError, KeyError, TypeError, ValueError):  # an extra, which a server may not have
        return {}
    return found if isinstance(found, dict) else {}


def _log(cluster: Cluster, run_id: str, pod: str) -> tuple[str, ...]:
    try:
        text = _get(cluster, f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log")
    except (ApiException, HTTPError, OSError):  # the pod is gone, and logs are not archived
        return ()
    if text.startswith('{"error_'):  # the server answers 200 before it has looked
        return ()
    return tuple(line.rstrip() for line in text.splitlines() if line.strip())[-_LINES:]


def _get(cluster: Cluster, path: str) -> str:
    answer = cluster.client.runs.api_client.call_api(
        path, "GET", auth_settings=["Bearer"], _preload_content=False, _request_timeout=_TIMEOUT_S,
        _return_http_data_only=True,
    )  # fmt: skip
    data: bytes = answer.data
    return data.decode(errors="replace")
