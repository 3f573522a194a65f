"""Why each right is given: account, API group, resource, verb, and the names it is limited to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """Verbs on one resource, and the reason."""

    account: str
    group: str
    resource: str
    verbs: frozenset[str]
    reason: str
    names: frozenset[str] = frozenset()
    """Names of objects that it is limited to; empty: all."""


def _right(account: str, resource: str, verbs: str, reason: str, names: str = "") -> Right:
    """Return a right; `resource` is ``resource.group``, verbs and names are divided by blanks."""
    kind, _, group = resource.partition(".")
    return Right(account=account, group=group, resource=kind, verbs=frozenset(verbs.split()), reason=reason,
                 names=frozenset(names.split()))  # fmt: skip


RIGHTS = (
    _right("aelif-runner", "configmaps", "get", "driver and launcher of Kubeflow Pipelines read where artifacts go",
           "kfp-launcher"),
    _right("aelif-runner", "secrets", "get", "launcher and driver read the keys of Kubeflow's object store; no other "
           "secret: steps get theirs as variables from the kubelet", "mlpipeline-minio-artifact"),
    _right("aelif-runner", "pods", "get", "the launcher looks its own pod up, to record it with the execution; a step "
           "that starts a TrainJob hands its labels, queue and registry secret on"),
    _right("aelif-runner", "workflowtaskresults.argoproj.io", "create patch",
           "Argo's executor reports a step's outputs"),
    _right("aelif-runner", "trainjobs.trainer.kubeflow.org", "create get delete",
           "training on several nodes: start the job, follow it, take it away when it ended or was stopped"),
    _right("aelif-runner", "trainingruntimes.trainer.kubeflow.org", "get",
           "the SDK looks up the runtime that a job names"),
    _right("aelif-runner", "clustertrainingruntimes.trainer.kubeflow.org", "get",
           "the same for runtimes of the cluster, such as torch-distributed"),
    _right("aelif-runner", "pods", "list", "the SDK finds the pods of a job, to tell how each node does"),
    _right("aelif-runner", "pods/log", "get", "their progress is shown in the step's own log"),
    _right("aelif-runner", "events", "list", "says why a pod of the job does not start: no node, no quota"),
    _right("aelif-schedule", "pipelines.pipelines.kubeflow.org", "get list create",
           "find the pipeline by name, upload it the first time"),
    _right("aelif-schedule", "pipelineversions.pipelines.kubeflow.org", "get list create",
           "upload this version, unless it is there"),
    _right("aelif-schedule", "experiments.pipelines.kubeflow.org", "get list create",
           "a recurring run belongs to an experiment"),
    _right("aelif-schedule", "jobs.pipelines.kubeflow.org", "get list create delete enable disable",
           "recurring runs cannot be changed: find the one of this name, stop it, delete it, make it anew"),
)  # fmt: skip
