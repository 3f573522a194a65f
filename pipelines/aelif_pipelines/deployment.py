"""What a pipeline package says about one installation: images by digest, queue, labels; and when a step is repeated.

It is written into the finished package: kfp.local would obey repetitions and environment, and one graph
serves every installation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aelif import images
from aelif.config import require
from aelif_pipelines import contract

RETRIES, FIRST_WAIT_S, WAIT_FACTOR = 2, 60, 4.0
_DIGEST = re.compile(r".+@(sha256:[0-9a-f]{64})")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One installation."""

    cpu_image: str = images.CPU
    """For steps that run no model; by digest (``NAME@sha256:…``) what runs is what was tested."""
    gpu_image: str = images.GPU
    """For the others."""
    queue: str = ""
    """Kueue's LocalQueue; "": pods are not queued."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """On every pod, to account its costs: ``{"team": "shop"}``."""

    def __post_init__(self) -> None:
        for name, image in (("cpu-image", self.cpu_image), ("gpu-image", self.gpu_image)):
            require(bool(image) and not re.search(r"\s", image), name, image, "give NAME@sha256:DIGEST")
            tag = image.rpartition("/")[2].partition(":")[2]
            require("@" not in image or _DIGEST.fullmatch(image) is not None, name, image,
                    "a digest is sha256: and 64 hexadecimal digits")  # fmt: skip
            require("@" in image or tag not in ("", "latest"), name, image,
                    "it may mean another image tomorrow; give NAME@sha256:DIGEST")  # fmt: skip
        for name, value in {**self.labels, **({contract.QUEUE_LABEL: self.queue} if self.queue else {})}.items():
            require(_LABEL.fullmatch(name.rpartition("/")[2]) is not None, "label", name,
                    "letters, digits, '-', '_' and '.', 63 at most")  # fmt: skip
            require(_LABEL.fullmatch(value) is not None, "label", f"{name}={value}",
                    "letters, digits, '-', '_' and '.', 63 at most")  # fmt: skip

    @property
    def pinned(self) -> bool:
        """Whether both images are named by digest."""
        return all(_DIGEST.fullmatch(image) for image in (self.cpu_image, self.gpu_image))

    def write_into(self, spec: dict[str, Any], platform: dict[str, Any]) -> None:
        """Change a compiled pipeline, its specification and what Kubernetes is told, in place."""
        settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        for name, executor in spec["deploymentSpec"]["executors"].items():
            self._name_image(executor["container"])
            labels = settings[name]["podMetadata"]["labels"]
            labels |= self.labels
            if self.queue:
                labels[contract.QUEUE_LABEL] = self.queue
        for component in (*spec["components"].values(), spec["root"]):
            for task in component.get("dag", {}).get("tasks", {}).values():
                executor_name = spec["components"][task["componentRef"]["name"]].get("executorLabel")
                if executor_name:
                    task["retryPolicy"] = _retry_policy(int(settings[executor_name]["activeDeadlineSeconds"]))

    def _name_image(self, container: dict[str, Any]) -> None:
        image = {images.CPU: self.cpu_image, images.GPU: self.gpu_image}[container["image"]]
        container["image"] = image
        digest = _DIGEST.fullmatch(image)
        container["env"] = [
            {"name": "AELIF_IMAGE", "value": image},
            {"name": "AELIF_IMAGE_DIGEST", "value": digest[1] if digest else ""},
        ]


def _retry_policy(timeout_s: int) -> dict[str, Any]:
    """Return how often a step is repeated whose pod was lost; `aelif.retries` ends what would fail again.

    Argo counts the longest duration from the first attempt's start, and stops a later attempt that outlasts it
    (argo-workflows #13044): it must hold them all.
    """
    waits = sum(FIRST_WAIT_S * WAIT_FACTOR**n for n in range(RETRIES))
    return {
        "maxRetryCount": RETRIES,
        "backoffDuration": f"{FIRST_WAIT_S}s",
        "backoffFactor": WAIT_FACTOR,
        "backoffMaxDuration": f"{round((RETRIES + 1) * timeout_s + waits)}s",
    }
