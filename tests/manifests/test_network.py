"""What may speak to what: everything that is needed, and nothing of what is not."""

from __future__ import annotations

import pytest
from tests.manifests.network import (
    DNS,
    INTERNET,
    KUBEFLOW,
    NODE_CREDENTIALS,
    Place,
    allowed,
    is_peer,
    places,
    selected,
)
from tests.manifests.rendering import (
    EVERYTHING,
    MANIFESTS,
    find,
    label_of,
    namespace_of,
    needs_kubectl,
    of_kind,
    render,
)

pytestmark = needs_kubectl

JOBSET = Place(namespace="aelif-runs", labels={"jobset.sigs.k8s.io/jobset-name": "train"}, ports=frozenset({29500}))
OPTIONAL = {"mlflow-backup", "mlflow-restore", "postgres", "s3", "s3-bucket"}
"""Pods that an overlay may leave out, so that a policy's peer may be absent."""

NEEDED = {
    "dev": [
        ("mlflow", "postgres", 5432), ("mlflow", "s3", 8333), ("mlflow-user", "mlflow", 5000),
        ("s3-bucket", "s3", 8333),
        ("step", "mlflow", 5000), ("step", "s3", 8333), ("step", INTERNET, 443),
    ],
    "production": [
        ("mlflow", INTERNET, 5432), ("mlflow", INTERNET, 443), ("mlflow-user", "mlflow", 5000),
        ("step", "mlflow", 5000),
        ("step", INTERNET, 443), ("step", INTERNET, 6443), ("mlflow-backup", INTERNET, 5432),
        ("mlflow-backup", INTERNET, 443), ("mlflow-restore", INTERNET, 5432), ("mlflow-restore", INTERNET, 443),
        ("aelif-schedule", KUBEFLOW[0], 8888),
    ],
}  # fmt: skip
FORBIDDEN = {
    "dev": [
        ("step", "postgres", 5432), ("mlflow-user", "postgres", 5432), ("s3-bucket", "postgres", 5432),
        ("postgres", INTERNET, 443), ("s3", INTERNET, 443), ("mlflow", INTERNET, 443), ("mlflow", "step", 5000),
        ("step", "step", 8080), ("step", NODE_CREDENTIALS, 443), ("aelif-prepare-volumes", INTERNET, 443),
        (Place(namespace="default"), "mlflow", 5000), (Place(namespace="kubeflow"), "mlflow", 5000),
        (Place(namespace="default"), "s3", 8333), (INTERNET, "mlflow", 5000),
    ],
    "production": [
        ("step", "step", 8080), ("step", NODE_CREDENTIALS, 443), ("mlflow", NODE_CREDENTIALS, 443),
        ("step", INTERNET, 5432), ("step", INTERNET, 22), ("mlflow-user", INTERNET, 443),
        ("mlflow-backup", "mlflow", 5000),
        ("aelif-schedule", INTERNET, 443), ("aelif-prepare-volumes", INTERNET, 443),
        (Place(namespace="kubeflow", labels={"pipelines.kubeflow.org/v2_component": "true"}), "mlflow", 5000),
        (Place(namespace="aelif-runs"), "mlflow", 5000), (Place(namespace="aelif-runs"), INTERNET, 443),
    ],
}  # fmt: skip
CASES = [(overlay, *case, True) for overlay, cases in NEEDED.items() for case in cases]
CASES += [(overlay, *case, False) for overlay, cases in FORBIDDEN.items() for case in cases]


@pytest.mark.parametrize(("overlay", "source", "target", "port", "expected"), CASES)
def test_connections(overlay: str, source: str | Place, target: str | Place, port: int, expected: bool) -> None:
    objects = render(overlay)
    known = places(objects)
    ends = [known[end] if isinstance(end, str) else end for end in (source, target)]
    assert allowed(objects, *ends, port) is expected


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_pod_but_the_idle_one_finds_names(name: str) -> None:
    objects = render(name)
    for pod, place in places(objects).items():
        assert allowed(objects, place, DNS, 53) is (pod != "aelif-prepare-volumes"), pod


@pytest.mark.parametrize("name", EVERYTHING)
def test_steps_reach_kubeflow_pipelines(name: str) -> None:
    objects = render(name)
    for target in KUBEFLOW:
        for port in target.ports:
            assert allowed(objects, places(objects)["step"], target, port), target.labels


def test_pods_of_a_train_job_reach_each_other_and_nobody_else() -> None:
    objects = render("production-trainer")
    assert allowed(objects, JOBSET, JOBSET, 29500)
    assert not allowed(objects, JOBSET, INTERNET, 443)
    assert not allowed(objects, places(objects)["step"], JOBSET, 29500)


@pytest.mark.parametrize("name", EVERYTHING)
def test_namespaces_deny_by_default(name: str) -> None:
    objects = render(name)
    for namespace in of_kind(objects, "Namespace"):
        denied = [item for item in of_kind(objects, "NetworkPolicy")
                  if namespace_of(item) == namespace["metadata"]["name"] and item["spec"]["podSelector"] == {}
                  and set(item["spec"]["policyTypes"]) == {"Ingress", "Egress"}
                  and not item["spec"].get("egress")]  # fmt: skip
        assert denied, label_of(namespace)


@pytest.mark.parametrize("name", EVERYTHING)
def test_policies_select_pods_and_ports_that_exist(name: str) -> None:
    objects = render(name)
    known = places(objects)
    everywhere = [*known.values(), DNS, *KUBEFLOW, JOBSET, INTERNET]
    for policy in of_kind(objects, "NetworkPolicy"):
        subjects = [place for place in [*known.values(), JOBSET] if selected(policy, place)]
        assert subjects, f"{label_of(policy)} selects no pod"
        namespace = namespace_of(policy)
        for way, field in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(way, []):
                peers = [
                    place for place in everywhere for peer in rule[field] if is_peer(peer, place, namespace=namespace)
                ]
                wanted = {value for peer in rule[field]
                          for value in peer.get("podSelector", {}).get("matchLabels", {}).values()}  # fmt: skip
                assert peers or wanted & OPTIONAL, f"{label_of(policy)}: nobody is meant by {rule[field]}"
                listening = subjects if way == "ingress" else peers
                for entry in rule.get("ports", []):
                    assert (
                        not listening
                        or INTERNET in peers
                        or any(entry["port"] in place.ports for place in listening)
                        or (entry["port"], "kubeflow")
                        == (9000, peers[0].namespace)  # a Service's port, put for its pod's
                        or (name != "dev" and entry["port"] == 8333)  # components/s3-store is left out
                    ), f"{label_of(policy)}: nobody listens at {entry['port']}"


def test_each_policy_is_explained() -> None:
    """A comment stands before each policy: what it allows, and why."""
    for path in sorted(MANIFESTS.rglob("network.yaml")):
        for document in path.read_text().split("\n---\n"):
            assert document.lstrip().startswith("#"), f"{path.relative_to(MANIFESTS)}: {document[:80]}"


def test_selector_of_clients_is_the_namespace_of_the_runs() -> None:
    for name in EVERYTHING:
        objects = render(name)
        (entry, _) = find(objects, "NetworkPolicy", "mlflow-clients")["spec"]["ingress"][0]["from"]
        runs = namespace_of(find(objects, "ServiceAccount", "aelif-runner"))
        assert entry["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": runs}
