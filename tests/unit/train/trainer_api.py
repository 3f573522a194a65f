"""A Kubernetes API on this machine that knows TrainJobs, and can run their nodes: processes with torchrun's variables.

Paths, bodies and states are those of Kubernetes and Kubeflow Trainer 2.3; its runtime is `torch-distributed` as
Trainer installs it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from kubeflow.trainer import KubernetesBackendConfig, TrainerClient
from kubernetes.client import Configuration

from aelif.train.dreambooth import TrainReport
from aelif.train.exchange import write_report

Json = dict[str, Any]
REPORT = TrainReport(losses=(0.5,), resumed_from=0, weights_sha256="1")
"""What nodes report that only pretend to train."""
ROOT = Path(__file__).parents[3]
GROUP = "/apis/trainer.kubeflow.org/v1alpha1"
NAMESPACE = "aelif-runs"
RUNTIME: Json = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1",
    "kind": "ClusterTrainingRuntime",
    "metadata": {"name": "torch-distributed", "labels": {"trainer.kubeflow.org/framework": "torch"}},
    "spec": {
        "mlPolicy": {"numNodes": 1, "torch": {}},
        "template": {"spec": {"replicatedJobs": [{
            "name": "node",
            "template": {
                "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                "spec": {"template": {"spec": {"containers": [{"name": "node", "image": "pytorch/pytorch:2.13.0"}]}}},
            },
        }]}},
    },
}  # fmt: skip
STEP_POD: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "step", "namespace": NAMESPACE, "labels": {
        "pipeline/runid": "1", "pipelines.kubeflow.org/v2_component": "true", "workflows.argoproj.io/workflow": "r",
        "kueue.x-k8s.io/queue-name": "aelif", "kueue.x-k8s.io/managed": "true", "team": "shop",
        "app.kubernetes.io/part-of": "aelif",
    }},
    "spec": {"containers": [{"name": "main"}], "imagePullSecrets": [{"name": "registry"}]},
}  # fmt: skip


@dataclass(eq=False)
class Node:
    """One pod: its phase is said, or that of a process."""

    phase: str = "Pending"
    process: subprocess.Popen | None = None
    log: Path | None = None

    @property
    def state(self) -> str:
        if self.process is None:
            return self.phase
        return {None: "Running", 0: "Succeeded"}.get(self.process.poll(), "Failed")

    def kill(self) -> None:
        """End all its processes as the kernel does."""
        if self.process is None or self.process.poll() is not None:
            return
        everyone = [*psutil.Process(self.process.pid).children(recursive=True), self.process]
        for process in everyone:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


@dataclass(eq=False)
class Cluster:
    """What the API server knows."""

    folder: Path
    host: str = ""
    runs: bool = False
    """Whether nodes are processes; else `nodes` has the states that a test gives them."""
    jobs: dict[str, Json] = field(default_factory=dict)
    made: list[Json] = field(default_factory=list)
    """Bodies of all TrainJobs that were created."""
    nodes: list[Node] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    used: list[tuple[str, str, str]] = field(default_factory=list)
    """API group, resource and verb of every request."""
    answers: dict[tuple[str, str], int] = field(default_factory=dict)
    """Resource and verb → status, of requests that are to be refused."""
    dropped: tuple[str, ...] = ()
    """Fields of a TrainJob's spec that this Trainer does not know."""
    on_get: Callable[[], object] = lambda: None
    """Called at each look at a TrainJob."""

    def client(self, host: str) -> TrainerClient:
        """Return the SDK's client of this API."""
        configuration = Configuration(host=host)
        configuration.retries = False
        return TrainerClient(KubernetesBackendConfig(namespace=NAMESPACE, client_configuration=configuration))

    def create(self, body: Json) -> Json:
        self.made.append(body)
        spec = {name: value for name, value in body["spec"].items() if name not in self.dropped}
        metadata = {**body["metadata"], "namespace": NAMESPACE, "creationTimestamp": "2026-01-01T00:00:00Z"}
        self.jobs[metadata["name"]] = {**body, "metadata": metadata, "spec": spec}
        if self.runs:
            self._start(spec["trainer"])
        return self.jobs[metadata["name"]]

    def _start(self, trainer: Json) -> None:
        """Do what JobSet and kubelet do: one process for each node, with the variables of Trainer's torch plugin."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        torchrun = str(Path(sys.executable).with_name("torchrun"))
        command = [torchrun if word == "torchrun" else word for word in trainer["command"]]
        self.nodes = []
        for rank in range(trainer["numNodes"]):
            log = self.folder / f"node-{rank}.log"
            env = {
                **{item["name"]: item["value"] for item in trainer["env"]},
                "PATH": os.environ["PATH"], "HOME": str(self.folder), "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "",
                "PYTHONPATH": f"{ROOT}/components:{ROOT}/pipelines", "PET_NNODES": str(trainer["numNodes"]),
                "PET_NPROC_PER_NODE": "4",
                "PET_NODE_RANK": str(rank),
                "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port),
            }  # fmt: skip
            process = subprocess.Popen(command, env=env, stdout=log.open("w"), stderr=subprocess.STDOUT,
                                       start_new_session=True)  # fmt: skip
            self.nodes.append(Node(process=process, log=log))

    def job(self, name: str) -> Json:
        states = [node.state for node in self.nodes]
        condition = {"status": "True", "reason": "x", "message": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status: Json = {}
        if "Failed" in states:
            status = {"conditions": [{**condition, "type": "Failed"}]}
        elif states and set(states) == {"Succeeded"}:
            status = {"conditions": [{**condition, "type": "Complete"}]}
        return {**self.jobs[name], "status": status}

    def pods(self, selector: str) -> list[Json]:
        found = re.search(r"jobset-name=([^,]+)", selector)
        if not found or found[1] not in self.jobs:
            return []
        image = self.jobs[found[1]]["spec"]["trainer"]["image"]
        return [{
            "metadata": {
                "name": f"{found[1]}-node-0-{rank}-abcde", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"jobset.sigs.k8s.io/jobset-name": found[1], "jobset.sigs.k8s.io/replicatedjob-name": "node",
                           "batch.kubernetes.io/job-completion-index": str(rank)},
            },
            "spec": {"containers": [{"name": "node", "image": image, "resources": {
                "limits": {"cpu": "4", "memory": "32Gi", "nvidia.com/gpu": "2"}}}]},
            "status": {"phase": node.state},
        } for rank, node in enumerate(self.nodes)]  # fmt: skip

    def end(self) -> None:
        for node in self.nodes:
            node.kill()


class Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        url = urlsplit(self.path)
        parts = url.path.removeprefix(GROUP).removeprefix("/api/v1").strip("/").split("/")
        if parts[0] == "namespaces":
            parts = parts[2:]
        kind, name, rest = parts[0], parts[1] if len(parts) > 1 else "", "/".join(parts[2:])
        verbs = {"GET": "get" if name else "list", "POST": "create", "DELETE": "delete"}
        resource, verb = f"{kind}/{rest}" if rest else kind, verbs[self.command]
        self.cluster.used.append(("trainer.kubeflow.org" if url.path.startswith(GROUP) else "", resource, verb))
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        if status := self.cluster.answers.get((resource, verb)):
            self._say({"message": "no"}, status)
        elif resource == "pods/log":
            self._log(int(name.split("-")[-2]))
        else:
            answer = self._answer(resource, verb, name, body, url.query)
            self._say(answer or {"message": f"{resource} {name} not found"}, 200 if answer else 404)

    def _answer(self, resource: str, verb: str, name: str, body: Json, query: str) -> Json | None:
        cluster = self.cluster
        if resource == "clustertrainingruntimes":
            return RUNTIME if name == "torch-distributed" else None
        if resource == "trainjobs" and verb == "create":
            return cluster.create(body)
        if resource == "trainjobs" and name in cluster.jobs:
            if verb == "delete":
                cluster.end()
                return cluster.jobs.pop(name)
            cluster.on_get()
            return cluster.job(name) if name in cluster.jobs else None
        if resource == "pods" and verb == "get":
            return STEP_POD
        if resource == "pods":
            return {
                "kind": "PodList",
                "apiVersion": "v1",
                "items": cluster.pods(query.replace("%3D", "=").replace("%2C", ",")),
            }
        if resource == "events":
            return {"kind": "EventList", "apiVersion": "v1", "items": cluster.events}
        return None

    def _log(self, rank: int) -> None:
        """Stream a node's log until it ends."""
        node = self.cluster.nodes[rank]
        self.send_response(200)
        self.end_headers()
        if node.log is None:
            self.wfile.write(b"a line of the log\n")
            return
        with node.log.open("rb") as file:
            while True:
                ended = node.state != "Running"
                self.wfile.write(file.read())
                if ended:
                    return
                time.sleep(0.1)

    def _say(self, answer: Json, status: int) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def serve(cluster: Cluster) -> tuple[ThreadingHTTPServer, str]:
    """Start the API in a thread; return it and its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"cluster": cluster}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def work_of(cluster: Cluster) -> Path:
    """Return the work folder of the last TrainJob."""
    return Path(cluster.made[-1]["spec"]["trainer"]["command"][-1])


def finish(cluster: Cluster) -> None:
    """Do at once what the nodes would do."""
    work = work_of(cluster)
    (work / "model").mkdir(exist_ok=True)
    (work / "model" / "weights").write_text("1")
    write_report(work, REPORT)
    cluster.nodes = [Node(phase="Succeeded"), Node(phase="Succeeded")]


def at_each_look(cluster: Cluster, *steps: Callable[[], object]) -> None:
    """Do one thing at each look at the TrainJob."""
    remaining = list(steps)
    cluster.on_get = lambda: remaining.pop(0)() if remaining else None
