"""`aelif run`, and what goes with it: the list of recipes, a finished run's verdict, the pipeline package."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from aelif.config import TrackingConfig
from aelif_pipelines.commands.options import (
    ClassPrompt,
    Debug,
    InstancePrompt,
    Output,
    TrackingUri,
    console,
    read_changes,
)
from aelif_pipelines.stores import EXPERIMENT, choose_store


def run(
    recipe: Annotated[
        str,
        typer.Argument(help="Recipe or plan to start from; 'aelif recipes' lists them."),
    ] = "quickstart",
    instance_images: Annotated[str | None, typer.Option(help="Photos of the subject: folder, archive, s3://….")] = None,
    instance_prompt: InstancePrompt = None,
    class_prompt: ClassPrompt = None,
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
    tracking_uri: TrackingUri = None,
    experiment: Annotated[str, typer.Option(help="MLflow experiment that collects the runs.")] = EXPERIMENT,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every step again instead of reusing results.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate, print the configuration, and stop.")] = False,
    debug: Debug = False,
) -> None:
    """Run a pipeline on this machine and print the verdict.

    Settings come from the recipe, then --config, then flags; what is wrong is said before anything runs.
    A stopped or failed run goes on where it was when the same command is given again. A plan, such as
    "paper", is several runs, each with a report of its own, and one report over all; flags apply to each.

    Example: aelif run --instance-images photos/ --instance-prompt "a photo of sks backpack"
    --class-prompt "a photo of a backpack" --seeds 3 --output outputs/backpack
    """
    from aelif_pipelines.outcome import print_settings
    from aelif_pipelines.settings import load_runs

    given = {
        "data.instance_images": instance_images and _absolute(instance_images),
        "data.instance_prompt": instance_prompt,
        "data.class_prompt": class_prompt,
        "base_model": base_model,
        "variants": variants and variants.split(","),
        "seeds": seeds and list(range(seeds)),
        "synthesis.images_per_prompt": images_per_prompt,
        "prompts.families": families and families.split(","),
    }
    runs = load_runs(recipe, file=config, changes=read_changes(set_, given), smoke=smoke, only=only or ())
    if dry_run:
        print_settings(console, runs)
        return
    place = output or Path("outputs") / recipe
    tracking = choose_store(tracking_uri, place.resolve().parent, experiment=experiment)
    _run(runs, place, tracking=tracking, caching=not fresh)


def _absolute(uri: str) -> str:
    """Return a local path as absolute, other URIs unchanged: steps run in other folders."""
    return uri if "://" in uri or uri.startswith("builtin:") else str(Path(uri).expanduser().resolve())


def _run(runs: Any, output: Path, *, tracking: TrackingConfig, caching: bool) -> None:
    from aelif_pipelines.local import Workplace, run_locally
    from aelif_pipelines.outcome import print_outcome, print_plan
    from aelif_pipelines.parts import run_parts

    command = shlex.join(["aelif", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a supervisor's stop is as clean as Ctrl-C
    try:
        if isinstance(runs, dict):
            summary = run_parts(runs, output, tracking=tracking, console=console, command=command, caching=caching)
        else:
            print_plan(console, runs, output)
            place = Workplace(output=output, tracking=tracking)
            summary = run_locally(runs, place, console=console, command=command, caching=caching)
    except KeyboardInterrupt:
        console.print("Stopped. Finished steps and checkpoints are kept: the same command goes on from here.")
        raise typer.Exit(130) from None
    print_outcome(console, summary, output, store=tracking.tracking_uri)


def recipes(debug: Debug = False) -> None:
    """List the ready-made runs, and the plans, which are several runs each.

    Example: aelif recipes
    """
    from aelif_pipelines.outcome import print_pairs
    from aelif_pipelines.plans import PLANS
    from aelif_pipelines.recipes import RECIPES

    print_pairs(console, {name: (make.__doc__ or "").strip() for name, make in {**RECIPES, **PLANS}.items()})


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
