"""What an object names exists: ConfigMaps and Secrets with their keys, volumes, accounts, selectors of Services."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.manifests.rendering import (
    EVERYTHING,
    Object,
    containers,
    label_of,
    namespace_of,
    needs_kubectl,
    of_kind,
    pods,
    render,
)

from aelif_pipelines import contract

pytestmark = [needs_kubectl, pytest.mark.parametrize("name", EVERYTHING)]


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a label selector picks these labels; an empty one picks all."""
    for expression in selector.get("matchExpressions", []):
        key, operator = expression["key"], expression["operator"]
        if not {"In": labels.get(key) in expression.get("values", []), "Exists": key in labels}[operator]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def sources(objects: tuple[Object, ...], kind: str) -> dict[tuple[str, str], set[str]]:
    return {
        (namespace_of(item), item["metadata"]["name"]): {*item.get("data", {}), *item.get("stringData", {})}
        for item in of_kind(objects, kind)
    }


def references(pod: Object) -> Iterator[tuple[str, str, str | None]]:
    """Yield kind, name and key (None: all of them) of each ConfigMap and Secret that a pod reads."""
    for container in containers(pod):
        for source in container.get("envFrom", []):
            for kind, field in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
                if field in source:
                    yield kind, source[field]["name"], None
        for variable in container.get("env", []):
            for kind, field in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
                if found := variable.get("valueFrom", {}).get(field):
                    yield kind, found["name"], found["key"]
    for volume in pod["spec"].get("volumes", []):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"], None
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"], None


def test_configuration_exists(name: str) -> None:
    objects = render(name)
    known = {kind: sources(objects, kind) for kind in ("ConfigMap", "Secret")}
    for workload, pod in pods(objects):
        for kind, source, key in references(pod):
            keys = known[kind].get((namespace_of(workload), source))
            assert keys is not None, f"{label_of(workload)} reads {kind} {source}, which does not exist"
            assert key is None or key in keys, f"{label_of(workload)} reads {key} of {kind} {source}"


def test_variables_in_commands_are_given(name: str) -> None:
    objects = render(name)
    maps, secrets = sources(objects, "ConfigMap"), sources(objects, "Secret")
    for workload, pod in pods(objects):
        for container in containers(pod):
            given = {variable["name"] for variable in container.get("env", [])}
            for source in container.get("envFrom", []):
                reference = source.get("configMapRef") or source["secretRef"]
                place = (namespace_of(workload), reference["name"])
                given |= maps[place] if "configMapRef" in source else secrets[place]
            asked = set(re.findall(r"\$\((\w+)\)", json.dumps([container.get("command"), container.get("args")])))
            assert asked <= given, f"{label_of(workload)}: {sorted(asked - given)}"


def test_configuration_is_what_the_contract_says(name: str) -> None:
    objects = render(name)
    found = {
        (item["kind"], item["metadata"]["name"]): item
        for item in of_kind(objects, "ConfigMap", "Secret")
        if not re.search(r"-(scripts|auth)-\w+$|-settings$", item["metadata"]["name"])
    }
    expected = [*contract.RUNS, *contract.SERVERS]
    expected += [] if name == "dev" else [*contract.BACKUP, contract.SCHEDULE]
    assert found.keys() == {(source.kind, source.name) for source in expected}
    for source in expected:
        data = found[source.kind, source.name]["data"]
        assert data.keys() == source.key_names, f"{source.kind} {source.name}"
        for key in source.keys:
            assert key.optional or data[key.name], f"{source.kind} {source.name}: {key.name} is empty"


def test_names_of_the_contract_exist(name: str) -> None:
    objects = render(name)
    made = {(item["kind"], item["metadata"]["name"]) for item in objects}
    assert ("ServiceAccount", contract.RUNNER) in made
    assert ("PersistentVolumeClaim", contract.MODEL_CACHE) in made
    assert ("PersistentVolumeClaim", contract.CHECKPOINTS) in made
    assert name == "dev" or ("LocalQueue", contract.QUEUE) in made
    for workload, pod in pods(objects):
        for container in containers(pod):
            if container["image"].startswith("aelif/"):
                assert pod["spec"]["securityContext"]["runAsUser"] == contract.USER_ID, label_of(workload)


def test_runs_and_server_agree_on_the_account(name: str) -> None:
    """Examples name the same account on both sides; the passwords are the user's to keep equal."""
    objects = {item["metadata"]["name"]: item for item in of_kind(render(name), "Secret")}
    assert (
        objects["mlflow-user"]["data"]["RUNS_USERNAME"] == objects["aelif-mlflow"]["data"]["MLFLOW_TRACKING_USERNAME"]
    )


def test_accounts_exist(name: str) -> None:
    objects = render(name)
    accounts = {(namespace_of(item), item["metadata"]["name"]) for item in of_kind(objects, "ServiceAccount")}
    for workload, pod in pods(objects):
        assert (namespace_of(workload), pod["spec"]["serviceAccountName"]) in accounts, label_of(workload)


def test_claims_exist_and_all_mounts_have_a_volume(name: str) -> None:
    objects = render(name)
    claims = {(namespace_of(item), item["metadata"]["name"]) for item in of_kind(objects, "PersistentVolumeClaim")}
    for workload, pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        templates = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert (namespace_of(workload), claim["claimName"]) in claims, label_of(workload)
        mounted = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", [])}
        assert mounted == {*volumes, *templates}, label_of(workload)


def test_services_lead_to_pods_and_ports(name: str) -> None:
    objects = render(name)
    for service in of_kind(objects, "Service"):
        behind = [
            pod
            for workload, pod in pods(objects)
            if namespace_of(workload) == namespace_of(service)
            and matches({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"])
        ]
        assert len(behind) == 1, label_of(service)
        ports = {port["name"] for container in containers(behind[0]) for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, label_of(service)


def test_workloads_select_their_own_pods(name: str) -> None:
    for workload in of_kind(render(name), "Deployment", "StatefulSet"):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert matches(workload["spec"]["selector"], labels), label_of(workload)


def test_addresses_are_services(name: str) -> None:
    """Where a setting names a host of this cluster, that Service exists and has that port."""
    objects = render(name)
    services = {
        (namespace_of(item), item["metadata"]["name"]): {port["port"] for port in item["spec"]["ports"]}
        for item in of_kind(objects, "Service")
    }
    for item in of_kind(objects, "ConfigMap"):
        for key, value in item.get("data", {}).items():
            for host, port in re.findall(r"http://([\w.-]+):(\d+)", value) if "\n" not in value else []:
                service, namespace, *_ = [*host.split("."), namespace_of(item)]
                if namespace != "kubeflow" or key == "MLFLOW_TRACKING_URI":
                    assert int(port) in services[namespace, service], f"{label_of(item)}: {key}={value}"


def test_queues_name_flavors_that_exist_and_the_runs_namespace(name: str) -> None:
    objects = render(name)
    flavors = {item["metadata"]["name"] for item in of_kind(objects, "ResourceFlavor")}
    queues = {item["metadata"]["name"]: item["spec"] for item in of_kind(objects, "ClusterQueue")}
    named = {
        flavor["name"] for spec in queues.values() for group in spec["resourceGroups"] for flavor in group["flavors"]
    }
    assert named == flavors
    for local in of_kind(objects, "LocalQueue"):
        selector = queues[local["spec"]["clusterQueue"]]["namespaceSelector"]
        assert matches(selector, {"kubernetes.io/metadata.name": namespace_of(local)}), label_of(local)


def test_queue_and_quota_hold_the_same_gpus(name: str) -> None:
    objects = render(name)
    for quota in of_kind(objects, "ResourceQuota"):
        if (gpus := quota["spec"]["hard"].get("requests.nvidia.com/gpu")) is not None:
            (queue,) = of_kind(objects, "ClusterQueue")
            offered = {
                resource["name"]: resource["nominalQuota"]
                for group in queue["spec"]["resourceGroups"]
                for flavor in group["flavors"]
                for resource in flavor["resources"]
            }
            assert int(gpus) == int(offered["nvidia.com/gpu"]), "raise both"
