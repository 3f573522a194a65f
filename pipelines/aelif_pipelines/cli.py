"""The `aelif` command: run the pipeline, look at its results, try perturbations, check the machine."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=(
        "Make fine-tuned text-to-image models survive imperfect prompts, and prove it.\n\n"
        "Start with [bold]aelif run quickstart[/]: it fine-tunes a miniature SDXL on a shipped subject with and "
        "without AELIF, types clean and misspelt prompts, and measures what the errors do. Minutes on two cores."
    ),
)
console = Console()

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for results; else outputs/RECIPE.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def run(
    recipe: Annotated[
        str,
        typer.Argument(help="Recipe or plan to start from; 'aelif recipes' lists them."),
    ] = "quickstart",
    instance_images: Annotated[str | None, typer.Option(help="Photos of the subject: folder, archive, s3://….")] = None,
    instance_prompt: Annotated[
        str | None, typer.Option(help='Prompt with a rare identifier: "a photo of sks backpack".')
    ] = None,
    class_prompt: Annotated[str | None, typer.Option(help='The same without it: "a photo of a backpack".')] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            help="builtin:miniature-sdxl, builtin:miniature-sd3, hub id@revision, s3://…, folder, models:/name@alias."
        ),
    ] = None,
    variants: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated NAME:MAGNITUDE, + combines: baseline,aelif_mask:0.3,cep:1+aelif_mask:0.1-0.5; "
            "@FIELD=VALUE sets what else train.augmentation says: aelif_noise_conv:0.3@noise_std=0.5."
        ),
    ] = None,
    images_per_prompt: Annotated[int | None, typer.Option(help="Images per prompt and trial.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of training seeds per variant.")] = None,
    families: Annotated[str | None, typer.Option(help="Perturbation families, comma-separated.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="YAML or TOML file with settings.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="Any setting: --set train.steps=400 --set train.lora.rank=32."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Of a plan, this part alone; may be repeated: --only miniature-sd3.")
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Shrink the recipe to seconds, to see that everything runs; flags win.")
    ] = False,
    output: Output = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every step again instead of reusing results.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate, print the configuration, and stop.")] = False,
    debug: Debug = False,
) -> None:
    """Run the robustness pipeline on this machine and print the verdict.

    Settings come from the recipe, then --config, then flags; what is wrong is said before anything runs.
    A stopped or failed run goes on where it was when the same command is given again. A plan, such as
    "paper", is several runs, each with a report of its own, and one report over all; flags apply to each.

    Example: aelif run --instance-images photos/ --instance-prompt "a photo of sks backpack"
    --class-prompt "a photo of a backpack" --seeds 3 --output outputs/backpack
    """
    from aelif_pipelines.outcome import print_settings
    from aelif_pipelines.settings import load_runs, parse_assignment

    given: dict[str, Any] = {
        "data.instance_images": instance_images and _absolute(instance_images),
        "data.instance_prompt": instance_prompt,
        "data.class_prompt": class_prompt,
        "base_model": base_model,
        "variants": variants and variants.split(","),
        "seeds": seeds and list(range(seeds)),
        "synthesis.images_per_prompt": images_per_prompt,
        "prompts.families": families and families.split(","),
    }
    changes = {key: value for key, value in given.items() if value is not None}
    changes.update(parse_assignment(text) for text in set_ or [])
    runs = load_runs(recipe, file=config, changes=changes, smoke=smoke, only=only or ())
    if dry_run:
        print_settings(console, runs)
        return
    _run(runs, output or Path("outputs") / recipe, caching=not fresh)


def _absolute(uri: str) -> str:
    """Return a local path as absolute, other URIs unchanged: steps run in other folders."""
    return uri if "://" in uri else str(Path(uri).expanduser().resolve())


def _run(runs: Any, output: Path, *, caching: bool) -> None:
    from aelif_pipelines.local import Workplace, run_locally
    from aelif_pipelines.outcome import print_outcome, print_plan
    from aelif_pipelines.parts import run_parts

    command = shlex.join(["aelif", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a supervisor's stop is as clean as Ctrl-C
    try:
        if isinstance(runs, dict):
            summary = run_parts(runs, output, console=console, command=command, caching=caching)
        else:
            print_plan(console, runs, output)
            summary = run_locally(runs, Workplace(output=output), console=console, command=command, caching=caching)
    except KeyboardInterrupt:
        console.print("Stopped. Finished steps and checkpoints are kept: the same command goes on from here.")
        raise typer.Exit(130) from None
    print_outcome(console, summary, output)


@app.command(name="compile")
def compile_(
    output: Annotated[Path, typer.Option("--output", "-o", help="Pipeline package to write.")] = Path(
        "robustness.yaml"
    ),
    debug: Debug = False,
) -> None:
    """Write the pipeline as a Kubeflow Pipelines package (IR YAML) to upload to a cluster.

    Example: aelif compile --output robustness.yaml
    """
    import warnings

    from kfp.compiler import Compiler

    from aelif_pipelines.robustness import robustness

    if output.suffix not in (".yaml", ".yml"):
        raise ValueError(f"output = {str(output)!r}: give a .yaml file")
    output.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Compiler().compile(robustness, str(output))
    console.print(f"Wrote {output}. Upload it in the Kubeflow Pipelines page, or with the kfp client.")


@app.command()
def recipes(debug: Debug = False) -> None:
    """List the ready-made runs, and the plans, which are several runs each.

    Example: aelif recipes
    """
    from aelif_pipelines.outcome import print_pairs
    from aelif_pipelines.plans import PLANS
    from aelif_pipelines.recipes import RECIPES

    print_pairs(console, {name: (make.__doc__ or "").strip() for name, make in {**RECIPES, **PLANS}.items()})


@app.command()
def augmentations(debug: Debug = False) -> None:
    """List the augmentations of prompt embeddings, and what their magnitudes mean.

    Magnitudes are constant (aelif_mask:0.3), drawn per sample (aelif_mask:0.1-0.5), or grow in
    training (aelif_mask:0to0.3); + applies several one after another.

    Example: aelif augmentations
    """
    from aelif.config import AUGMENTATIONS
    from aelif_pipelines.outcome import print_pairs

    rows = {"baseline": "clean prompt embeddings"}
    rows.update({f"{name}:{scale.default:g}": scale.meaning for name, scale in AUGMENTATIONS.items()})
    print_pairs(console, rows)


@app.command()
def report(
    output: Annotated[Path, typer.Argument(help="Output folder of a finished run.")] = Path("outputs/quickstart"),
    open_: Annotated[bool, typer.Option("--open", help="Open the HTML report in the browser.")] = False,
    debug: Debug = False,
) -> None:
    """Print the verdict and table of a finished run again, and where its report is.

    Example: aelif report outputs/quickstart --open
    """
    from aelif.artifacts import read_json
    from aelif_pipelines.outcome import print_outcome

    path = output / "summary.json"
    if not path.is_file():
        raise ValueError(f"{output}: no summary.json; give the output folder of a finished run")
    print_outcome(console, read_json(path), output)
    if open_:
        typer.launch(str((output / "report.html").resolve()))


@app.command()
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


@app.command()
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


@app.command()
def doctor(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that runs would write to.")] = Path("outputs"),
    debug: Debug = False,
) -> None:
    """Check this machine: versions, cores, memory, GPU, disk, write permission, packaged models.

    Example: aelif doctor
    """
    from aelif_pipelines.doctor import examine, print_findings

    findings = examine(output)
    print_findings(console, findings)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; errors become one line with the remedy (exit 2: usage, 1: failure)."""
    from aelif_pipelines.errors import explain

    try:
        app()
    except Exception as error:  # the outermost frame: everything below is reported, nothing swallowed
        if "--debug" in sys.argv:
            raise
        code, message = explain(error)
        Console(stderr=True).print(f"[red]error:[/] {message}", highlight=False, soft_wrap=True)
        raise SystemExit(code) from None
