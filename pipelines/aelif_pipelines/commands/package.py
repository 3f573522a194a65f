"""`aelif compile`: a pipeline as a file for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aelif_pipelines.commands.options import CpuImage, Debug, GpuImage, Labels, Queue, console, read_deployment


def compile_(
    pipeline: Annotated[str, typer.Argument(help="robustness or retrain.")] = "robustness",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Pipeline package to write; else PIPELINE.yaml.")
    ] = None,
    cpu_image: CpuImage = "",
    gpu_image: GpuImage = "",
    queue: Queue = "",
    label: Labels = None,
    namespace: Annotated[str, typer.Option(help="Of the custom resources; none: kubectl's.", show_default=False)] = "",
    debug: Debug = False,
) -> None:
    """Write a pipeline as a Kubeflow Pipelines package, and as Kubernetes custom resources beside it.

    'aelif submit' and 'aelif schedule create' do this by themselves: the files are for servers that keep
    pipelines as Kubernetes objects, for review, and for git. The same code and options give the same bytes.

    Example: aelif compile retrain --output retrain.yaml --gpu-image registry.example.org/aelif/gpu@sha256:…
    """
    from aelif_pipelines.package import compile_package, custom_resources, version_of

    output = output or Path(f"{pipeline}.yaml")
    if output.suffix not in (".yaml", ".yml"):
        raise ValueError(f"output = {str(output)!r}: give a .yaml file")
    deployment = read_deployment(cpu_image, gpu_image, queue, label)
    output.parent.mkdir(parents=True, exist_ok=True)
    compile_package(pipeline, output, deployment)
    resources = output.with_name(f"{output.stem}-resources{output.suffix}")
    resources.write_text(custom_resources(output, namespace=namespace))
    console.print(f"Wrote {output}: version {version_of(output)}; upload it in the Kubeflow Pipelines page.")
    console.print(f"Wrote {resources}: the same as Pipeline and PipelineVersion; kubectl apply --filename {resources}")
    if not deployment.pinned:
        console.print("[yellow]Images are named by tag: a node may run an older one of that name; give --cpu-image "
                      "and --gpu-image by digest.[/]")  # fmt: skip
