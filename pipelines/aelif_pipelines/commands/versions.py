"""Registered versions on the terminal, in 80 columns; and the paired comparison of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from aelif.registry.compare import Pair
    from aelif.registry.history import Entry

_FIGURES = {"clean": "clean distance", "perturbed": "perturbed distance", "clip_t": "alignment",
            "diversity": "diversity"}  # fmt: skip
_COLOURS = {"passed": "green", "forced": "yellow", "waiting": "yellow", "rejected": "red", "rolled-back": "red"}
_NAMES = {"dataset.digest": "photos", "base.uri": "base model", "base.digest": "base digest",
          "eval.digest": "prompts", "recipe.digest": "recipe", "weights.sha256": "weights", "git.sha": "git commit",
          "image.digest": "image", "code_version": "code", "aelif.version": "aelif", "kfp.run_id": "run"}  # fmt: skip
_DIGITS = 12
"""Shown of a digest."""


def print_history(console: Console, name: str, entries: Sequence[Entry]) -> None:
    """Print a table of versions, and below it why each stands where it does."""
    table = Table(title=escape(name), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("version", no_wrap=True)
    for heading in ("verdict", "made", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("clean", "perturbed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("photos", no_wrap=True, style="dim")
    for entry in entries:
        label = "\n".join([entry.version, *(f"[bold]{alias}[/]" for alias in entry.aliases)])
        colour = _COLOURS.get(entry.verdict, "dim")
        made = entry.created[:16].replace("T", "\n")
        figures = [_number(entry.figures.get(figure)) for figure in ("clean", "perturbed")]
        table.add_row(label, f"[{colour}]{entry.verdict or '–'}[/]", made, escape(entry.trial or "–"), *figures,
                      entry.dataset_digest[:8] or "–")  # fmt: skip
    console.print(table)
    for entry in entries:
        if told := _told(entry):
            console.print(f"[bold]{entry.version}[/]  {escape(told)}", highlight=False)


def _told(entry: Entry) -> str:
    """Return a version's career in a sentence or two."""
    since = f"champion since {entry.since[:16].replace('T', ' ')}" if "champion" in entry.aliases else ""
    was = f"became champion {entry.since[:16].replace('T', ' ')}" if entry.since and not since else ""
    after = f"in place of version {entry.replaced}" if entry.replaced else ""
    career = " ".join(filter(None, [since or was, after]))
    return "; ".join(filter(None, [career, entry.by, entry.reasons]))


def paired_figures(pair: Pair) -> tuple[dict[str, Any] | None, str]:
    """Return B's figures against A, prompt by prompt (see `aelif.score.duel`), or why there are none.

    A stands in the champion's place: improvement and clean_loss are shares of its distances.
    """
    from aelif.config import ScoreConfig
    from aelif.score.duel import duels

    if pair.obstacle:
        return None, pair.obstacle
    held = [{**row, "variant": f"champion@{pair.a.version}", "seed": 0} for row in pair.rows_a]
    try:
        _, figures = duels(pair.rows_b, held, config=ScoreConfig())
    except ValueError as error:  # their tables do not fit: an answer, too
        return None, str(error)
    return figures[pair.b.trial], ""


def print_pair(console: Console, name: str, pair: Pair, *, duel: Mapping[str, Any] | None, obstacle: str) -> None:
    """Print recorded figures side by side, what differs in origin, and who is better by how much."""
    headings = [" ".join([f"version {entry.version}", *entry.aliases]) for entry in (pair.a, pair.b)]
    table = _table(escape(name), "", *headings)
    table.add_row("verdict", pair.a.verdict or "–", pair.b.verdict or "–")
    for figure, label in _FIGURES.items():
        table.add_row(label, _interval(pair.a.figures.get(figure)), _interval(pair.b.figures.get(figure)))
    console.print(table)
    if pair.differences:
        origin = _table("What differs in their origin", "", *headings)
        for tag, values in pair.differences.items():
            origin.add_row(_NAMES.get(tag, tag), *(escape(_short(tag, value)) for value in values))
        console.print(origin)
    else:
        console.print("Their origin is the same.")
    if duel is None:
        console.print(f"Not comparable prompt by prompt: {escape(obstacle)}. The figures above may come from different "
                      "measurements; `aelif run retrain` measures a candidate and the champion on the same prompts.",
                      highlight=False)  # fmt: skip
        return
    better, loss = duel["improvement"], duel["clean_loss"]
    console.print(f"On the same prompts and noise, version {pair.b.version} against version {pair.a.version}:\n"
                  f"  perturbed prompts: improvement {_share(better)}\n"
                  f"  clean prompts: distance {_share(loss)} (plus: worse)", highlight=False)  # fmt: skip


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _short(tag: str, value: str) -> str:
    return (value[:_DIGITS] if "digest" in tag or "sha" in tag or tag == "code_version" else value) or "–"


def _number(interval: Mapping[str, float | None] | None) -> str:
    value = interval["value"] if interval else None
    return "–" if value is None else f"{value:.3f}"


def _interval(interval: Mapping[str, float | None] | None) -> str:
    ends = [interval["low"], interval["high"]] if interval else []
    text = _number(interval)
    return text if not ends or None in ends else f"{text} ({ends[0]:.3f}–{ends[1]:.3f})"


def _share(interval: Mapping[str, float | None]) -> str:
    value, low, high = (interval[end] for end in ("value", "low", "high"))
    if value is None:
        return "not defined"
    return f"{value:+.1%}" if low is None or high is None else f"{value:+.1%} (interval {low:+.1%} to {high:+.1%})"
