"""Tables for the terminal: the plan before a run, the verdict after it, perturbed prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aelif.config import RunConfig


def print_plan(console: Console, config: RunConfig, output: Path) -> None:
    """Say what is going to run, and where the results go."""
    variants = ", ".join(str(variant) for variant in config.variants)
    console.print(
        f"[bold]robustness[/] of [bold]{escape(config.data.instance_prompt)}[/] on {config.base_model}\n"
        f"{len(config.variants)} variants ({variants}) × {len(config.seeds)} seeds → {output}",
        highlight=False,
    )


def print_outcome(console: Console, summary: dict[str, Any], output: Path) -> None:
    """Print verdict, table of distances and where to look next."""
    title = "Wasserstein distance to the photos (95 % interval); lower is better"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("variant", no_wrap=True)
    for heading in ("clean\nprompts", "perturbed\nprompts", "improvement", "of the\ndamage undone"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, scores in summary["variants"].items():
        shown = name.replace("+", "\n+")  # a composition is long
        table.add_row(
            f"[bold]{shown}[/]" if name == summary["verdict"]["champion"] else shown,
            _distance(scores["clean"]),
            _distance(scores["perturbed"]),
            _share(scores.get("improvement_plain")),
            _share(scores.get("improvement_excess")),
        )
    table.add_section()
    table.add_row("[dim]noise floor[/]", _distance(summary["noise_floor"]), "", "", "")
    console.print(table)
    verdict = summary["verdict"]
    champion = verdict["champion"]
    console.print(f"[bold]Verdict:[/] {escape(champion) + ' is champion' if champion else 'no model passes the gate'}")
    for reason in [*verdict["reasons"], *summary.get("notes", [])]:
        console.print(f"  • {escape(reason)}", highlight=False)
    total, own = summary["timings"]["total_s"], summary["timings"]["orchestration_s"]
    console.print(f"\n[dim]{total:.0f} s, {own / total:.0%} of it orchestration[/]", highlight=False)
    console.print(f"Report   {output / 'report.html'}\nScores   {output / 'summary.json'}", highlight=False)
    console.print(f"MLflow   aelif ui {output.parent}", highlight=False)


def print_perturbed(console: Console, prompt: str, rows: list[dict[str, Any]]) -> None:
    """Print perturbed prompts with their edits and realised error rate."""
    table = Table(title=escape(prompt), title_justify="left")
    table.add_column("family")
    table.add_column("prompt")
    table.add_column("edits", style="dim")
    table.add_column("characters wrong", justify="right")
    for row in rows:
        edits = ", ".join(f"{edit['before'] or '∅'}→{edit['after'] or '∅'}" for edit in row["edits"])
        table.add_row(row["family"], escape(row["prompt"]), escape(edits), f"{row['character_error_rate']:.1%}")
    console.print(table)


def print_pairs(console: Console, rows: dict[str, str]) -> None:
    """Print names and what they mean."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, meaning in rows.items():
        table.add_row(escape(name), escape(meaning))
    console.print(table, highlight=False)


def _distance(interval: dict[str, float | None] | None) -> str:
    if interval is None or interval["value"] is None:
        return "–"
    if interval["low"] is None:
        return f"{interval['value']:.3f}"
    return f"{interval['value']:.3f}\n[dim]{interval['low']:.3f}–{interval['high']:.3f}[/]"


def _share(interval: dict[str, float | None] | None) -> str:
    if interval is None or interval["value"] is None:
        return "–"
    if interval["low"] is None:
        return f"{interval['value']:+.1%}"
    return f"{interval['value']:+.1%}\n[dim]{interval['low']:+.1%}…{interval['high']:+.1%}[/]"
