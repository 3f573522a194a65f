"""All checks of a cluster, one after another; each says what it needs and nobody keeps the next from looking."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from aelif.config import RunConfig
from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.doctor_cluster import platform
from aelif_pipelines.doctor_cluster.bucket import check_buckets
from aelif_pipelines.doctor_cluster.kube import Kube, fault, own_namespace, reach, refused, run_check
from aelif_pipelines.doctor_cluster.namespace import check_namespace, check_quota, check_volume
from aelif_pipelines.doctor_cluster.network import check_network
from aelif_pipelines.doctor_cluster.nodes import check_nodes
from aelif_pipelines.doctor_cluster.package_file import check_package
from aelif_pipelines.doctor_cluster.rights import check_account
from aelif_pipelines.doctor_cluster.tracking import check_tracking
from aelif_pipelines.doctor_cluster.values import check_source
from aelif_pipelines.errors import CommandError

Check = tuple[str, Callable[[], Finding | Iterable[Finding]]]


_VOLUMES = (contract.MODEL_CACHE, contract.CHECKPOINTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a run would be, and how its cluster is reached from here."""

    config: RunConfig
    host: str = ""
    namespace: str = ""
    """Of the runs; "": this pod's, else Kubeflow Pipelines' own."""
    token_file: str = ""
    context: str = ""
    """Of the kubeconfig; "": its current one, or this pod's cluster."""
    queue: str = ""
    destination: str = ""
    package: Path | None = None
    tracking_uri: str = ""
    """Where MLflow answers to this machine, if not where it does to pods."""
    endpoint_url: str = ""
    """Likewise the object store."""


def examine_cluster(question: Question) -> list[Finding]:
    """Run every check of a cluster; only questions are asked, nothing there is changed."""
    kube, first = _reach(question)
    server, second = platform.reach_pipelines(
        host=question.host, namespace=question.namespace, token_file=question.token_file, context=question.context
    )
    cluster = question.config.cluster
    checks: list[Check] = [
        ("your rights", partial(platform.check_caller, kube, server, token_file=question.token_file)),
        ("nodes", partial(check_nodes, kube, cluster, queue=question.queue)),
        ("queue", partial(platform.check_queue, kube, question.queue)),
        ("Kubeflow Trainer", partial(platform.check_trainer, kube, cluster)),
        (f"namespace {kube.namespace}", partial(check_namespace, kube)),
        ("quota", partial(check_quota, kube, cluster)),
        *((f"{source.kind} {source.name}", partial(check_source, kube, source)) for source in contract.RUNS),
        *((f"volume {name}", partial(check_volume, kube, name)) for name in _VOLUMES),
        (f"account {contract.RUNNER}", partial(check_account, kube, nodes=cluster.nodes)),
        ("network", partial(check_network, kube)),
        ("MLflow", partial(check_tracking, kube, reached_at=question.tracking_uri)),
        ("object store", partial(check_buckets, kube, question.config, destination=question.destination,
                                 reached_at=question.endpoint_url)),
    ]  # fmt: skip
    if question.package is not None:
        checks.append(("package", partial(check_package, question.package, queue=question.queue)))
    return [first, second, *(finding for subject, look in checks for finding in run_check(subject, look))]


def _reach(question: Question) -> tuple[Kube, Finding]:
    """Return the cluster, or one of which nothing can be asked, and what it is."""
    namespace = question.namespace or own_namespace()
    try:
        kube = Kube(reach(question.context), namespace)
        version = platform.read_version(kube)
    except (CommandError, HTTPError) as error:
        said = str(error) if isinstance(error, CommandError) else f"no answer from {kube.address}"
        remedy = "set KUBECONFIG or --context, and check that 'kubectl version' answers"
        return Kube(None, namespace), fault("Kubernetes", said, remedy)
    except ApiException as error:
        return Kube(None, namespace), refused("Kubernetes", error)
    return kube, platform.judge_version(kube, version)
