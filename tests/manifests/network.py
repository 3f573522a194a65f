"""Reads NetworkPolicies as a cluster's network would: may this pod open that port of that pod?"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from tests.manifests.rendering import Object, containers, namespace_of, of_kind, pods
from tests.manifests.test_references import matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A pod, or with `address` something outside of the cluster."""

    namespace: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    ports: frozenset[int] = frozenset()
    """TCP ports where it listens."""
    address: str = ""


STEP = {"pipelines.kubeflow.org/v2_component": "true"}
"""What Kubeflow Pipelines 2.17 labels every pod of a run with, drivers too."""
DNS = Place(namespace="kube-system", labels={"k8s-app": "kube-dns"}, ports=frozenset({53}))
KUBEFLOW = (
    Place(namespace="kubeflow", labels={"app": "ml-pipeline"}, ports=frozenset({8888, 8887})),
    Place(namespace="kubeflow", labels={"component": "metadata-grpc-server"}, ports=frozenset({8080})),
    Place(namespace="kubeflow", labels={"app": "seaweedfs"}, ports=frozenset({8333})),
)
"""Kubeflow Pipelines' own pods that a step talks to."""
INTERNET = Place(address="203.0.113.7")
NODE_CREDENTIALS = Place(address="169.254.169.254")


def places(objects: tuple[Object, ...]) -> dict[str, Place]:
    """Return the pods that the manifests make, by label `app.kubernetes.io/name`, and those that runs make."""
    found = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: Place(
            namespace=namespace_of(workload),
            labels=pod["metadata"]["labels"],
            ports=frozenset(port["containerPort"] for part in containers(pod) for port in part.get("ports", [])),
        )
        for workload, pod in pods(objects)
    }
    runs = namespace_of(next(item for item in objects if item["metadata"]["name"] == "aelif-runner"))
    found["step"] = Place(namespace=runs, labels=STEP)
    return found


def selected(policy: Object, place: Place) -> bool:
    """Tell whether a policy is about this pod."""
    return namespace_of(policy) == place.namespace and matches(policy["spec"]["podSelector"], place.labels)


def is_peer(peer: dict[str, Any], place: Place, *, namespace: str) -> bool:
    """Tell whether an entry of `from` or `to`, of a policy in `namespace`, means this place."""
    if block := peer.get("ipBlock"):
        if not place.address:
            return False  # pods may be inside the block, but that is not what it is for
        address = ipaddress.ip_address(place.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(address in ipaddress.ip_network(part) for part in block.get("except", []))
    if place.address:
        return False
    if "namespaceSelector" in peer:
        if not matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": place.namespace}):
            return False
    elif place.namespace != namespace:
        return False
    return matches(peer.get("podSelector", {}), place.labels)


def _one_way(policies: list[Object], subject: Place, other: Place, port: int, *, way: str) -> bool:
    """Tell whether the policies of one side let a connection pass: all do where none is about it."""
    kind, peers = ("Egress", "to") if way == "egress" else ("Ingress", "from")
    about = [item for item in policies if selected(item, subject) and kind in item["spec"]["policyTypes"]]
    return not about or any(
        (peers not in rule or any(is_peer(peer, other, namespace=namespace_of(item)) for peer in rule[peers]))
        and ("ports" not in rule or port in {entry["port"] for entry in rule["ports"]})
        for item in about
        for rule in item["spec"].get(way, [])
    )


def allowed(objects: tuple[Object, ...], source: Place, target: Place, port: int) -> bool:
    """Tell whether `source` may open `port` of `target`: both sides' policies must let it."""
    policies = of_kind(objects, "NetworkPolicy")
    return (bool(source.address) or _one_way(policies, source, target, port, way="egress")) and (
        bool(target.address) or _one_way(policies, target, source, port, way="ingress")
    )
