"""`aelif stack`: MLflow on PostgreSQL and S3, on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from aelif_pipelines.commands.options import Debug, console

app = typer.Typer(
    no_args_is_help=True,
    help="Run the real stack on this machine: an MLflow server on PostgreSQL and an S3 store.",
)

Folder = Annotated[Path, typer.Option("--folder", help="Data, logs and addresses of the stack.")]
DEFAULT_FOLDER = Path("build/stack")


@app.command()
def up(
    folder: Folder = DEFAULT_FOLDER,
    s3_endpoint: Annotated[
        str,
        typer.Option(
            help="S3 store to use (MinIO, SeaweedFS, AWS), keys as in AWS_ACCESS_KEY_ID …; else moto's server is "
            "started, which keeps objects in memory."
        ),
    ] = "",
    bucket: Annotated[str, typer.Option(help="Bucket for MLflow's files; created if need be.")] = "mlflow",
    database_url: Annotated[
        str,
        typer.Option(
            help="Database to use, as SQLAlchemy writes it; else PostgreSQL is started. AELIF_DATABASE_URL keeps a "
            "password out of the list of processes.",
            envvar="AELIF_DATABASE_URL",
            show_envvar=False,
        ),
    ] = "",
    debug: Debug = False,
) -> None:
    """Start what does not run yet, wait until it answers, and print the address.

    Safe to repeat: a server that died starts again at its port and on its data.

    Example: aelif stack up && . build/stack/stack.env && aelif run smoke
    """
    from aelif_pipelines.stack import start

    stack = start(folder, s3_endpoint=s3_endpoint, database_url=database_url, bucket=bucket, say=_say)
    console.print(f"\nexport MLFLOW_TRACKING_URI={stack.tracking_uri}", highlight=False, soft_wrap=True)
    console.print(
        f"[dim]or: . {escape(_short(stack.folder / 'stack.env'))}; a browser shows MLflow's pages at this address.[/]",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@app.command()
def down(folder: Folder = DEFAULT_FOLDER, debug: Debug = False) -> None:
    """End the servers that `aelif stack up` started, and nothing else; PostgreSQL's data stay.

    Example: aelif stack down
    """
    from aelif_pipelines.stack import stop

    stop(folder, say=_say)


@app.command()
def status(folder: Folder = DEFAULT_FOLDER, debug: Debug = False) -> None:
    """Show each server, its port and whether it runs; the exit code is 1 unless all do.

    Example: aelif stack status
    """
    from aelif_pipelines.stack import status

    stack = status(folder)
    if stack is None:
        console.print(f"{escape(str(folder))}: no stack was started here", highlight=False)
        raise typer.Exit(1)
    for name, server in stack.servers.items():
        mark = "[green]✓[/]" if server.alive else "[red]✗[/]"
        state = "runs" if server.alive else "does not run; `aelif stack up` starts it"
        console.print(f"{mark} [bold]{name}[/] at 127.0.0.1:{server.port} {state}", highlight=False)
    if not all(server.alive for server in stack.servers.values()):
        raise typer.Exit(1)


def _say(line: str) -> None:
    console.print(escape(line), highlight=False, soft_wrap=True)


def _short(path: Path) -> str:
    """Return a path as one would type it here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
