"""What each step wants of a cluster: processor, memory, time, volumes, secrets, and a place among the accelerators.

kfp.local passes over all of it. The numbers are for SDXL; those of steps that run a model come from the run's
settings (`ClusterConfig`), as their nodes do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from kfp import dsl, kubernetes
from kfp.dsl import PipelineTask

from aelif_pipelines import contract

HOUR_S = 3600
SHARED_MEMORY = "8Gi"
"""Room of ``/dev/shm``, whose default of 64 MiB stops PyTorch's workers; it counts as the pod's memory."""
_KEEP_S = 3 * 24 * HOUR_S
RUN_CONFIG = dsl.PipelineConfig(
    active_deadline_seconds=7 * 24 * HOUR_S,
    ttl_seconds_after_finished=_KEEP_S,
    ttl_seconds_after_success=_KEEP_S,  # Kubeflow's Argo has an hour for these two, which go before the first
    ttl_seconds_after_failure=_KEEP_S,
)
"""A run ends within a week; its pods, and so their logs, stay three days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Of one step."""

    cpu: tuple[str, str] = ("250m", "2")
    """Request and limit; of the run's settings where the step has a `Pool`."""
    memory: tuple[str, str] = ("1Gi", "4Gi")
    """Likewise."""
    hours: int = 1
    """After which its pod is stopped."""
    checkpoints: bool = False
    """Whether it goes on from checkpoints."""
    secrets: tuple[contract.Source, ...] = ()
    """Those that it needs beside `contract.EVERY_STEP`."""


NEEDS: dict[str, Needs] = {
    "open-run": Needs(),
    "read-fingerprints": Needs(secrets=(contract.HUB_ACCOUNT,)),
    "prepare-data": Needs(memory=("2Gi", "8Gi")),
    "resolve-model": Needs(cpu=("1", "4"), memory=("4Gi", "16Gi"), hours=4, secrets=(contract.HUB_ACCOUNT,)),
    "find-champion": Needs(),
    "perturb-prompts": Needs(cpu=("1", "4"), memory=("4Gi", "16Gi")),
    "prepare-reference": Needs(memory=("2Gi", "8Gi")),
    "embed-photos": Needs(hours=2, secrets=(contract.HUB_ACCOUNT,)),
    "synthesize-class-images": Needs(hours=24, checkpoints=True),
    "evaluate-champion": Needs(hours=48, secrets=(contract.HUB_ACCOUNT,)),
    "train-dreambooth": Needs(hours=48, checkpoints=True),
    "synthesize-images": Needs(hours=24),
    "embed-images": Needs(hours=6, secrets=(contract.HUB_ACCOUNT,)),
    "score-robustness": Needs(cpu=("1", "4"), memory=("4Gi", "16Gi"), hours=4),
    "search-worst-case": Needs(hours=48, secrets=(contract.HUB_ACCOUNT,)),
    "compare-variants": Needs(cpu=("1", "4"), memory=("4Gi", "16Gi"), hours=4),
    "judge-variants": Needs(),
    "write-report": Needs(cpu=("1", "2"), memory=("2Gi", "8Gi")),
    "deliver-results": Needs(memory=("2Gi", "8Gi"), hours=4),
    "register-model": Needs(memory=("4Gi", "16Gi"), hours=4),
    "close-run": Needs(secrets=(contract.NOTIFICATION,)),
}
"""Component → what it needs: one table for all steps."""


class Pool(NamedTuple):
    """Where steps that run a model go: pipeline parameters, so that one package serves every cluster."""

    node_selector: dict[str, str]
    tolerations: list[dict[str, str]]
    accelerator: str
    accelerators: str
    """How many, in digits, "" for none: the server 2.17 reads a number here as nothing, and asks for no accelerator."""
    cpu: str
    memory: str


def place(*tasks: PipelineTask, pool: Pool | None = None) -> None:
    """Give each task what its component needs.

    Args:
        tasks: steps.
        pool: nodes and accelerators for them; None: any node.
    """
    for task in tasks:
        needs = NEEDS[task.component_spec.name]
        if pool is None:
            task.set_cpu_request(needs.cpu[0]).set_cpu_limit(needs.cpu[1])
            task.set_memory_request(needs.memory[0]).set_memory_limit(needs.memory[1])
        else:
            _choose_nodes(task, pool)
        kubernetes.set_timeout(task, needs.hours * HOUR_S)
        kubernetes.set_security_context(
            task, run_as_user=contract.USER_ID, run_as_group=contract.USER_ID, run_as_non_root=True
        )
        kubernetes.mount_pvc(task, pvc_name=contract.MODEL_CACHE, mount_path=contract.CACHE_FOLDER)
        if needs.checkpoints:
            kubernetes.mount_pvc(task, pvc_name=contract.CHECKPOINTS, mount_path=contract.CHECKPOINT_FOLDER)
        for source in (*contract.EVERY_STEP, *needs.secrets):
            _use(task, source)
        kubernetes.use_field_path_as_env(task, "AELIF_RUN_KEY", "metadata.labels['pipeline/runid']")
        kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "aelif")
        kubernetes.add_pod_label(task, "app.kubernetes.io/component", task.component_spec.name)


def _choose_nodes(task: PipelineTask, pool: Pool) -> None:
    # The SDK 2.17 forgets channels of resources where the task stands in a loop; the server would not find them.
    task.register_pipeline_channels([pool.accelerator, pool.accelerators, pool.cpu, pool.memory])
    task.set_cpu_request(pool.cpu).set_cpu_limit(pool.cpu)
    task.set_memory_request(pool.memory).set_memory_limit(pool.memory)
    task.set_accelerator_type(pool.accelerator).set_accelerator_limit(pool.accelerators)
    kubernetes.add_node_selector_json(task, pool.node_selector)
    kubernetes.add_toleration_json(task, pool.tolerations)
    kubernetes.empty_dir_mount(
        task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=SHARED_MEMORY
    )


def _use(task: PipelineTask, source: contract.Source) -> None:
    keys = {key.name: key.name for key in source.keys}
    if source.kind == "ConfigMap":
        kubernetes.use_config_map_as_env(task, source.name, keys)
    else:
        kubernetes.use_secret_as_env(task, source.name, keys)
