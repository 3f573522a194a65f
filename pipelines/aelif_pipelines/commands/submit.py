"""`aelif submit`, `follow`, `stop`: one run on a cluster."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aelif_pipelines.commands import cluster_options as on_cluster
from aelif_pipelines.commands.options import (
    ClassPrompt,
    CpuImage,
    Debug,
    GpuImage,
    InstancePrompt,
    Labels,
    Queue,
    console,
    read_changes,
    read_deployment,
)

if TYPE_CHECKING:
    from aelif_pipelines.cluster import Cluster
    from aelif_pipelines.submit import Submission, Submitted

CANCELED, LOST, INTERRUPTED = 3, 4, 130
"""Exit codes beside 0, 1 (failed) and 2 (usage)."""

RunId = Annotated[str, typer.Argument(help="Identifier of the run, as submit printed it.")]


def submit(
    recipe: Annotated[str, typer.Argument(help="Recipe to run; 'aelif recipes' lists them.")],
    instance_images: on_cluster.InstanceImages = None,
    instance_prompt: InstancePrompt = None,
    class_prompt: ClassPrompt = None,
    config: on_cluster.ConfigFile = None,
    set_: on_cluster.Set = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="The recipe shrunk to a test of its machinery.")] = False,
    only: Annotated[str | None, typer.Option(help="Part of a plan: each part is a run.", show_default=False)] = None,
    name: Annotated[str, typer.Option(help="Name of the run; else RECIPE-DATE-TIME (UTC).", show_default=False)] = "",
    tracking_uri: on_cluster.TrackingUri = None,
    experiment: on_cluster.Experiment = "aelif",
    kfp_experiment: on_cluster.KfpExperiment = "aelif",
    destination: on_cluster.Destination = "",
    checkpoint_root: on_cluster.CheckpointRoot = on_cluster.CHECKPOINTS,
    service_account: on_cluster.ServiceAccount = on_cluster.RUNNER,
    pipeline_root: on_cluster.PipelineRoot = "",
    cpu_image: CpuImage = "",
    gpu_image: GpuImage = "",
    queue: Queue = "",
    label: Labels = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every step, whatever Kubeflow has cached.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Retrain even where nothing is new.")] = False,
    many_pods: on_cluster.ManyPods = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be submitted; asks no server, writes nothing.")
    ] = False,
    host: on_cluster.Host = "",
    namespace: on_cluster.Namespace = "",
    token_file: on_cluster.TokenFile = "",
    debug: Debug = False,
) -> None:
    """Run a recipe on a cluster and follow its steps; Ctrl-C ends the following, not the run.

    The pipeline is uploaded where this version of it is not there yet. Exit codes: 0 succeeded, 1 failed or
    could not be submitted, 2 wrong usage, 3 canceled, 4 the server stayed away (the run may go on), 130 Ctrl-C
    (the run goes on).

    Example: aelif submit sdxl --instance-images s3://photos/backpack --instance-prompt "a photo of sks backpack"
    --class-prompt "a photo of a backpack" --tracking-uri http://mlflow.aelif:5000 --host http://127.0.0.1:8888
    """
    from aelif.config import require
    from aelif_pipelines.cluster import cluster_arguments, connect
    from aelif_pipelines.settings import load_runs
    from aelif_pipelines.submit import default_name, prepare
    from aelif_pipelines.submit import submit as submit_run

    data = {"instance_images": instance_images, "instance_prompt": instance_prompt, "class_prompt": class_prompt}
    changes = read_changes(set_, {f"data.{name}": value for name, value in data.items()})
    found = load_runs(recipe, file=config, changes=changes, smoke=smoke, only=[only] if only else [])
    if isinstance(found, dict) and len(found) > 1:
        raise ValueError(f"recipe = {recipe!r}: it is several runs; submit each with --only: {', '.join(found)}")
    settings = next(iter(found.values())) if isinstance(found, dict) else found
    require(not force or settings.pipeline == "retrain", "force", force, f"{recipe} runs always; it is for retrain")
    arguments = cluster_arguments(
        settings, tracking=on_cluster.read_tracking(tracking_uri, experiment), destination=destination,
        checkpoint_root=checkpoint_root, command=shlex.join(["aelif", *sys.argv[1:]]), force=force,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        submission = prepare(
            settings, arguments, name=name or default_name(only or recipe, datetime.now(UTC)), folder=Path(folder),
            deployment=read_deployment(cpu_image, gpu_image, queue, label), experiment=kfp_experiment,
            service_account=service_account, pipeline_root=pipeline_root, caching=not fresh, many_pods=many_pods,
        )  # fmt: skip
        if dry_run:
            _print_plan(submission)
            return
        for warning in submission.warnings:
            console.print(f"[yellow]![/] {warning}", highlight=False, soft_wrap=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a supervisor's stop is as clean as Ctrl-C
        cluster = connect(host=host, namespace=namespace, token_file=token_file)
        try:
            submitted = submit_run(cluster, submission)
        except KeyboardInterrupt:
            console.print(f"Interrupted. If the server had made the run {submission.name} by then, it goes on: see "
                          "Kubeflow's page.", highlight=False, soft_wrap=True)  # fmt: skip
            raise typer.Exit(INTERRUPTED) from None
    _print_submitted(submission, submitted)
    again = _connection(host, namespace, token_file)
    if not wait:
        console.print(f"Follow it with: aelif follow {submitted.run_id}{again}", highlight=False, soft_wrap=True)
        return
    _follow(cluster, submitted.run_id, again)


def follow(
    run_id: RunId,
    host: on_cluster.Host = "",
    namespace: on_cluster.Namespace = "",
    token_file: on_cluster.TokenFile = "",
    debug: Debug = False,
) -> None:
    """Follow a run that was submitted, or started by a schedule; exit codes as those of submit.

    Example: aelif follow 0f2d6a5e-1c3b-4a47-9b0e-8a2f6f1d7c11 --host http://127.0.0.1:8888
    """
    from aelif_pipelines.cluster import connect

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = connect(host=host, namespace=namespace, token_file=token_file)
    _follow(cluster, run_id, _connection(host, namespace, token_file))


def stop(
    run_id: RunId,
    host: on_cluster.Host = "",
    namespace: on_cluster.Namespace = "",
    token_file: on_cluster.TokenFile = "",
    debug: Debug = False,
) -> None:
    """Stop a run on a cluster: its pods end, what is cached and the checkpoints stay.

    Example: aelif stop 0f2d6a5e-1c3b-4a47-9b0e-8a2f6f1d7c11 --host http://127.0.0.1:8888
    """
    from aelif_pipelines.cluster import connect
    from aelif_pipelines.submit import stop as stop_run

    stop_run(connect(host=host, namespace=namespace, token_file=token_file), run_id)
    console.print(f"Run {run_id} is being stopped.", highlight=False)


def _follow(cluster: Cluster, run_id: str, again: str) -> None:
    """Show the run to its end, and leave with the exit code that it deserves."""
    from aelif_pipelines.follow import LostServerError
    from aelif_pipelines.follow import follow as follow_run
    from aelif_pipelines.run_display import RunDisplay

    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would write over the display what that says itself
    try:
        with RunDisplay(console) as display:
            ended = follow_run(cluster, run_id, display)
    except KeyboardInterrupt:
        _print_remedies("The run goes on.", run_id, again)
        raise typer.Exit(INTERRUPTED) from None
    except LostServerError as error:
        _print_remedies(str(error) + ".", run_id, again)
        raise typer.Exit(LOST) from None
    steps = ended.state.steps
    some = f"{ended.state.done} of {len(steps)} steps"
    if ended.end == "succeeded":
        rest = "; the others were not needed" if 0 < ended.state.done < len(steps) else ""
        console.print(f"[green]Succeeded:[/] {ended.name}, {some}{rest}.", highlight=False)
        return
    if ended.end == "canceled":
        console.print(f"[yellow]Canceled:[/] {ended.name}, after {some}.", highlight=False)
        raise typer.Exit(CANCELED)
    _print_failures(cluster, run_id, ended.state)
    console.print(f"[red]Failed:[/] {ended.name}, after {some}.", highlight=False)
    raise typer.Exit(1)


def _print_plan(submission: Submission) -> None:
    """Print the run as YAML: its arguments, what else is known in comments."""
    import yaml

    deployment, account = submission.deployment, submission.service_account or "the default"
    typer.echo(
        f"# run {submission.name}: aelif-{submission.pipeline}, version {submission.version}\n"
        f"# {submission.pods}\n"
        f"# images: {deployment.cpu_image}, {deployment.gpu_image}\n"
        f"# Kubeflow experiment {submission.experiment}, service account {account},\n"
        f"# queue {deployment.queue or 'none'}, caching {'on' if submission.caching else 'off'}"
    )
    for warning in submission.warnings:
        typer.echo(f"# warning: {warning}")
    plain = json.loads(json.dumps(submission.arguments))  # equal parts are written out, not referred to
    typer.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), nl=False)


def _print_submitted(submission: Submission, submitted: Submitted) -> None:
    new = " (just uploaded)" if submitted.uploaded.new else ""
    console.print(f"Run {submission.name} is {submitted.run_id}.", highlight=False, soft_wrap=True)
    console.print(
        f"aelif-{submission.pipeline}, version {submitted.uploaded.version}{new}; {submission.pods}.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if submitted.schedules:
        names = ", ".join(submitted.schedules)
        console.print(f"[yellow]![/] Schedules that run the latest version have this one from now on: {names} "
                      "(schedule create --pin keeps one).", highlight=False, soft_wrap=True)  # fmt: skip


def _print_failures(cluster: Cluster, run_id: str, state: Any) -> None:
    from rich.markup import escape

    from aelif_pipelines.failure import explain_failures

    for failure in explain_failures(cluster, run_id, state):
        message = f": {failure.message}" if failure.message else ""
        console.print(f"[red]✗[/] {escape(failure.step + message)}", highlight=False, soft_wrap=True)
        for line in failure.log:
            console.print(f"    {escape(line)}", style="dim", highlight=False, soft_wrap=True)
        console.print(f"  {escape(failure.command)}", highlight=False, soft_wrap=True)


def _print_remedies(words: str, run_id: str, again: str) -> None:
    for line in (words, f"Follow it again: aelif follow {run_id}{again}", f"Stop it: aelif stop {run_id}{again}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _connection(host: str, namespace: str, token_file: str) -> str:
    """Return the options of the connection, to be given again."""
    given = (("--host", host), ("--namespace", namespace), ("--token-file", token_file))
    return "".join(f" {option} {shlex.quote(value)}" for option, value in given if value)
