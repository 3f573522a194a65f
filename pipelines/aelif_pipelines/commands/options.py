"""Options that several commands take, and the terminal that they write to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aelif import images
from aelif.config import require

if TYPE_CHECKING:
    from aelif_pipelines.deployment import Deployment

console = Console()

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for results; else outputs/RECIPE.")]
InstancePrompt = Annotated[
    str | None, typer.Option(help='Prompt with a rare identifier: "a photo of sks backpack".', show_default=False)
]
ClassPrompt = Annotated[
    str | None, typer.Option(help='The same without it: "a photo of a backpack".', show_default=False)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="MLflow server or database; else MLFLOW_TRACKING_URI; else mlflow.db in the folder of the outputs.",
        show_default=False,
    ),
]
CpuImage = Annotated[
    str,
    typer.Option(
        envvar="AELIF_CPU_IMAGE", help="Image of steps that run no model: NAME@sha256:DIGEST.", show_default=images.CPU
    ),
]
GpuImage = Annotated[
    str, typer.Option(envvar="AELIF_GPU_IMAGE", help="Image of the others, likewise.", show_default=images.GPU)
]
Queue = Annotated[str, typer.Option(help="Kueue's LocalQueue; none: pods are not queued.", show_default=False)]
Labels = Annotated[
    list[str] | None, typer.Option("--label", help="key=value on every pod, to account its costs; repeatable.")
]


def read_changes(assignments: list[str] | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what options change of a recipe, dotted key → value: those that were given, then ``--set``."""
    from aelif_pipelines.settings import parse_assignment

    changes = {key: value for key, value in given.items() if value is not None}
    changes.update(parse_assignment(text) for text in assignments or [])
    return changes


def read_deployment(cpu_image: str, gpu_image: str, queue: str, labels: list[str] | None) -> Deployment:
    """Return what these options say of the installation.

    Raises:
        ValueError: for a label without a value, and as `Deployment` does.
    """
    from aelif_pipelines.deployment import Deployment

    pairs = [label.partition("=") for label in labels or ()]
    for (key, equals, _), label in zip(pairs, labels or (), strict=True):
        require(bool(key and equals), "label", label, "write key=value")
    return Deployment(
        cpu_image=cpu_image or images.CPU,
        gpu_image=gpu_image or images.GPU,
        queue=queue,
        labels={key: value for key, _, value in pairs},
    )
