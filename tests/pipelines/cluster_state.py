"""A cluster as it is after an overlay was applied: the rendered objects, what Kubernetes adds to them, and nodes."""

from copy import deepcopy
from pathlib import Path

import pytest
from tests.manifests.rendering import Object, render
from tests.pipelines import kfp_server
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.kube_server import KubeServer


class Pipelines(KfpServer):
    """Kubeflow Pipelines whose health page tells its version, as 2.17 does."""

    def __init__(self, *, tag: str = "2.17.0", **options) -> None:
        super().__init__(**options)
        self.tag, self.refuses_reading = tag, False

    def get(self, path: str, query: dict):
        if path.endswith("healthz"):
            return {"commit_sha": "0" * 40, "tag_name": self.tag, "multi_user": self.multi_user}
        if self.refuses_reading:
            raise kfp_server.RefusedError(403, "User is not authorized")
        return super().get(path, query)


def node(name: str, *, labels=None, taints=(), ready: bool = True, **allocatable: str) -> Object:
    """Return a node; `gpu` stands for nvidia.com/gpu."""
    amounts = {"cpu": "4", "memory": "16Gi", **allocatable}
    if "gpu" in amounts:
        amounts["nvidia.com/gpu"] = amounts.pop("gpu")
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/arch": "amd64", **(labels or {})}},
        "spec": {"taints": list(taints)} if taints else {},
        "status": {
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "nodeInfo": {
                "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "v1.33.4", "machineID": "",
                "operatingSystem": "linux", "osImage": "", "systemUUID": "",
            },
        },
    }  # fmt: skip


def namespace(name: str, **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def pod(name: str, *, on: str, gpus: int, phase: str = "Running") -> Object:
    limits = {"limits": {"nvidia.com/gpu": str(gpus)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "other"},
        "spec": {"nodeName": on, "containers": [{"name": "main", "image": "a", "resources": limits}]},
        "status": {"phase": phase},
    }


def applied(overlay: str, *nodes: Object) -> KubeServer:
    """Return a server that holds an overlay, its volumes bound and its queue active."""
    server = KubeServer()
    for name in ("kubeflow", "kube-system"):
        server.add(namespace(name))
    for item in (*deepcopy(render(overlay)), *nodes):
        if item["kind"] == "PersistentVolumeClaim":
            size = item["spec"]["resources"]["requests"]
            item["status"] = {"phase": "Bound", "accessModes": item["spec"]["accessModes"], "capacity": size}
        if item["kind"] == "LocalQueue":
            ready = {"type": "Active", "status": "True", "reason": "Ready", "message": "Can submit new workloads"}
            item["status"] = {"conditions": [ready]}
        server.add(item)
    return server


def use(monkeypatch: pytest.MonkeyPatch, kubeconfig: Path) -> None:
    """Let the client read this kubeconfig: it looked at KUBECONFIG when it was imported."""
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(kubeconfig))
