"""The runs of the small Kubeflow Pipelines server, and what Argo Workflows and Kubeflow 2.17 tell of a run's steps.

`Workflow` tells it as the true server does: a detail for each node with its display name, state, times and the
identifiers of its children, but neither its own identifier nor its parent's; an end in the year 1 while it works.
"""

import json
import random
import re
from datetime import UTC, datetime, timedelta

import kfp_server_api as api

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEVER = datetime(1, 1, 1, tzinfo=UTC)


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class DroppedError(Exception):
    """The connection ends without an answer."""


class Workflow:
    """Nodes of one run; each method is something that happens."""

    def __init__(self, name: str = "robustness-x7k2p") -> None:
        self.name, self.nodes = name, {}
        self.node(name, name, "RUNNING", [".root-driver"])
        self.node(".root-driver", "root-driver", "SUCCEEDED", [".root"])
        self.node(".root", "root", "RUNNING", [])

    def identifier(self, node: str) -> str:
        value = 2166136261
        for letter in (self.name + node).encode():
            value = ((value ^ letter) * 16777619) % 2**32
        return f"{self.name}-{value}"

    def node(self, node: str, display: str, state: str, children: list[str], *, message: str = "", template: str = ""):
        self.nodes[node] = {
            "display": display, "state": state, "children": children, "message": message, "template": template,
        }  # fmt: skip

    def step(self, node: str, state: str, *, attempts: int = 1, pod: str = "", message: str = "") -> "Workflow":
        """A step is in `state`; its last pod in `pod`, else alike; 0 attempts: it was cached."""
        name = node.rpartition(".")[2]
        pods = [f"{node}.executor({number})" for number in range(attempts)]
        self.node(f"{node}-driver", f"{name}-driver", "SUCCEEDED", [node])
        self.node(node, name, state, [f"{node}.executor"])
        self.node(f"{node}.executor", "executor", state if attempts else "SKIPPED", pods)
        for pod_node in pods:
            own = (pod or state) if pod_node == pods[-1] else "FAILED"
            self.node(pod_node, pod_node.rpartition(".")[2], own, [], message=message, template="impl")
        return self

    def broken_driver(self, node: str, message: str) -> "Workflow":
        name = node.rpartition(".")[2]
        self.node(f"{node}-driver", f"{name}-driver", "FAILED", [], message=message)
        self.node(node, name, "RUNTIME_STATE_UNSPECIFIED", [])  # omitted
        return self

    def details(self) -> list[api.V2beta1PipelineTaskDetail]:
        found = [
            api.V2beta1PipelineTaskDetail(
                run_id="run", task_id=f"task-{number}", display_name=node["display"], state=node["state"],
                create_time=START, start_time=START,
                end_time=NEVER if node["state"] in ("RUNNING", "PENDING") else START + timedelta(seconds=754),
                child_tasks=[api.PipelineTaskDetailChildTask(pod_name=self.identifier(child))
                             for child in node["children"]] or None,
            )
            for number, node in enumerate(self.nodes.values())
        ]  # fmt: skip
        random.Random(0).shuffle(found)
        return found

    def manifest(self) -> str:
        """Argo's own record, which the server hands out through its first API."""
        phases = {"RUNTIME_STATE_UNSPECIFIED": "Omitted"}
        nodes = {
            self.identifier(node): {
                "id": self.identifier(node), "name": self.name + node, "displayName": value["display"],
                "phase": phases.get(value["state"], value["state"].capitalize()), "message": value["message"],
                "templateName": value["template"],
            }
            for node, value in self.nodes.items()
        }  # fmt: skip
        return json.dumps({"metadata": {"name": self.name, "namespace": "aelif-runs"}, "status": {"nodes": nodes}})


class Runs:
    """Part of the server: `story` is what each look at a run finds, its last chapter for ever."""

    def __init__(self) -> None:
        self.runs: dict[str, api.V2beta1Run] = {}
        self.story: list[tuple[str, Workflow]] = []
        self.canceling = False
        self.faults: list[int | str] = []
        """Of the next looks at a run: a status, "drop", or "" for none."""
        self.logs: dict[str, str] = {}
        self.old_api = True

    def look(self, run_id: str) -> api.V2beta1Run:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "drop":
            raise DroppedError
        if fault:
            raise RefusedError(int(fault), "away")
        run = self.found(run_id)
        if self.story:
            state, workflow = self.story.pop(0) if len(self.story) > 1 else self.story[0]
            run.state = state
            run.state_history = [*(run.state_history or ()), api.V2beta1RuntimeStatus(state=state, update_time=START)]
            run.run_details = api.V2beta1RunDetails(task_details=workflow.details())
        return run

    def found(self, run_id: str) -> api.V2beta1Run:
        if run_id not in self.runs:
            raise RefusedError(404, f"Run {run_id} not found")
        return self.runs[run_id]

    def start(self, run: api.V2beta1Run) -> api.V2beta1Run:
        assert (run.pipeline_spec is None) != (run.pipeline_version_reference is None), "one source"
        if run.pipeline_spec:
            spec = run.pipeline_spec["pipeline_spec"]
        else:
            spec = self.specs[run.pipeline_version_reference.pipeline_version_id]
        self.check_arguments(spec, run.runtime_config.parameters)
        if run.experiment_id not in self.experiments:
            raise RefusedError(404, "no such experiment")
        run.state = "PENDING"
        made = self.add(self.runs, "run_id", run)
        made.storage_state = "AVAILABLE"
        return made

    def terminate(self, run_id: str) -> dict:
        if self.found(run_id).state not in ("PENDING", "RUNNING"):
            raise RefusedError(400, f"Failed to terminate a run {run_id}. Row not found")
        self.runs[run_id].state = "CANCELING"
        return {}

    def first_api(self, path: str) -> bytes | dict:
        """The routes of Kubeflow 1's API and of logs."""
        if not self.old_api:
            raise RefusedError(404, "Not Found")
        workflow = self.story[-1][1]
        if re.fullmatch(r"/apis/v1beta1/runs/[^/]+", path):
            return {"pipeline_runtime": {"workflow_manifest": workflow.manifest()}}
        pod = re.fullmatch(r"/apis/v1alpha1/runs/[^/]+/nodes/([^/]+)/log", path)[1]
        return self.logs.get(pod, '{"error_message":"Failed to read logs"}').encode()
