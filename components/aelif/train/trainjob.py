"""A training on several nodes as a TrainJob of Kubeflow Trainer: what it looks like, started through Kubeflow's SDK.

The pods see the shared volume and each other, and nobody else: models, photos and arguments lie there, and weights,
progress and errors go there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aelif.config import ClusterConfig, require
from aelif.progress import EVENTS_VARIABLE, MEASURES_VARIABLE

try:
    from kubeflow.trainer import CustomTrainerContainer, TrainerClient
    from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend
    from kubeflow.trainer.options import (
        ActiveDeadlineSeconds,
        Annotations,
        ContainerPatch,
        JobSetSpecPatch,
        JobSetTemplatePatch,
        JobSpecPatch,
        JobTemplatePatch,
        Labels,
        Name,
        PodSpecPatch,
        PodTemplatePatch,
        ReplicatedJobPatch,
        RuntimePatch,
        TrainerCommand,
        TrainingRuntimeSpecPatch,
    )
except ImportError as missing:
    raise ImportError("training on several nodes needs Kubeflow's SDK; run pip install 'aelif[trainer]'") from missing
from kubernetes.client import ApiException
from kubernetes.config import ConfigException

CLAIM = "aelif-checkpoints"
"""PersistentVolumeClaim that the step and all nodes mount."""
VOLUME = Path("/checkpoints")
"""Where."""
ACCOUNT = "aelif-trainer-nodes"
"""ServiceAccount of the nodes; it may do nothing."""
USER_ID = 10001
NODE = "node"
"""Name of job and container in Trainer's runtimes for PyTorch."""
EVENTS, MEASURES = "events.jsonl", "measures.jsonl"
"""Files of the work folder that the first process tells its progress in."""
SHARED_MEMORY = "8Gi"
"""Room of ``/dev/shm``, by which the processes of a node pass gradients; it counts as the pod's memory."""
DEADLINE_S = 48 * 3600
"""Of a TrainJob, as of the step that follows it."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_OTHERS = (
    "workflows.argoproj.io/", "pipelines.kubeflow.org/", "pipeline/", "kueue.x-k8s.io/", "istio.io/",
)  # fmt: skip
"""Beginnings of labels that say whose pod it is: a node with them would be taken for a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What the nodes take over from this step's own pod."""

    image: str
    queue: str = ""
    """Of Kueue; "": not queued."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """For cost accounting."""
    pull_secrets: tuple[str, ...] = ()


def connect(cluster: ClusterConfig) -> TrainerClient:
    """Return a client of this cluster, once it is certain that the runtime is there.

    Raises:
        ValueError: if there is no such runtime, or this account may not look.
        RuntimeError: if the API server does not answer.
    """
    try:
        client = TrainerClient()
    except ConfigException as error:
        raise ValueError(f"cluster.nodes = {cluster.nodes}: no Kubernetes here ({error}); several nodes are for runs "
                         "on a cluster, give 1 elsewhere") from error  # fmt: skip
    check_runtime(client, cluster)
    return client


def check_runtime(client: TrainerClient, cluster: ClusterConfig) -> None:
    """Raise ValueError with the remedy where the runtime cannot be used."""
    try:
        client.get_runtime(cluster.runtime)
    except RuntimeError as error:
        status = status_of(error)
        require(status != 404, "cluster.runtime", cluster.runtime, "the cluster has no such runtime of Kubeflow "
                "Trainer 2; see kubectl get clustertrainingruntimes")  # fmt: skip
        require(status != 403, "cluster.runtime", cluster.runtime, "this account may not look it up; "
                "add manifests/components/trainer to the overlay of the runs")  # fmt: skip
        raise


def status_of(error: BaseException) -> int | None:
    """Return the API server's answer that the SDK wrapped in an error; None if there was none."""
    cause = error.__cause__
    return cause.status if isinstance(cause, ApiException) else None


def kubernetes_of(client: TrainerClient) -> KubernetesBackend:
    """Return the SDK's way to the API server, for what the client itself does not offer."""
    assert isinstance(client.backend, KubernetesBackend)
    return client.backend


def read_own_pod(client: TrainerClient, image: str) -> Pod:
    """Return what this step's pod hands on; outside of Kubeflow Pipelines only the image."""
    name = os.environ.get("KFP_POD_NAME", "")
    if not name:
        return Pod(image=image)
    backend = kubernetes_of(client)
    pod = backend.core_api.read_namespaced_pod(name=name, namespace=backend.namespace)
    labels: dict[str, str] = pod.metadata.labels or {}
    return Pod(
        image=image,
        queue=labels.get(QUEUE_LABEL, ""),
        labels={name: value for name, value in labels.items() if not any(part in name for part in _OTHERS)},
        pull_secrets=tuple(secret.name for secret in pod.spec.image_pull_secrets or ()),
    )


def submit(
    client: TrainerClient,
    name: str,
    work: Path,
    *,
    cluster: ClusterConfig,
    pod: Pod,
    notes: Mapping[str, str],
    volume: Path = VOLUME,
) -> None:
    """Start the TrainJob `name` for the work folder.

    Args:
        client: of the cluster.
        name: of the TrainJob.
        work: folder on the shared volume with all that `aelif.train.launch` reads.
        cluster: nodes and accelerators.
        pod: what they take over from this one.
        notes: annotations for a human reader.
        volume: where the shared volume is mounted.

    Raises:
        RuntimeError: if the API server refuses it, or its Trainer is too old.
    """
    amounts: dict[str, Any] = {"cpu": cluster.cpu, "memory": cluster.memory}
    if cluster.accelerators:
        amounts[cluster.accelerator] = cluster.accelerators
    # Trainer would start a process for each CPU where there is no accelerator that it knows.
    command = ["torchrun", f"--nproc-per-node={max(1, cluster.accelerators)}", "-m", "aelif.train.launch", str(work)]
    environment = {
        EVENTS_VARIABLE: str(work / EVENTS),
        MEASURES_VARIABLE: str(work / MEASURES),
        # All that is read lies in the work folder: who asks the hub all the same shall be told at once.
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": "/tmp/huggingface",
    }
    queue = {QUEUE_LABEL: pod.queue} if pod.queue else {}
    trainer = CustomTrainerContainer(
        image=pod.image, num_nodes=cluster.nodes, resources_per_node=amounts, env=environment
    )
    options = [
        Name(name), Labels({**pod.labels, **queue}), Annotations(dict(notes)), TrainerCommand(command),
        ActiveDeadlineSeconds(DEADLINE_S), _patch(cluster, pod, volume),
    ]  # fmt: skip
    try:
        client.train(runtime=cluster.runtime, trainer=trainer, options=options)
    except RuntimeError as error:
        cause = error.__cause__
        words = cause.body if isinstance(cause, ApiException) else cause
        raise RuntimeError(f"TrainJob {name} was refused: {words or error}") from error
    _check_patched(client, name)


def _patch(cluster: ClusterConfig, pod: Pod, volume: Path) -> RuntimePatch:
    """Return what the runtime's pods lack: a place, the volume, and pod security `restricted`."""
    spec = PodSpecPatch(
        service_account_name=ACCOUNT,
        image_pull_secrets=[{"name": secret} for secret in pod.pull_secrets],
        node_selector=cluster.selector or None,
        tolerations=cluster.tolerated,
        security_context={
            "runAsNonRoot": True, "runAsUser": USER_ID, "runAsGroup": USER_ID, "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        },
        volumes=[
            {"name": "checkpoints", "persistentVolumeClaim": {"claimName": CLAIM}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": SHARED_MEMORY}},
            {"name": "tmp", "emptyDir": {}},
        ],
        containers=[ContainerPatch(
            name=NODE,
            security_context={
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            },
            volume_mounts=[
                {"name": "checkpoints", "mountPath": str(volume)},
                {"name": "shared-memory", "mountPath": "/dev/shm"},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        )],
    )  # fmt: skip
    # In a profile's namespace Istio would add a sidecar, which outlives the training, and through which NCCL fails.
    labels = {**pod.labels, "sidecar.istio.io/inject": "false"}
    job = JobTemplatePatch(spec=JobSpecPatch(template=PodTemplatePatch(metadata={"labels": labels}, spec=spec)))
    jobs = JobSetSpecPatch(replicated_jobs=[ReplicatedJobPatch(name=NODE, template=job)])
    return RuntimePatch(training_runtime_spec=TrainingRuntimeSpecPatch(template=JobSetTemplatePatch(spec=jobs)))


def _check_patched(client: TrainerClient, name: str) -> None:
    """Raise RuntimeError if the API server dropped the patches: the nodes would see no volume."""
    backend = kubernetes_of(client)
    made = backend.custom_api.get_namespaced_custom_object(
        "trainer.kubeflow.org", "v1alpha1", backend.namespace, "trainjobs", name
    )
    if not made["spec"].get("runtimePatches"):
        client.delete_job(name)
        raise RuntimeError(
            f"TrainJob {name}: this Kubeflow Trainer knows no runtimePatches; upgrade it to 2.2 or newer"
        )
