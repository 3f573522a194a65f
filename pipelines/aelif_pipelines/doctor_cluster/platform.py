"""What the cluster is: versions of Kubernetes and Kubeflow Pipelines, what the caller may do, Kueue, Trainer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubernetes import client as api

from aelif.config import ClusterConfig
from aelif.doctor import Finding
from aelif_pipelines.cluster import Cluster, ClusterError, clear_errors, connect
from aelif_pipelines.doctor_cluster.kube import KUBEFLOW, Kube, NotLookedError, fault, not_looked

MIN_KUBERNETES = (1, 31)
MIN_PIPELINES = (2, 17)
MIN_KUEUE_API = "v1beta2"
KUEUE, TRAINER = "kueue.x-k8s.io", "trainer.kubeflow.org"
TRAINER_API = "v1alpha1"
GUIDE = "docs/operations.md"


def read_version(kube: Kube) -> Any:
    """Return what the API server says of itself, which everybody may ask."""
    return kube.read(api.VersionApi(kube.client).get_code)


def judge_version(kube: Kube, answer: Any) -> Finding:
    """Compare the API server's version with what the manifests are held to."""
    version = _numbers(f"{answer.major}.{answer.minor}")  # clouds write "31+"
    return Finding(
        subject="Kubernetes",
        found=f"{answer.git_version} at {kube.address}",
        ok=version is not None and version >= MIN_KUBERNETES,
        remedy=f"update it to {_dotted(MIN_KUBERNETES)} or newer",
    )


def reach_pipelines(*, host: str, namespace: str, token_file: str, context: str) -> tuple[Cluster | None, Finding]:
    """Return the server of Kubeflow Pipelines, None where it was not reached, and what it is."""
    subject = "Kubeflow Pipelines"
    try:
        cluster = connect(host=host, namespace=namespace, token_file=token_file, context=context)
        tag = _tag(cluster)
    except (ClusterError, ValueError) as error:  # the message names the remedy behind the cause
        found, _, remedy = str(error).rpartition("; ")
        return None, fault(subject, (found or remedy).removeprefix(f"{subject} at "), remedy)
    users = f"many users, namespace {cluster.namespace}" if cluster.namespace else "one user"
    version = _numbers(tag)
    if version is None:
        remedy = f"kubectl -n {KUBEFLOW} get deployment ml-pipeline --output jsonpath='{{..image}}' shows it"
        reason = f"its version: it calls itself {tag or 'nothing'}; {_dotted(MIN_PIPELINES)} or newer is needed"
        return cluster, not_looked(subject, f"{reason} (at {cluster.host}, {users})", remedy)
    return cluster, Finding(
        subject=subject,
        found=f"{tag} at {cluster.host}, {users}",
        ok=version >= MIN_PIPELINES,
        remedy=f"update it to {_dotted(MIN_PIPELINES)} or newer: {GUIDE}, 'What must be there'",
    )


def check_caller(kube: Kube, cluster: Cluster | None, *, token_file: str) -> Iterator[Finding]:
    """Look at runs with the caller's login, and ask whether it may make one."""
    subject = "your rights"
    if cluster is None:
        raise NotLookedError("Kubeflow Pipelines was not reached")
    namespace = {"namespace": cluster.namespace} if cluster.namespace else {}
    try:
        with clear_errors(cluster.host):
            cluster.client.runs.run_service_list_runs(page_size=1, **namespace)
    except ClusterError as error:
        found, _, remedy = str(error).rpartition("; ")
        yield fault(subject, found, remedy)
        return
    if not cluster.namespace:
        yield Finding(subject=subject, found="you may list runs, and make them: the server has one user")
    elif token_file:
        remedy = f"kubectl auth can-i create runs.pipelines.kubeflow.org -n {kube.namespace} --as=WHOSE_TOKEN_IT_IS"
        yield not_looked(subject, "you may list runs; whether its token may make one, Kubernetes cannot tell", remedy)
    else:
        right = {"group": "pipelines.kubeflow.org", "resource": "runs", "verb": "create", "namespace": kube.namespace}
        allowed = allowed_to_me(kube, right)
        yield Finding(
            subject=subject,
            found=f"you may list runs, and {'make them' if allowed else 'not make them'}, in {kube.namespace}",
            ok=allowed,
            remedy=f"ask for the role kubeflow-edit in {kube.namespace}",
        )


def check_queue(kube: Kube, queue: str) -> Finding:
    """Look whether pods that name the queue would ever be admitted."""
    versions = kube.group_versions(KUEUE)
    if not queue:
        there = "Kueue is there, no --queue given" if versions else "Kueue is not there"
        return Finding(subject="queue", found=f"{there}: pods are not queued")
    if MIN_KUEUE_API not in versions:
        found = f"Kueue serves {', '.join(versions)}, not {MIN_KUEUE_API}" if versions else "Kueue is not installed"
        remedy = "install Kueue 0.15 or newer, or leave --queue out: a pod with a queue's label would not be queued"
        return fault("queue", found, remedy)
    found = kube.custom(KUEUE, MIN_KUEUE_API, "localqueues", queue)
    if found is None:
        remedy = f"apply the overlay with components/kueue and base/queue, or name a queue of {kube.namespace}"
        return fault("queue", f"no LocalQueue {queue} in {kube.namespace}: pods would wait for ever", remedy)
    conditions = found.get("status", {}).get("conditions", [])
    active = next((item for item in conditions if item["type"] == "Active"), None)
    state = "no state yet" if active is None else active.get("message") or active.get("reason", "")
    return Finding(
        subject="queue",
        found=f"LocalQueue {queue} of ClusterQueue {found['spec']['clusterQueue']}: {state}",
        ok=active is not None and active["status"] == "True",
        remedy=f"kubectl describe clusterqueue {found['spec']['clusterQueue']}: does it exist, do its flavours, and "
        "does Kueue's controller run?",
    )


def check_trainer(kube: Kube, cluster: ClusterConfig) -> Finding:
    """Look for Kubeflow Trainer and the runtime that a training on several nodes names."""
    if cluster.nodes == 1:
        return Finding(subject="Kubeflow Trainer", found="not needed: cluster.nodes = 1")
    if TRAINER_API not in kube.group_versions(TRAINER):
        remedy = "install Kubeflow Trainer 2, or set cluster.nodes = 1"
        return fault("Kubeflow Trainer", f"not installed, and cluster.nodes = {cluster.nodes}", remedy)
    of_namespace = kube.custom(TRAINER, TRAINER_API, "trainingruntimes", cluster.runtime)
    found = of_namespace or kube.custom(
        TRAINER, TRAINER_API, "clustertrainingruntimes", cluster.runtime, namespaced=False
    )
    return Finding(
        subject="Kubeflow Trainer",
        found=f"{found['kind']} {cluster.runtime}" if found else f"it has no runtime {cluster.runtime}",
        ok=found is not None,
        remedy="install Trainer's runtimes, or set cluster.runtime to one of kubectl get clustertrainingruntimes",
    )


def allowed_to_me(kube: Kube, right: dict[str, Any]) -> bool:
    """Ask whether the caller has a right; everybody may ask that of themselves."""
    attributes = api.V1ResourceAttributes(**right)
    review = api.V1SelfSubjectAccessReview(spec=api.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes))
    answer = kube.read(api.AuthorizationV1Api(kube.client).create_self_subject_access_review, review)
    return bool(answer.status.allowed)


def _tag(cluster: Cluster) -> str:
    """Return the server's version: 2.17 tells it in both health pages, older ones in that of the first API."""
    client = cluster.client._healthz_api.api_client
    with clear_errors(cluster.host):
        for path in ("/apis/v2beta1/healthz", "/apis/v1beta1/healthz"):
            answer = client.call_api(path, "GET", response_type="object", auth_settings=["Bearer"],
                                     _return_http_data_only=True, _request_timeout=(5, 20))  # fmt: skip
            if isinstance(answer, dict) and answer.get("tag_name"):
                return str(answer["tag_name"])
    return ""


def _numbers(version: str) -> tuple[int, int] | None:
    match = re.search(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
