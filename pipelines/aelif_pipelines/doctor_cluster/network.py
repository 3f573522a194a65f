"""NetworkPolicies, read as the cluster's network would: steps are closed off, but for what they need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubernetes import client as api
from kubernetes.client.exceptions import ApiException

from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.doctor_cluster.addresses import Address, is_outside, read_address
from aelif_pipelines.doctor_cluster.kube import KUBEFLOW, Kube
from aelif_pipelines.doctor_cluster.values import gather

STEP = {"pipelines.kubeflow.org/v2_component": "true"}
"""Label of every pod of a run."""
_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_KUBEFLOW_PORTS = {8887: "Kubeflow Pipelines' API", 8080: "Kubeflow's metadata store"}
Policy = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a step connects to."""

    what: str
    port: int
    namespace: str = ""
    """"": outside of the cluster."""
    labels: Mapping[str, str] | None = None
    """Of its pods; None: not known, any selector may mean them."""
    alternatives: tuple[int, ...] = field(default=())
    """Ports of which one must be open as well as `port` would be."""


def check_network(kube: Kube) -> Iterator[Finding]:
    """Look whether steps are closed off, and then whether what they need is open."""
    policies = _policies(kube, kube.namespace)
    about = [policy for policy in policies if _matches(policy["spec"].get("podSelector", {}), STEP)]
    closed = {way for policy in about for way in policy["spec"].get("policyTypes", ["Ingress"])}
    open_ways = sorted({"Ingress", "Egress"} - closed)
    yield Finding(
        subject="network",
        found=f"steps are not closed off: no policy of {kube.namespace} is about their {' and '.join(open_ways)}"
        if open_ways
        else f"steps are closed off by {len(about)} policies of {kube.namespace}",
        ok=not open_ways,
        remedy="kubectl apply -k the overlay: base/runs/network.yaml (and a network plugin that keeps policies)",
    )
    targets = list(_targets(kube))
    shut = [_place(target) for target in targets if "Egress" in closed and not _leaves(about, target)]
    yield Finding(
        subject="network from steps",
        found=f"closed to {', '.join(shut)}" if shut else f"open to {', '.join(target.what for target in targets)}",
        ok=not shut,
        remedy=f"add namespace and port to a policy of {kube.namespace} (base/runs/network.yaml)",
    )
    yield from _incoming(kube, targets)


def _incoming(kube: Kube, targets: list[Target]) -> Iterator[Finding]:
    """Look at the other side: policies of the servers' own namespace."""
    for target in targets:
        if not target.labels or target.namespace == kube.namespace:
            continue
        policies = [
            policy
            for policy in _policies(kube, target.namespace)
            if _matches(policy["spec"].get("podSelector", {}), target.labels)
            and "Ingress" in policy["spec"].get("policyTypes", ["Ingress"])
        ]
        step = Target(what="steps", port=target.port, namespace=kube.namespace, labels=STEP)
        lets_in = not policies or any(
            _opens(rule, "from", step, namespace=target.namespace)
            for policy in policies
            for rule in policy["spec"].get("ingress", [])
        )
        yield Finding(
            subject=f"network to {target.what}",
            found=f"{_place(target)} {'lets' if lets_in else 'does not let'} steps of {kube.namespace} in",
            ok=lets_in,
            remedy=f"add the namespace {kube.namespace} to the policies of {target.namespace}: servers/clients.yaml",
        )


def _targets(kube: Kube) -> Iterator[Target]:
    """Yield what steps connect to: names, Kubeflow, the API server, MLflow, the store."""
    yield Target(what="DNS", port=53, namespace="kube-system")
    for port, what in _KUBEFLOW_PORTS.items():
        yield Target(what=what, port=port, namespace=KUBEFLOW)
    yield Target(what="the Kubernetes API", port=443, alternatives=(6443,))
    values = gather(kube, contract.SETTINGS)
    for name, what in (("MLFLOW_TRACKING_URI", "MLflow"), ("AWS_ENDPOINT_URL", "the object store")):
        if url := values.get(name):
            try:
                address = read_address(url, kube)
            except ValueError:  # its own check says so
                continue
            yield _target_at(kube, address, what)


def _target_at(kube: Kube, address: Address, what: str) -> Target:
    if is_outside(address):
        return Target(what=what, port=address.port)
    try:
        found = kube.read(kube.core.read_namespaced_service, address.service, address.namespace)
    except ApiException as error:
        if error.status != 403:
            raise
        found = None
    if found is None:
        return Target(what=what, port=address.port, namespace=address.namespace)
    ports = {port.port: port.target_port for port in found.spec.ports}
    behind = ports.get(address.port)  # policies are about the pod's port
    return Target(what=what, port=behind if isinstance(behind, int) else address.port, namespace=address.namespace,
                  labels=found.spec.selector or None)  # fmt: skip


def _policies(kube: Kube, namespace: str) -> list[Policy]:
    found = kube.read(api.NetworkingV1Api(kube.client).list_namespaced_network_policy, namespace)
    items: list[Policy] = kube.plain(found.items)
    return items


def _leaves(policies: list[Policy], target: Target) -> bool:
    return any(
        _opens(rule, "to", target, namespace=policy["metadata"].get("namespace", ""))
        for policy in policies
        for rule in policy["spec"].get("egress", [])
    )


def _opens(rule: Mapping[str, Any], side: str, target: Target, *, namespace: str) -> bool:
    """Tell whether a rule of a policy in `namespace` opens the target's port."""
    ports = rule.get("ports")
    wanted = (target.port, *target.alternatives)
    port_open = not ports or any(
        port.get("port") is None
        or isinstance(port["port"], str)  # a name of the pod's, which may be any number
        or any(port["port"] <= one <= port.get("endPort", port["port"]) for one in wanted)
        for port in ports
        if port.get("protocol", "TCP") == "TCP"
    )  # fmt: skip
    return port_open and (not rule.get(side) or any(_is_peer(peer, target, namespace) for peer in rule[side]))


def _is_peer(peer: Mapping[str, Any], target: Target, namespace: str) -> bool:
    """Tell whether an entry of `from` or `to` means the target; any block of addresses may hold one outside."""
    if "ipBlock" in peer:
        return not target.namespace
    if not target.namespace:
        return False
    if "namespaceSelector" in peer:
        if not _matches(peer["namespaceSelector"], {_NAMESPACE_LABEL: target.namespace}, unknown_pass=True):
            return False
    elif target.namespace != namespace:
        return False
    return target.labels is None or _matches(peer.get("podSelector", {}), target.labels)


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str], *, unknown_pass: bool = False) -> bool:
    """Tell whether a selector picks these labels; with `unknown_pass` a key that they lack may have any value."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value and not (unknown_pass and key not in labels):
            return False
    for one in selector.get("matchExpressions", []):
        if unknown_pass and one["key"] not in labels:
            continue
        value, values = labels.get(one["key"]), one.get("values", [])
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": one["key"] in labels,
            "DoesNotExist": one["key"] not in labels,
        }
        if not holds[one["operator"]]:
            return False
    return True


def _place(target: Target) -> str:
    ports = "/".join(map(str, (target.port, *target.alternatives)))
    return f"{target.what} ({target.namespace or 'outside the cluster'}:{ports})"
