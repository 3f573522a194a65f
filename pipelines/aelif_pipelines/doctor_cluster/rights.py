"""The account of the steps, and whether it may do what base/runs/accounts.yaml grants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubernetes import client as api
from kubernetes.client.exceptions import ApiException

from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.doctor_cluster.kube import Kube, NotLookedError, fault
from aelif_pipelines.doctor_cluster.platform import TRAINER, allowed_to_me


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One verb on one resource."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""
    """Of the one object that it is for; "": all."""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {resource}/{self.name}" if self.name else f"{self.verb} {resource}"


STEPS = (
    Right(verb="get", resource="configmaps", name="kfp-launcher"),
    Right(verb="get", resource="secrets", name="mlpipeline-minio-artifact"),
    Right(verb="get", resource="pods"),
    Right(verb="create", resource="workflowtaskresults", group="argoproj.io"),
    Right(verb="patch", resource="workflowtaskresults", group="argoproj.io"),
)
"""What base/runs/accounts.yaml grants."""
TRAINING = tuple(Right(verb=verb, resource="trainjobs", group=TRAINER) for verb in ("create", "get", "delete"))
"""What components/trainer adds, as far as a training on several nodes cannot do without."""


def check_account(kube: Kube, *, nodes: int) -> Iterator[Finding]:
    """Look for the account, and ask for each of its rights."""
    subject = f"account {contract.RUNNER}"
    remedy = "kubectl apply -k the overlay: base/runs/accounts.yaml"
    try:
        absent = kube.read(kube.core.read_namespaced_service_account, contract.RUNNER, kube.namespace) is None
    except ApiException as error:
        if error.status != 403:
            raise
        absent = False  # it may not be seen; its rights tell as much
    if absent:
        yield fault(subject, f"not in {kube.namespace}: no pod of a step would start", f"{remedy} makes it")
        return
    rights = (*STEPS, *TRAINING) if nodes > 1 else STEPS
    missing = [str(right) for right in rights if not _may(kube, right)]
    if nodes > 1:
        remedy += ", and components/trainer for training on several nodes"
    yield Finding(
        subject=subject,
        found=f"it may not {', not '.join(missing)}" if missing else f"it has its {len(rights)} rights",
        ok=not missing,
        remedy=remedy,
    )


def _may(kube: Kube, right: Right) -> bool:
    """Ask for the account's right: of ourselves if we are it, of Kubernetes where the caller may ask that."""
    attributes = {"verb": right.verb, "resource": right.resource, "group": right.group, "namespace": kube.namespace}
    if right.name:
        attributes["name"] = right.name
    user = f"system:serviceaccount:{kube.namespace}:{contract.RUNNER}"
    if kube.inside and _who(kube) == user:
        return allowed_to_me(kube, attributes)
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{kube.namespace}", "system:authenticated"]
    spec = api.V1SubjectAccessReviewSpec(
        user=user, groups=groups, resource_attributes=api.V1ResourceAttributes(**attributes)
    )
    review = api.V1SubjectAccessReview(spec=spec)
    try:
        answer: Any = kube.read(api.AuthorizationV1Api(kube.client).create_subject_access_review, review)
    except ApiException as error:
        if error.status != 403:
            raise
        command = f"kubectl auth can-i --list --as={user} -n {kube.namespace}"
        raise NotLookedError("its rights, for you may not ask for those of others",
                             f"let an administrator run this, or: {command}") from error  # fmt: skip
    return bool(answer.status.allowed)


def _who(kube: Kube) -> str:
    answer = kube.read(api.AuthenticationV1Api(kube.client).create_self_subject_review, api.V1SelfSubjectReview())
    return str(answer.status.user_info.username)
