"""What every pod must be: pinned, not root, on a read-only disk, bounded, watched, without a token it does not need."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.manifests.rendering import (
    EVERYTHING,
    Object,
    containers,
    find,
    label_of,
    needs_kubectl,
    of_kind,
    pods,
    render,
)

from aelif import images

pytestmark = [needs_kubectl, pytest.mark.parametrize("name", EVERYTHING)]

OURS = {image.rpartition(":")[0] for image in (images.CPU, images.GPU)}
OTHERS = {"docker.io/library/postgres", "ghcr.io/chrislusf/seaweedfs"}
MOVING = re.compile(r"^(latest|stable|main|master|edge|nightly|alpine|\d+)$")
RESTRICTED_VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
SERVERS = {"Deployment", "StatefulSet"}


def all_containers(name: str) -> Iterator[tuple[str, Object, Object]]:
    for workload, pod in pods(render(name)):
        for container in containers(pod):
            yield f"{label_of(workload)}: {container['name']}", pod, container


def test_images_are_known_and_pinned(name: str) -> None:
    for where, _, container in all_containers(name):
        image, _, digest = container["image"].partition("@")
        repository, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "")
        assert repository in OURS | OTHERS, f"{where}: {container['image']} is not in components/aelif/images.py"
        assert digest.startswith("sha256:") or (tag and not MOVING.match(tag)), f"{where}: {container['image']}"


def test_nobody_is_root(name: str) -> None:
    for where, pod, container in all_containers(name):
        context = {**pod["spec"]["securityContext"], **container["securityContext"]}
        assert context["runAsNonRoot"] is True, where
        assert context["runAsUser"] >= 100, where
        assert context["runAsGroup"] >= 100, where
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, where
        assert context["allowPrivilegeEscalation"] is False, where
        assert context["capabilities"] == {"drop": ["ALL"]}, where
        assert not context.get("privileged"), where


def test_disks_are_read_only_and_volumes_harmless(name: str) -> None:
    for where, pod, container in all_containers(name):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True, where
        for volume in pod["spec"].get("volumes", []):
            (kind,) = set(volume) - {"name"}
            assert kind in RESTRICTED_VOLUMES, f"{where}: {volume}"
            assert kind != "emptyDir" or "sizeLimit" in volume[kind], f"{where}: {volume['name']} has no bound"
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            assert not pod["spec"].get(field), where


def test_resources_are_bounded(name: str) -> None:
    for where, _, container in all_containers(name):
        for bound in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][bound].keys(), f"{where}: {bound}"


def test_servers_are_probed_on_ports_they_have(name: str) -> None:
    for workload, pod in pods(render(name)):
        for container in pod["spec"]["containers"]:
            if workload["kind"] not in SERVERS:
                continue
            ports = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                asked = container[probe]
                assert "exec" in asked or asked["httpGet"]["port"] in ports, f"{label_of(workload)}: {probe}"


def test_jobs_end_and_go_away(name: str) -> None:
    for job in of_kind(render(name), "Job"):
        assert job["spec"]["activeDeadlineSeconds"] <= 7200, label_of(job)
        assert job["spec"]["ttlSecondsAfterFinished"] <= 3600, f"{label_of(job)}: an upgrade could not change it"
    for job in of_kind(render(name), "CronJob"):
        assert job["spec"]["concurrencyPolicy"] == "Forbid", label_of(job)
        assert job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] <= 7200, label_of(job)


def test_no_token_of_the_kubernetes_api(name: str) -> None:
    """The steps' account alone has one: Argo's executor reports through it."""
    for workload, pod in pods(render(name)):
        assert pod["spec"]["automountServiceAccountToken"] is False, label_of(workload)
        assert pod["spec"]["enableServiceLinks"] is False, label_of(workload)
        for volume in pod["spec"].get("volumes", []):
            for source in volume.get("projected", {}).get("sources", []):
                audience = source.get("serviceAccountToken", {}).get("audience")
                assert audience == "pipelines.kubeflow.org", label_of(workload)


def test_pods_fit_the_limits_of_their_namespace(name: str) -> None:
    objects = render(name)
    for workload, pod in pods(objects):
        for limits in of_kind(objects, "LimitRange"):
            if limits["metadata"]["namespace"] != workload["metadata"]["namespace"]:
                continue
            most = limits["spec"]["limits"][0]["max"]
            for container in containers(pod):
                for resource in ("cpu", "memory"):
                    asked = amount(container["resources"]["limits"][resource])
                    assert asked <= amount(most[resource]), label_of(workload)


def test_namespaces_enforce_what_the_pods_keep(name: str) -> None:
    for namespace in of_kind(render(name), "Namespace"):
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_production_survives_a_node(name: str) -> None:
    if name == "dev":
        pytest.skip("one node, by intent")
    objects = render(name)
    scaler, budget = find(objects, "HorizontalPodAutoscaler", "mlflow"), find(objects, "PodDisruptionBudget", "mlflow")
    deployment = find(objects, "Deployment", "mlflow")
    assert scaler["spec"]["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"], "apply would undo what the autoscaler chose"
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def amount(quantity: str | int) -> float:
    """Return a Kubernetes quantity as a number."""
    scale = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
    number, unit = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(quantity)).groups()  # type: ignore[union-attr]
    return float(number) * (scale[unit] if unit else 1)
