"""Renders the overlays as `kubectl apply -k` would, with the example secrets filled in."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
OVERLAYS = ("dev", "production")
EVERYTHING = (*OVERLAYS, "production-trainer")
"""The overlays, and production with the component that it leaves commented out."""
SECRET_VALUE = "example-value-"
"""What the secrets of a rendering begin with."""

Object = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="kubectl is not installed (https://kubernetes.io/docs/tasks/tools): nothing can be rendered",
)


def fill_in(folder: Path) -> None:
    """Write each `*.env` that has an example, with a value for each empty key."""
    for example in folder.rglob("*.env.example"):
        text = re.sub(r"^(\w+)=$", rf"\1={SECRET_VALUE}\1", example.read_text(), flags=re.MULTILINE)
        example.with_suffix("").write_text(text)


@cache
def render(name: str) -> tuple[Object, ...]:
    """Return the objects of one of `EVERYTHING`; treat them as read-only.

    Fails the test, with kustomize's words, where it does not render.
    """
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "manifests"
        shutil.copytree(MANIFESTS, copy, ignore=shutil.ignore_patterns("*.env.local"))
        fill_in(copy)
        overlay, _, extra = name.partition("-")
        if extra:
            file = copy / "overlays" / overlay / "runs" / "kustomization.yaml"
            line = f"# - ../../../components/{extra}"
            assert line in file.read_text(), f"{file.relative_to(copy)} does not offer the component {extra}"
            file.write_text(file.read_text().replace(line, line[2:]))
        return kustomize(copy / "overlays" / overlay)


def kustomize(folder: Path) -> tuple[Object, ...]:
    """Return what `kubectl kustomize` makes of a folder, without a network."""
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(objects: tuple[Object, ...], *kinds: str) -> list[Object]:
    """Return the objects of these kinds."""
    return [item for item in objects if item["kind"] in kinds]


def label_of(item: Object) -> str:
    """Return kind, namespace and name, for messages."""
    return f"{item['kind']} {namespace_of(item)}/{item['metadata']['name']}"


def namespace_of(item: Object) -> str:
    """Return an object's namespace, "" for those of the cluster."""
    return str(item["metadata"].get("namespace", ""))


def find(objects: tuple[Object, ...], kind: str, name: str) -> Object:
    """Return the one object of that kind and name."""
    (found,) = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    return found


WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob", "DaemonSet", "ReplicaSet", "Pod")


def pod_of(item: Object) -> Object:
    """Return a workload's pod: its `metadata` and `spec`."""
    if item["kind"] == "Pod":
        return item
    spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
    template: Object = spec["template"]
    return template


def pods(objects: tuple[Object, ...]) -> Iterator[tuple[Object, Object]]:
    """Yield each workload and its pod."""
    for item in of_kind(objects, *WORKLOADS):
        yield item, pod_of(item)


def containers(pod: Object) -> list[Object]:
    """Return all containers of a pod, those that start it first."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
