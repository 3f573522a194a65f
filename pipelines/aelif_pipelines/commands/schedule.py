"""`aelif schedule`: recurring runs on a cluster, and what to give cron or systemd on one machine."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

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

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    help=(
        "Retrain again and again: on a cluster by Kubeflow's recurring runs, on one machine by cron or systemd.\n\n"
        "A schedule never overlaps itself and never catches up on what it missed. A run that finds nothing new ends "
        "within seconds, so an hourly schedule is cheap.\n\n"
        "Example: aelif schedule create nightly --cron '0 0 3 * * *' --config retrain.yaml"
    ),
)

Name = Annotated[str, typer.Argument(help="Name of the schedule: lower-case letters, digits and '-'.")]
Zone = Annotated[str, typer.Option(help="The server's time zone (cronScheduleTimezone), for the times shown.")]


@app.command()
def create(
    name: Name,
    cron: Annotated[str, typer.Option(help="When, in the server's zone: second minute hour day month weekday.")],
    recipe: Annotated[str, typer.Option(help="Recipe to run; 'aelif recipes' lists them.")] = "retrain",
    instance_images: on_cluster.InstanceImages = None,
    instance_prompt: InstancePrompt = None,
    class_prompt: ClassPrompt = None,
    config: on_cluster.ConfigFile = None,
    set_: on_cluster.Set = None,
    tracking_uri: on_cluster.TrackingUri = None,
    experiment: on_cluster.Experiment = "aelif",
    kfp_experiment: on_cluster.KfpExperiment = "aelif",
    destination: on_cluster.Destination = "",
    checkpoint_root: on_cluster.CheckpointRoot = on_cluster.CHECKPOINTS,
    pin: Annotated[
        bool, typer.Option("--pin", help="Always run this version of the pipeline, not the latest.")
    ] = False,
    service_account: on_cluster.ServiceAccount = on_cluster.RUNNER,
    pipeline_root: on_cluster.PipelineRoot = "",
    cpu_image: CpuImage = "",
    gpu_image: GpuImage = "",
    queue: Queue = "",
    label: Labels = None,
    many_pods: on_cluster.ManyPods = False,
    zone: Zone = "UTC",
    host: on_cluster.Host = "",
    namespace: on_cluster.Namespace = "",
    token_file: on_cluster.TokenFile = "",
    debug: Debug = False,
) -> None:
    """Make a schedule on a cluster, or change one; the same command again changes nothing.

    The pipeline is uploaded where this version of it is not there yet. Give the command again after
    an upgrade of aelif, so that pipeline and settings fit each other.

    Example: aelif schedule create nightly --cron "0 0 3 * * *" --instance-images s3://photos/backpack
    --instance-prompt "a photo of sks backpack" --class-prompt "a photo of a backpack"
    --set data.reference_images=s3://photos/backpack-reference --tracking-uri http://mlflow.mlflow:5000
    """
    import tempfile

    from aelif_pipelines.cluster import clear_errors, cluster_arguments, connect
    from aelif_pipelines.cron import next_times, parse_cluster_cron
    from aelif_pipelines.package import compile_package, ensure_experiment, ensure_version
    from aelif_pipelines.pods import check_pods, pod_plan
    from aelif_pipelines.schedule import Plan, check_name
    from aelif_pipelines.schedule import create as create_schedule
    from aelif_pipelines.settings import load_config
    from aelif_pipelines.steps import read_package

    check_name(name)
    times = next_times(parse_cluster_cron(cron), datetime.now(UTC), zone=zone)
    data = {"instance_images": instance_images, "instance_prompt": instance_prompt, "class_prompt": class_prompt}
    changes = read_changes(set_, {f"data.{name}": value for name, value in data.items()})
    settings = load_config(recipe, file=config, changes=changes)
    arguments = cluster_arguments(
        settings, tracking=on_cluster.read_tracking(tracking_uri, experiment), destination=destination,
        checkpoint_root=checkpoint_root, command=f"aelif schedule create {name}",
    )  # fmt: skip
    deployment = read_deployment(cpu_image, gpu_image, queue, label)
    with tempfile.TemporaryDirectory() as folder:
        package = compile_package(settings.pipeline, Path(folder) / f"{settings.pipeline}.yaml", deployment)
        pods = pod_plan(read_package(package)[0], arguments)
        check_pods(pods, many=many_pods)
        cluster = connect(host=host, namespace=namespace, token_file=token_file)
        with clear_errors(cluster.host):
            uploaded = ensure_version(cluster, f"aelif-{settings.pipeline}", package)
            experiment_id = ensure_experiment(cluster, kfp_experiment)
    plan = Plan(
        name=name, cron=cron, pipeline_id=uploaded.pipeline_id, version_id=uploaded.version_id if pin else "",
        experiment_id=experiment_id, arguments=arguments, service_account=service_account, pipeline_root=pipeline_root,
    )  # fmt: skip
    made = create_schedule(cluster, plan)
    said = {"created": "is new", "replaced": "was changed", "unchanged": "is as it was"}[made.state]
    console.print(f"Schedule {name} {said}{'' if made.enabled else '; it is paused: aelif schedule resume ' + name}.")
    runs = f"version {uploaded.version}" if pin else f"the latest version, now {uploaded.newest}"
    console.print(f"It runs aelif-{settings.pipeline}, {runs}{' (just uploaded)' if uploaded.new else ''}.")
    console.print(f"Each run: {pods}.")
    if not deployment.pinned:
        console.print("[yellow]Images are named by tag: give --cpu-image and --gpu-image by digest.[/]")
    if not pin and uploaded.newest != uploaded.version:
        console.print(f"[yellow]This aelif made {uploaded.version}: give --pin to run that one.[/]")
    console.print(f"Next ({zone}): " + ", ".join(f"{time:%a %Y-%m-%d %H:%M:%S}" for time in times))


@app.command("list")
def list_(
    zone: Zone = "UTC",
    host: on_cluster.Host = "",
    namespace: on_cluster.Namespace = "",
    token_file: on_cluster.TokenFile = "",
    debug: Debug = False,
) -> None:
    """List aelif's schedules: when, what, the last run and the next.

    Example: aelif schedule list --host http://127.0.0.1:8888
    """
    from rich.table import Table

    from aelif_pipelines.cluster import connect
    from aelif_pipelines.schedule import list_schedules

    cluster = connect(host=host, namespace=namespace, token_file=token_file)
    rows = list_schedules(cluster, now=datetime.now(UTC), zone=zone)
    if not rows:
        console.print("There is no schedule; make one with aelif schedule create.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "cron", "on", f"next ({zone})", "last (UTC)", "version", "at once"):
        table.add_column(title, overflow="fold")
    for row in rows:
        last = f"{row.last_run.astimezone(UTC):%m-%d %H:%M} {row.last_state.lower()}" if row.last_run else "none yet"
        following = f"{row.next_run:%m-%d %H:%M}" if row.next_run else ""
        table.add_row(
            row.name, row.cron, "yes" if row.enabled else "paused", following, last, row.version, row.concurrency
        )
    console.print(table)
    for row in rows:
        if row.fault:
            console.print(f"[red]{row.name}:[/] {row.fault}", highlight=False)


@app.command()
def pause(
    name: Name,
    host: on_cluster.Host = "",
    namespace: on_cluster.Namespace = "",
    token_file: on_cluster.TokenFile = "",
    debug: Debug = False,
) -> None:
    """Switch a schedule off; a run that has begun goes on.

    Example: aelif schedule pause nightly
    """
    from aelif_pipelines.cluster import connect
    from aelif_pipelines.schedule import pause as pause_schedule

    changed = pause_schedule(connect(host=host, namespace=namespace, token_file=token_file), name)
    console.print(f"Schedule {name} {'is paused' if changed else 'was paused already'}.")


@app.command()
def resume(
    name: Name,
    host: on_cluster.Host = "",
    namespace: on_cluster.Namespace = "",
    token_file: on_cluster.TokenFile = "",
    debug: Debug = False,
) -> None:
    """Switch a paused schedule on; what it missed is not made up for.

    Example: aelif schedule resume nightly
    """
    from aelif_pipelines.cluster import connect
    from aelif_pipelines.schedule import resume as resume_schedule

    changed = resume_schedule(connect(host=host, namespace=namespace, token_file=token_file), name)
    console.print(f"Schedule {name} {'runs again' if changed else 'was running already'}.")


@app.command()
def delete(
    name: Name,
    missing_ok: Annotated[bool, typer.Option("--missing-ok", help="Be content if there is none.")] = False,
    host: on_cluster.Host = "",
    namespace: on_cluster.Namespace = "",
    token_file: on_cluster.TokenFile = "",
    debug: Debug = False,
) -> None:
    """Delete a schedule; its runs, and the uploaded pipeline, stay.

    Example: aelif schedule delete nightly --missing-ok
    """
    from aelif_pipelines.cluster import connect
    from aelif_pipelines.schedule import delete as delete_schedule

    cluster = connect(host=host, namespace=namespace, token_file=token_file)
    deleted = delete_schedule(cluster, name, missing_ok=missing_ok)
    console.print(f"Schedule {name} {'is deleted' if deleted else 'did not exist'}.")


@app.command(context_settings={"ignore_unknown_options": True})
def local(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="What follows aelif run: recipe and options; else retrain.")
    ] = None,
    cron: Annotated[
        str, typer.Option(help="When, in this machine's zone: minute hour day month weekday.")
    ] = "0 3 * * *",
    name: Annotated[str, typer.Option(help="Names lock, log and units.")] = "aelif-retrain",
    folder: Annotated[Path, typer.Option(help="Folder to run in.")] = Path(),
    debug: Debug = False,
) -> None:
    """Print what to give cron or systemd on this machine; nothing is installed.

    Example: aelif schedule local --cron "0 3 * * *" -- retrain --config retrain.yaml --output outputs/nightly
    """
    from aelif_pipelines.cron import next_times, parse_crontab
    from aelif_pipelines.local_schedule import LocalJob, crontab_line, service_unit, timer_unit

    given = arguments or []
    recipe = ["retrain"] if not given or given[0].startswith("-") else []
    command = (_own_path(), "run", *recipe, *given)
    job = LocalJob(name=name, cron=cron, command=command, folder=folder.expanduser().resolve())
    next_times(parse_crontab(cron), datetime.now(UTC), count=1)  # refuses what never fires
    for text in (
        f"# ── cron: add this line with `crontab -e` (macOS: brew install flock) ──\n{crontab_line(job)}",
        f"\n# ── systemd, instead: ~/.config/systemd/user/{name}.service ──\n{service_unit(job)}",
        f"# ── ~/.config/systemd/user/{name}.timer; then: systemctl --user enable --now {name}.timer ──\n"
        f"{timer_unit(job)}",
        f"# To be told how runs end, put AELIF_WEBHOOK_URL=https://… into {job.folder / (name + '.env')} (chmod 600).\n"
        f"# The lock lets no two runs overlap; a start that finds it held ends at once. Logs: {name}.log, or\n"
        f"# journalctl --user -u {name}. Runs without anybody logged in: loginctl enable-linger.",
    ):
        typer.echo(text)


def _own_path() -> str:
    """Return the full path of this command."""
    beside = Path(sys.executable).with_name("aelif")
    return str(beside) if beside.is_file() else shutil.which("aelif") or "aelif"
