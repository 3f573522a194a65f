"""Commands to look around with: MLflow's pages, perturbations, augmentations, this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from aelif_pipelines.commands.options import Debug, console


def augmentations(debug: Debug = False) -> None:
    """List the augmentations of prompt embeddings, what their magnitudes mean, and their options.

    Magnitudes are constant (aelif_mask:0.3), drawn per sample (aelif_mask:0.1-0.5), or grow in
    training (aelif_mask:0to0.3); + applies several one after another. Options follow the magnitude:
    typo_shift:0.3@class_prompts=false@string_scope=identifier.

    Example: aelif augmentations
    """
    from aelif.config import AUGMENTATIONS, AugmentationConfig
    from aelif.config.variants import OPTIONS
    from aelif_pipelines.outcome import print_pairs

    rows = {"baseline": "clean prompt embeddings"}
    rows.update({f"{name}:{scale.default:g}": scale.meaning for name, scale in AUGMENTATIONS.items()})
    print_pairs(console, rows)
    console.print("\nOptions and their defaults; docs/training.md explains them")
    hints, usual = get_type_hints(AugmentationConfig), AugmentationConfig()
    print_pairs(console, {
        f"@{field}={str(getattr(usual, field)).lower()}": f"{_values(hints[field])}; for {_all_or(names)}"
        for field, names in OPTIONS.items()
    })  # fmt: skip


def _values(hint: Any) -> str:
    """Return the values that a setting of this type takes."""
    return ", ".join(get_args(hint)) or ("true, false" if hint is bool else "a number")


def _all_or(names: Sequence[str]) -> str:
    """Return the names of some augmentations in words."""
    from aelif.config import AUGMENTATIONS

    return "all" if len(names) == len(AUGMENTATIONS) else ", ".join(names)


def ui(
    store: Annotated[Path, typer.Argument(help="Folder that holds mlflow.db.")] = Path("outputs"),
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 5000,
    debug: Debug = False,
) -> None:
    """Open MLflow on the runs of this machine: parameters, metrics, reports, registered models.

    Example: aelif ui outputs --port 5001
    """
    database = (store / "mlflow.db").resolve()
    if not database.is_file():
        raise ValueError(f"{database}: no such file; run 'aelif run quickstart' first, or name its folder")
    console.print(f"MLflow on http://127.0.0.1:{port} (Ctrl-C stops it)")
    arguments = ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(store.resolve())]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *arguments]
    os.execv(command[0], command)


def perturb(
    prompt: Annotated[str, typer.Argument(help='The prompt: "a photo of sks backpack".')],
    family: Annotated[
        list[str] | None,
        typer.Option(help="Family of errors, or the groups tuning and held_out; may be repeated. Else all."),
    ] = None,
    severity: Annotated[float, typer.Option(help="Share of the letters or words hit, in (0, 1].")] = 0.1,
    draws: Annotated[int, typer.Option(help="Perturbed prompts per family.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    protect: Annotated[list[str] | None, typer.Option(help="Word or phrase that is spared; may be repeated.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="Word or phrase that alone is hit; may be repeated.")] = None,
    subject: Annotated[str, typer.Option(help='The subject within the prompt: "sks backpack".')] = "",
    base_model: Annotated[
        str, typer.Option(help="Model whose text encoders measure the errors; none: as --no-measure.")
    ] = "builtin:miniature-sdxl",
    measure: Annotated[bool, typer.Option(help="Whether to measure tokens and embeddings: seconds more.")] = True,
    debug: Debug = False,
) -> None:
    """Show what people's errors make of a prompt, and how far they move its tokens and embeddings.

    Families that cannot change the prompt say why.

    Example: aelif perturb "a photo of sks backpack" --family keyboard --severity 0.1
    """
    from aelif.config import FAMILIES
    from aelif.perturb import Scope
    from aelif.perturb.human import has_codespell
    from aelif.perturb.plan import preview
    from aelif_pipelines.outcome import print_perturbed

    families = family or [name for name in FAMILIES if name != "codespell" or has_codespell()]
    scope = Scope(protected=frozenset(protect or ()), target=frozenset(target or ()), subject=subject)
    rows = preview(prompt, families=families, severity=severity, draws=draws, seed=seed, scope=scope)
    reader = base_model if measure and base_model != "none" else ""
    if reader:
        from aelif.config import StressConfig
        from aelif.perturb.severity import measure as measure_rows
        from aelif.perturb.severity import reader_of

        with reader_of(reader) as adapter:
            rows = measure_rows(adapter, rows, stress=StressConfig(), seed=seed)
    print_perturbed(console, rows, reader=reader)


_PANEL = "With --cluster"


def doctor(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that runs would write to.")] = Path("outputs"),
    cluster: Annotated[bool, typer.Option("--cluster", help="Check a Kubernetes cluster instead.")] = False,
    recipe: Annotated[str, typer.Option(help="Recipe that would be submitted.", rich_help_panel=_PANEL)] = "quickstart",
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings that it would get.", rich_help_panel=_PANEL)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Any setting: cluster.accelerators=0.", rich_help_panel=_PANEL),
    ] = None,
    destination: Annotated[str, typer.Option(help="s3:// prefix for its results.", rich_help_panel=_PANEL)] = "",
    queue: Annotated[str, typer.Option(help="Kueue's LocalQueue for its pods.", rich_help_panel=_PANEL)] = "",
    package: Annotated[
        Path | None, typer.Option(help="Package of 'aelif compile' to look at.", rich_help_panel=_PANEL)
    ] = None,
    host: Annotated[
        str, typer.Option(help="Kubeflow Pipelines API, as in submit.", rich_help_panel=_PANEL, show_default=False)
    ] = "",
    namespace: Annotated[
        str, typer.Option(help="Of the runs; else this pod's, else kubeflow.", rich_help_panel=_PANEL)
    ] = "",
    token_file: Annotated[str, typer.Option(help="Token for that API.", rich_help_panel=_PANEL)] = "",
    context: Annotated[str, typer.Option(help="Of the kubeconfig; else its current one.", rich_help_panel=_PANEL)] = "",
    tracking_uri: Annotated[
        str, typer.Option(help="Where MLflow answers to this machine: a port-forward.", rich_help_panel=_PANEL)
    ] = "",
    endpoint_url: Annotated[
        str, typer.Option(help="Where the object store does, likewise.", rich_help_panel=_PANEL)
    ] = "",
    debug: Debug = False,
) -> None:
    """Check this machine, or with --cluster a Kubernetes cluster, and say how to mend what is not as it should be.

    This machine: versions, cores, memory, GPU, disk, write permission, packaged models. A cluster: Kubernetes,
    Kubeflow Pipelines, your rights, nodes and accelerators, queue, the runs' namespace (settings, secrets, volumes,
    account, network), MLflow, buckets. It only asks, and changes nothing. "?" marks what could not be looked at from
    here; that is no fault. Exit status 1: something is not as it should be.

    Examples: aelif doctor
    aelif doctor --cluster --host http://127.0.0.1:8888 --set cluster.accelerators=0
    """
    from aelif.doctor import Finding, examine, print_findings

    findings: list[Finding]
    if cluster:
        from aelif_pipelines.doctor_cluster.examine import Question, examine_cluster
        from aelif_pipelines.settings import load_config, parse_assignment

        changes = dict(parse_assignment(text) for text in set_ or ())
        findings = examine_cluster(
            Question(
                config=load_config(recipe, file=config, changes=changes), host=host, namespace=namespace,
                token_file=token_file, context=context, queue=queue, destination=destination, package=package,
                tracking_uri=tracking_uri, endpoint_url=endpoint_url,
            )
        )  # fmt: skip
    else:
        findings = examine(output)
    print_findings(console, findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
