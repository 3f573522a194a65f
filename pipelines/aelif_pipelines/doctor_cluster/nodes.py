"""Nodes for the steps that run a model: accelerators, labels, taints, size; each look narrows what the next sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from kubernetes.client.exceptions import ApiException
from kubernetes.utils.quantity import parse_quantity

from aelif.config import ClusterConfig
from aelif.doctor import Finding
from aelif_pipelines.doctor_cluster.kube import Kube, fault, not_looked, run_check
from aelif_pipelines.doctor_cluster.platform import KUEUE, MIN_KUEUE_API

_PRODUCT_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "karpenter.k8s.aws/instance-gpu-name",
                   "kubernetes.azure.com/accelerator", "amd.com/gpu.product-name")  # fmt: skip
Node = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a pod says about its node."""

    labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    source: str = "cluster.node_selector"
    """Who says so."""


def check_nodes(kube: Kube, cluster: ClusterConfig, *, queue: str) -> Iterator[Finding]:
    """Tell whether there is a node where a step that runs a model would be scheduled, and which look ruled it out."""
    nodes: list[Node] = kube.plain(kube.read(kube.core.list_node).items)
    usable = [node for node in nodes if _is_ready(node) and not node["spec"].get("unschedulable")]
    chips = Counter(node["status"].get("nodeInfo", {}).get("architecture", "unknown") for node in usable)
    yield Finding(
        subject="nodes",
        found=f"{len(usable)} of {len(nodes)} take pods ({', '.join(f'{n} {chip}' for chip, n in chips.items())})",
        ok=bool(usable),
        remedy="kubectl get nodes: those that are not Ready or cordoned take none",
    )
    wish = _wish(kube, cluster, queue, usable)
    if isinstance(wish, Finding):
        yield wish
        return
    for subject, look in (
        ("accelerators", lambda left: _accelerators(kube, left, cluster)),
        ("nodes' labels", lambda left: _labels(left, wish)),
        ("nodes' taints", lambda left: _taints(left, wish)),
        ("nodes' size", lambda left: _size(left, cluster)),
    ):
        if not usable:
            yield not_looked(subject, "no node is left")
            continue
        usable, finding = look(usable)
        yield finding


def _accelerators(kube: Kube, nodes: list[Node], cluster: ClusterConfig) -> tuple[list[Node], Finding]:
    subject, name = "accelerators", cluster.accelerator
    if cluster.accelerators == 0:
        return nodes, Finding(subject=subject, found="none wanted: cluster.accelerators = 0, all steps on CPUs")
    offering = [node for node in nodes if _amount(node, name)]
    fit = [node for node in offering if _amount(node, name) >= cluster.accelerators]
    if not offering:
        others = sorted({key for node in nodes for key in node["status"]["allocatable"] if "/" in key})
        found = f"no node offers {name}" + (f"; there are {', '.join(others)}" if others else "")
        remedy = (
            "install the vendor's GPU operator or device plugin; for another vendor --set cluster.accelerator=…, for "
            "CPUs --set cluster.accelerators=0; a pool that scales from zero shows its nodes while one runs"
        )
        return [], fault(subject, found, remedy)
    total = sum(int(_amount(node, name)) for node in offering)
    return fit, Finding(
        subject=subject,
        found=f"{total} × {name} on {len(offering)} nodes ({_products(offering)}); {_free(kube, offering, name)}; "
        f"{len(fit)} nodes have the {cluster.accelerators} of a training pod",
        ok=len(fit) >= cluster.nodes,
        remedy=f"--set cluster.accelerators={max(int(_amount(node, name)) for node in offering)} or less, "
        f"--set cluster.nodes={max(1, len(fit))}, or larger nodes",
    )


def _labels(nodes: list[Node], wish: Wish) -> tuple[list[Node], Finding]:
    fit = [node for node in nodes if wish.labels.items() <= node["metadata"].get("labels", {}).items()]
    wanted = ", ".join(f"{key}={value}" for key, value in wish.labels.items())
    if fit:
        found = f"{wanted} on {len(fit)} of {len(nodes)}" if wanted else "any node will do: no selector"
        return fit, Finding(subject="nodes' labels", found=found)
    for key, value in wish.labels.items():
        values = sorted({node["metadata"].get("labels", {}).get(key, "") for node in nodes} - {""})
        if value not in values:
            there = f"they have {key}={', '.join(values)}" if values else f"none has {key} at all"
            return [], fault(
                "nodes' labels",
                f"no node has the label {key}={value}: {there}",
                f"mend {wish.source}, or kubectl label node NODE {key}={value}",
            )
    return [], fault(
        "nodes' labels", f"no node has all of {wanted}", f"mend {wish.source}: each label is on another node"
    )


def _taints(nodes: list[Node], wish: Wish) -> tuple[list[Node], Finding]:
    left = {node["metadata"]["name"]: _untolerated(node, wish) for node in nodes}
    fit = [node for node in nodes if not left[node["metadata"]["name"]]]
    if fit:
        return fit, Finding(subject="nodes' taints", found=f"{len(fit)} of {len(nodes)} nodes tolerated")
    written = sorted({taint for taints in left.values() for taint in taints})
    remedy = (f"--set 'cluster.tolerations=[\"{written[0]}\"]', or the toleration in the queue's ResourceFlavor; some "
              "clouds (GKE) tolerate by themselves a taint named like the accelerator")  # fmt: skip
    return [], fault("nodes' taints", f"not tolerated: {', '.join(written)}", remedy)


def _size(nodes: list[Node], cluster: ClusterConfig) -> tuple[list[Node], Finding]:
    wanted = {"cpu": cluster.cpu, "memory": cluster.memory}
    fit = [node for node in nodes if all(_amount(node, key) >= parse_quantity(wanted[key]) for key in wanted)]
    largest = {key: max((node["status"]["allocatable"].get(key, "0") for node in nodes), key=parse_quantity)
               for key in wanted}  # fmt: skip
    return fit, Finding(
        subject="nodes' size",
        found=f"{len(fit)} of {len(nodes)} have {cluster.cpu} CPUs and {cluster.memory}; the largest has "
        f"{largest['cpu']} and {largest['memory']}",
        ok=len(fit) >= cluster.nodes,
        remedy="lower --set cluster.cpu=… or cluster.memory=… (miniatures take 1 and 4Gi), cluster.nodes; or "
        "add larger nodes",
    )


def _wish(kube: Kube, cluster: ClusterConfig, queue: str, nodes: list[Node]) -> Wish | Finding:
    """Return what the pods say, with what Kueue adds by the first ResourceFlavor that has a node."""
    own = Wish(labels=cluster.selector, tolerations=cluster.tolerated)
    if not queue or cluster.accelerators == 0:
        return own

    def look() -> Iterator[Finding]:
        nonlocal own
        local = kube.custom(KUEUE, MIN_KUEUE_API, "localqueues", queue)
        if local is None:
            return
        pool = local["spec"]["clusterQueue"]
        cluster_queue = kube.custom(KUEUE, MIN_KUEUE_API, "clusterqueues", pool, namespaced=False)
        groups = cluster_queue["spec"].get("resourceGroups", []) if cluster_queue else []
        names = [
            flavor["name"]
            for group in groups
            if cluster.accelerator in group["coveredResources"]
            for flavor in group["flavors"]
        ]
        if not names:
            remedy = f"cover it in base/queue/queue.yaml, or name another queue: {pool} would never admit the pods"
            yield fault("nodes' labels", f"ClusterQueue {pool} has no flavour for {cluster.accelerator}", remedy)
            return
        wishes = [_with_flavor(kube, own, name) for name in names]
        own = next((one for one in wishes if any(_suits(node, one) for node in nodes)), wishes[0])

    found = run_check("nodes' labels", look)  # cluster-wide objects, which not everybody may read
    return found[0] if found else own


def _with_flavor(kube: Kube, own: Wish, name: str) -> Wish:
    flavor = kube.custom(KUEUE, MIN_KUEUE_API, "resourceflavors", name, namespaced=False)
    spec = flavor.get("spec", {}) if flavor else {}
    return Wish(
        labels={**own.labels, **spec.get("nodeLabels", {})},
        tolerations=[*own.tolerations, *spec.get("tolerations", [])],
        source=f"cluster.node_selector or ResourceFlavor {name}",
    )


def _suits(node: Node, wish: Wish) -> bool:
    return wish.labels.items() <= node["metadata"].get("labels", {}).items() and not _untolerated(node, wish)


def _free(kube: Kube, nodes: list[Node], name: str) -> str:
    """Return how many accelerators no pod holds, as far as the caller may see pods."""
    try:
        pods = kube.plain(kube.read(kube.core.list_pod_for_all_namespaces).items)
    except ApiException as error:
        if error.status != 403:
            raise
        return "how many are free is not known (you may not list the pods of all namespaces)"
    names = {node["metadata"]["name"] for node in nodes}
    held = sum(
        int(parse_quantity(part.get("resources", {}).get("limits", {}).get(name, "0")))
        for pod in pods
        if pod["spec"].get("nodeName") in names and pod["status"].get("phase") not in ("Succeeded", "Failed")
        for part in pod["spec"]["containers"]
    )
    return f"{sum(int(_amount(node, name)) for node in nodes) - held} free"


def _products(nodes: list[Node]) -> str:
    """Return what the accelerators are, by the labels of vendors and clouds."""
    labels = [node["metadata"].get("labels", {}) for node in nodes]
    names = {label[key] for label in labels for key in _PRODUCT_LABELS if key in label}
    return ", ".join(sorted(names)) or "no label says which"


def _untolerated(node: Node, wish: Wish) -> list[str]:
    """Return the taints that keep the pod off, as kubectl writes them."""
    return [
        f"{taint['key']}{'=' + taint['value'] if taint.get('value') else ''}:{taint['effect']}"
        for taint in node["spec"].get("taints", [])
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(one, taint) for one in wish.tolerations)
    ]  # fmt: skip


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def _is_ready(node: Node) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _amount(node: Node, name: str) -> Decimal:
    return parse_quantity(node["status"]["allocatable"].get(name, "0"))
