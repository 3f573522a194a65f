"""Which nodes of a cluster a run takes; a run on one machine ignores it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aelif.config.reading import require

_CPU = re.compile(r"\d+(\.\d+)?|\d+m")
_MEMORY = re.compile(r"\d+(Ki|Mi|Gi|Ti|K|M|G|T)?")
_TAINT = re.compile(r"(?P<key>[^=:\s]+)(=(?P<value>[^=:\s]*))?:(?P<effect>NoSchedule|NoExecute|PreferNoSchedule)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Accelerators and nodes; the defaults are one NVIDIA GPU for each step that runs a model."""

    accelerator: str = "nvidia.com/gpu"
    """Kubernetes' name of the resource."""
    accelerators: int = 1
    """Of a training pod, or of each of its `nodes`; other steps that run a model take one. 0: all on CPUs."""
    cpu: str = "4"
    """Processors of a step that runs a model."""
    memory: str = "32Gi"
    """Its memory, ``/dev/shm`` included; the miniatures are content with 4Gi."""
    nodes: int = 1
    """Of one training: beyond one, Kubeflow Trainer runs it as a TrainJob."""
    runtime: str = "torch-distributed"
    """Trainer's (Cluster)TrainingRuntime for it."""
    node_selector: tuple[str, ...] = ()
    """Labels of the nodes for steps that run a model: ``key=value``."""
    tolerations: tuple[str, ...] = ()
    """Taints of those nodes, as kubectl writes them: ``key=value:NoSchedule`` or ``key:NoSchedule``."""

    def __post_init__(self) -> None:
        require(self.accelerators >= 0, "accelerators", self.accelerators, "0 is for CPUs")
        require("/" in self.accelerator, "accelerator", self.accelerator, "such as nvidia.com/gpu or amd.com/gpu")
        require(_CPU.fullmatch(self.cpu) is not None, "cpu", self.cpu, "such as 4, 0.5 or 500m")
        require(_MEMORY.fullmatch(self.memory) is not None, "memory", self.memory, "such as 32Gi")
        require(self.nodes >= 1, "nodes", self.nodes, "at least 1")
        require(bool(self.runtime), "runtime", self.runtime, "name a runtime of Kubeflow Trainer")
        for label in self.node_selector:
            key, equals, _ = label.partition("=")
            require(bool(key and equals), "node_selector", label, "write key=value")
        for taint in self.tolerations:
            require(_TAINT.fullmatch(taint) is not None, "tolerations", taint,
                    "write key=value:NoSchedule or key:NoSchedule")  # fmt: skip

    @property
    def selector(self) -> dict[str, str]:
        """Return the node labels as a pod's `nodeSelector`."""
        pairs = (label.partition("=") for label in self.node_selector)
        return {key: value for key, _, value in pairs}

    @property
    def tolerated(self) -> list[dict[str, Any]]:
        """Return the taints as a pod's `tolerations`."""
        found = [_TAINT.fullmatch(taint) for taint in self.tolerations]
        return [
            {"key": match["key"], "operator": "Exists", "effect": match["effect"]}
            if match["value"] is None
            else {"key": match["key"], "operator": "Equal", "value": match["value"], "effect": match["effect"]}
            for match in found
            if match
        ]
