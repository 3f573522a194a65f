"""A compiled package: what can be known of its images and pods without the registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from aelif.doctor import Finding
from aelif_pipelines import contract
from aelif_pipelines.doctor_cluster.kube import fault

_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_COMPILE = "aelif compile"


def check_package(path: Path, *, queue: str) -> Iterator[Finding]:
    """Look at a package's images, users and queue."""
    try:
        spec, platform = yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)  # four times as fast
        executors = spec["deploymentSpec"]["executors"]
        pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        yield fault(
            "package",
            f"{path}: {type(error).__name__}, it is no package of {_COMPILE}",
            f"{_COMPILE} robustness --output {path}",
        )
        return
    images = sorted({executor["container"]["image"] for executor in executors.values() if "container" in executor})
    loose = [image for image in images if not _DIGEST.fullmatch(image)]
    yield Finding(
        subject="images",
        found=f"{', '.join(loose)}: by tag, which may mean another image tomorrow" if loose
        else f"{', '.join(images)}: by digest; whether nodes may pull them shows the first pod",
        ok=not loose,
        remedy=f"{_COMPILE} … --cpu-image NAME@sha256:… --gpu-image NAME@sha256:…",
    )  # fmt: skip
    as_root = sorted(name for name, pod in pods.items() if not pod.get("securityContext", {}).get("runAsNonRoot"))
    labels = [pod.get("podMetadata", {}).get("labels", {}) for pod in pods.values()]
    queues = {label[contract.QUEUE_LABEL] for label in labels if contract.QUEUE_LABEL in label}
    faults = [f"{len(as_root)} steps may run as root ({as_root[0]} …)"] if as_root else []
    if queues != ({queue} if queue else set()):
        faults.append(f"they name the queue {', '.join(sorted(queues)) or 'none'}, --queue is {queue or 'not given'}")
    yield Finding(
        subject="pods",
        found="; ".join(faults) or f"{len(pods)} kinds of steps, none as root, queue {queue or 'none'}",
        ok=not faults,
        remedy=f"compile it again with this version: {_COMPILE} …{f' --queue {queue}' if queue else ''}",
    )
