"""The namespace of the runs: its pod security, volumes, quota."""

from __future__ import annotations

from kubernetes.client.exceptions import ApiException
from kubernetes.utils.quantity import parse_quantity

from aelif.config import ClusterConfig
from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.doctor_cluster.kube import Kube, fault, not_looked

_ENFORCE = "pod-security.kubernetes.io/enforce"


def check_namespace(kube: Kube) -> Finding:
    """Look for the namespace, and at what its pods may be."""
    subject = f"namespace {kube.namespace}"
    found = kube.read(kube.core.read_namespace, kube.namespace)
    if found is None:
        remedy = "give that of the runs with --namespace; on a server with many users a Profile makes it"
        return fault(subject, "there is none", remedy)
    if found.metadata.deletion_timestamp:
        return fault(subject, "it is being deleted", "wait, then make it again")
    level = (found.metadata.labels or {}).get(_ENFORCE, "")
    fitting = {
        "": "no pod security is enforced",
        "privileged": "pod security privileged: nothing is enforced",
        "baseline": "pod security baseline: steps keep to it",
        "restricted": f"pod security restricted: steps keep to it, as user {contract.USER_ID}",
    }
    remedy = f"kubectl label namespace {kube.namespace} {_ENFORCE}=restricted --overwrite"
    return Finding(subject=subject, found=fitting.get(level, f"{_ENFORCE} = {level}, which is no level"),
                   ok=level in fitting, remedy=remedy)  # fmt: skip


def check_volume(kube: Kube, name: str) -> Finding:
    """Look whether a claim has a volume that pods on all nodes can mount."""
    subject = f"volume {name}"
    found = kube.read(kube.core.read_namespaced_persistent_volume_claim, name, kube.namespace)
    if found is None:
        return fault(
            subject,
            f"no such claim in {kube.namespace}: pods would stay Pending",
            "kubectl apply -k the overlay: base/runs/volumes.yaml makes it",
        )
    modes = found.status.access_modes or found.spec.access_modes
    size = (found.status.capacity or {}).get("storage", "size unknown")
    if found.status.phase != "Bound":
        remedy = (f"kubectl -n {kube.namespace} describe pvc {name}: a class that waits for its first pod is bound by "
                  "job/aelif-prepare-volumes; one that cannot do its access mode never is")  # fmt: skip
        return fault(
            subject,
            f"{found.status.phase or 'no state'}, class "
            f"{found.spec.storage_class_name or 'default'}, {', '.join(modes)}",
            remedy,
        )
    described = f"bound, {size}, {', '.join(modes)}"
    if "ReadWriteMany" in modes:
        return Finding(subject=subject, found=described)
    nodes = _count_nodes(kube)
    if nodes is None:
        return not_looked(subject, f"{described}: fine on one node; you may not see how many there are")
    return Finding(
        subject=subject,
        found=f"{described}: " + ("fine on one node" if nodes < 2 else f"there are {nodes} nodes"),
        ok=nodes < 2,
        remedy="pods on other nodes could not mount it: delete the claim, set a storage class that can do "
        "ReadWriteMany in runs/kustomization.yaml, apply again",
    )  # fmt: skip


def check_quota(kube: Kube, cluster: ClusterConfig) -> Finding:
    """Compare the namespace's quotas with what a training asks for."""
    quotas = kube.read(kube.core.list_namespaced_resource_quota, kube.namespace).items
    wanted = {
        f"requests.{cluster.accelerator}": str(cluster.accelerators * cluster.nodes),
        "requests.cpu": cluster.cpu,
        "requests.memory": cluster.memory,
    }
    short = [
        f"{quota.metadata.name} has {key} = {quota.spec.hard[key]}, a training wants {amount}"
        for quota in quotas
        for key, amount in wanted.items()
        if key in (quota.spec.hard or {}) and parse_quantity(quota.spec.hard[key]) < parse_quantity(amount)
    ]
    names = ", ".join(quota.metadata.name for quota in quotas)
    return Finding(
        subject="quota",
        found="; ".join(short) or (f"{names}: a training fits in" if quotas else "none"),
        ok=not short,
        remedy="raise it (components/isolated-runs/limits.yaml, the overlay's gpu-quota.yaml), or ask for less",
    )


def _count_nodes(kube: Kube) -> int | None:
    """Return how many nodes there are, None where that may not be seen."""
    try:
        return len(kube.read(kube.core.list_node).items)
    except ApiException as error:
        if error.status != 403:
            raise
        return None
