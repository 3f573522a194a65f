"""Tables for the terminal: the plan before a run, the verdict after it, perturbed prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from aelif.config import FAMILIES, RunConfig, to_dict

_NAME_WIDTH = 20
"""Of the column of variants."""


def print_plan(console: Console, config: RunConfig, output: Path) -> None:
    """Say what is going to run, and where the results go."""
    variants = ", ".join(str(variant) for variant in config.variants)
    console.print(
        f"[bold]{config.pipeline}[/] of [bold]{escape(config.data.instance_prompt)}[/] on {config.base_model}\n"
        f"{len(config.variants)} variants ({variants}) × {len(config.seeds)} seeds → {output}",
        highlight=False,
    )


def print_settings(console: Console, runs: RunConfig | Mapping[str, RunConfig]) -> None:
    """Print a run's settings, or those of a plan's parts, as the YAML that --config reads."""
    import yaml

    plain = {name: to_dict(part) for name, part in runs.items()} if isinstance(runs, Mapping) else to_dict(runs)
    console.print(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), highlight=False, markup=False)


def print_outcome(console: Console, summary: dict[str, Any], output: Path, *, store: str = "") -> None:
    """Print verdict, tables of distances and where to look next; of a plan, the table over its parts.

    Args:
        console: where to.
        summary: what a run returned.
        output: its folder.
        store: address of the tracking store, if it is known; "": the one that lies nearest.
    """
    if "unchanged" in summary:
        console.print(f"[bold]Nothing to do:[/] {escape(summary['unchanged'])}", highlight=False)
        console.print(f"[dim]{summary['timings']['total_s']:.0f} s; --fresh retrains all the same[/]", highlight=False)
        return
    if "parts" in summary:
        _print_parts(console, summary, output, store=store)
        return
    table = _distance_table("Wasserstein distance to the photos (95 % interval); lower is better")
    for name, scores in summary["variants"].items():
        _add_variant(table, name, scores, bold=name == summary["verdict"]["champion"])
    table.add_section()
    table.add_row("[dim]noise floor[/]", _distance(summary["noise_floor"]))
    console.print(table)
    _print_details(console, summary)
    verdict = summary["verdict"]
    champion = verdict["champion"]
    console.print(f"[bold]Verdict:[/] {escape(champion) + ' is the best' if champion else 'no model keeps the limits'}")
    for reason in [*verdict["reasons"], *summary.get("notes", [])]:
        console.print(f"  • {escape(reason)}", highlight=False)
    if registry := summary.get("registry"):
        console.print(f"[bold]{escape(registry['model'])}:[/] {escape(registry['message'])}", highlight=False)
    total, own = summary["timings"]["total_s"], summary["timings"]["orchestration_s"]
    console.print(f"\n[dim]{total:.0f} s, {own / total:.0%} of it orchestration[/]", highlight=False)
    _print_places(console, output, store=store)


def _print_parts(console: Console, summary: dict[str, Any], output: Path, *, store: str) -> None:
    """Print one table of all parts of a plan, and the mean improvement over them."""
    from aelif.artifacts import read_json

    table = _distance_table("Wasserstein distance to the photos (95 % interval); lower is better")
    for part, path in summary["parts"].items():
        table.add_row(f"[bold]{escape(part)}[/]")
        for name, scores in read_json(output / path)["variants"].items():
            _add_variant(table, name, scores)
        table.add_section()
    table.add_row("[bold]mean over parts[/]")
    for name, means in summary["mean_improvements"].items():
        _add_variant(table, name, means)
    console.print(table)
    console.print(f"[dim]{summary['timings']['total_s']:.0f} s[/]", highlight=False)
    _print_places(console, output, store=store)


def _print_places(console: Console, output: Path, *, store: str) -> None:
    console.print(f"Report   {output / 'report.html'}\nScores   {output / 'summary.json'}", highlight=False)
    if store.startswith("http"):
        console.print(f"MLflow   {escape(store)}", highlight=False)
        return
    above = [output.parent, *output.parent.parents]
    folder = next(
        (folder for folder in above if (folder / "mlflow.db").exists()), output.parent
    )  # parts share a plan's
    console.print(f"MLflow   aelif ui {folder}", highlight=False)


def _table(title: str, *headings: str) -> Table:
    """Return a table that 80 columns hold, the first for names."""
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False
    )
    table.add_column("variant", max_width=_NAME_WIDTH, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _distance_table(title: str) -> Table:
    return _table(title, "clean\nprompts", "perturbed\nprompts", "improve-\nment", "p\n(Holm)", "of damage\nundone")


def _add_variant(table: Table, name: str, scores: Mapping[str, Any], *, bold: bool = False) -> None:
    test = scores.get("test")
    table.add_row(
        _name(name, bold=bold),
        _distance(scores.get("clean")),
        _distance(scores.get("perturbed")),
        _share(scores.get("improvement_plain")),
        f"{test['p_adjusted']:.3f}" if test else "",
        _share(scores.get("improvement_excess")),
    )


def _print_details(console: Console, summary: dict[str, Any]) -> None:
    """Print what was asked beside: kinds of errors seen and unseen in tuning, other contexts, the worst case."""
    asked = {
        "gain on\ntuning": lambda scores: _share(_in_set(scores, "tuning").get("improvement_plain")),
        "gain on\nheld-out": lambda scores: _share(_in_set(scores, "held_out").get("improvement_plain")),
        "other\ncontexts": lambda scores: _distance(_in_set(scores, "out_of_distribution").get("distance")),
        "worst\ncase": lambda scores: _distance((scores.get("worst_case") or {}).get("distance")),
        "mean of\nits errors": lambda scores: _distance((scores.get("worst_case") or {}).get("mean_perturbed")),
    }
    cells = {heading: [cell(scores) for scores in summary["variants"].values()] for heading, cell in asked.items()}
    shown = {heading: column for heading, column in cells.items() if set(column) != {"–"}}
    if not shown:
        return
    console.print()
    table = _table("The same by kind of prompt; the worst case is measured on fresh noise", *shown)
    for row, name in enumerate(summary["variants"]):
        table.add_row(_name(name), *(column[row] for column in shown.values()))
    console.print(table)


def _in_set(scores: Mapping[str, Any], prompt_set: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = scores.get("sets", {}).get(prompt_set, {})
    return found


def _name(name: str, *, bold: bool = False) -> str:
    """Return a variant's name, compositions and options on lines of their own, and the magnitude of a long one."""
    lines = re.sub(r"(?=\+(?!eos)|@)", "\n", name).splitlines()
    shown = "\n".join(line if len(line) <= _NAME_WIDTH else line.replace(":", "\n:") for line in lines)
    return f"[bold]{escape(shown)}[/]" if bold else escape(shown)


def print_perturbed(console: Console, rows: list[dict[str, Any]], *, reader: str) -> None:
    """Print perturbed prompts with what changed and by how much, or why they cannot be.

    Args:
        console: where to; without colours, square brackets mark what changed.
        rows: rows of the prompt table, the clean prompt first.
        reader: model whose text encoders measured them; "": none did, and their columns are left out.
    """
    clean, *others = rows
    is_plain = console.no_color or console.color_system is None
    marks = "[ ] marks what changed" if is_plain else "bold: new, struck: lost"
    measured = f"; tokens and embeddings as the text encoders of {reader} read them" if reader else ""
    table = Table(title=escape(clean["prompt"]), caption=marks + measured, title_justify="left",
                  caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)  # fmt: skip
    table.add_column("family", no_wrap=True)
    table.add_column("prompt", overflow="fold", ratio=1)
    table.add_column("edits", style="dim")
    for heading in ("characters\nwrong", *(("tokens\nchanged", "embedding\ncosine") if reader else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    made = {row["family"] for row in others if row["prompt_set"] != "skipped"}
    for row in sorted(others, key=lambda row: FAMILIES.index(row["family"])):
        if row["prompt_set"] == "skipped":
            what = "cannot be perturbed again" if row["family"] in made else "cannot be perturbed"
            table.add_row(row["family"], Text(f"{what}: {row['reason']}", style="dim"))
            continue
        numbers = [f"{row['character_error_rate']:.1%}"]
        if reader:
            numbers += [str(row["tokens_changed"]), f"{row['embedding_cosine']:.3f}"]
        edits = ", ".join(f"{_visible(edit['before'])}→{_visible(edit['after'])}" for edit in row["edits"])
        table.add_row(row["family"], _highlighted(row, is_plain=is_plain), escape(edits), *numbers)
    console.print(table)


def _highlighted(row: dict[str, Any], *, is_plain: bool) -> Text:
    """Return a perturbed prompt with its edits marked: in colours, or by square brackets."""
    text, position, clean = Text(), 0, row["clean_prompt"]
    for edit in row["edits"]:
        text.append(clean[position : edit["start"]])
        position = edit["start"] + len(edit["before"])
        if is_plain:
            text.append(f"[{edit['after']}]")
        elif edit["after"]:
            text.append(edit["after"], style="bold underline green")
        else:
            text.append(edit["before"], style="strike red")
    text.append(clean[position:])
    return text


def _visible(text: str) -> str:
    return text if text.strip() else "␣" if text else "∅"


def print_pairs(console: Console, rows: dict[str, str]) -> None:
    """Print names and what they mean."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, meaning in rows.items():
        table.add_row(escape(name), escape(meaning))
    console.print(table, highlight=False)


def _distance(interval: Mapping[str, float | None] | None) -> str:
    if interval is None or interval["value"] is None:
        return "–"
    if interval["low"] is None:
        return f"{interval['value']:.3f}"
    return f"{interval['value']:.3f}\n[dim]{interval['low']:.3f}–{interval['high']:.3f}[/]"


def _share(interval: Mapping[str, float | None] | None) -> str:
    if interval is None or interval["value"] is None:
        return "–"
    if interval["low"] is None:
        return f"{interval['value']:+.1%}"
    low, high = (100 * (interval[end] or 0.0) for end in ("low", "high"))
    digits = 1 if max(abs(low), abs(high)) < 99.95 else 0
    return f"{interval['value']:+.1%}\n[dim]{low:+.{digits}f}…{high:+.{digits}f}[/]"
