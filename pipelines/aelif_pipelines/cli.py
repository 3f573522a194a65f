"""The `aelif` command: what there is to do, by kind of work."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from aelif_pipelines.commands import package, registry, run, schedule, stack, submit, tools

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

app.command(rich_help_panel="Run")(run.run)
app.command(rich_help_panel="Run")(run.recipes)
app.command(rich_help_panel="Run")(run.report)
app.command(rich_help_panel="Registry")(registry.history)
app.command(rich_help_panel="Registry")(registry.compare)
app.command(rich_help_panel="Registry")(registry.promote)
app.command(rich_help_panel="Registry")(registry.rollback)
app.command(rich_help_panel="Operate")(submit.submit)
app.command(rich_help_panel="Operate")(submit.follow)
app.command(rich_help_panel="Operate")(submit.stop)
app.command("compile", rich_help_panel="Operate")(package.compile_)
app.add_typer(schedule.app, name="schedule", rich_help_panel="Operate")
app.add_typer(stack.app, name="stack", rich_help_panel="Operate")
app.command(rich_help_panel="Look around")(tools.ui)
app.command(rich_help_panel="Look around")(tools.perturb)
app.command(rich_help_panel="Look around")(tools.augmentations)
app.command(rich_help_panel="Look around")(tools.doctor)


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
