"""What the page's tables of distances show, as plain rows for the template."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aelif.config import HELD_OUT, OUT_OF_DISTRIBUTION
from aelif.report.wording import (
    Interval,
    distance,
    distance_range,
    p_value,
    percent,
    percent_range,
    read_interval,
    share,
    share_range,
    significant,
    significant_range,
    summary_key,
)

RESULTS = ("clean", "perturbed", "excess_damage", "improvement_plain", "improvement_excess")
"""Columns of the main table, as the summary names them."""

_LOWER_IS_BETTER = frozenset({
    "clean", "perturbed", "distance", "excess_damage", "w2", "sliced_w2", "near_copies", "leakage", "leakage_perturbed",
})  # fmt: skip
_CHANGES = frozenset({"improvement_plain", "improvement_excess"})

Kind = Literal["distance", "change", "share", "any size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure, its interval below it, and whether it is the best of its column."""

    text: str
    ends: str
    best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant: its name in the summary, its cells."""

    name: str
    cells: tuple[Cell, ...]
    is_chosen: bool = False


def to_cell(interval: Interval, *, kind: Kind = "distance", best: bool = False) -> Cell:
    """Return an interval as text: a change in signed, a share in plain percent, anything else as a number."""
    if kind == "change":
        return Cell(text=percent(interval.value), ends=percent_range(interval), best=best)
    if kind == "share":
        return Cell(text=share(interval.value), ends=share_range(interval), best=best)
    if kind == "any size":
        return Cell(text=significant(interval.value), ends=significant_range(interval), best=best)
    return Cell(text=distance(interval.value), ends=distance_range(interval), best=best)


def kind_of(column: str) -> Kind:
    """Return how a column of the summary is written."""
    return "change" if column in _CHANGES else "share" if column in ("near_copies", "denoiser_share") else "distance"


def damage(entry: Mapping[str, Any]) -> Interval:
    """Return perturbed minus clean distance; without interval where the summary has none."""
    if "excess_damage" in entry:
        return read_interval(entry["excess_damage"])
    clean, perturbed = (read_interval(entry.get(name)).value for name in ("clean", "perturbed"))
    return read_interval(None if clean is None or perturbed is None else perturbed - clean)


def figure_rows(entries: Mapping[str, Mapping[str, Any]], columns: Sequence[str], chosen: str | None) -> list[Row]:
    """Return one row per variant with the best figure of every column marked.

    Nothing is best where one variant alone was measured, or where all do equally well.

    Args:
        entries: variant → what holds the columns.
        columns: as the summary names them.
        chosen: the variant to mark.
    """
    figures = {
        name: [damage(entry) if column == "excess_damage" else read_interval(entry.get(column)) for column in columns]
        for name, entry in entries.items()
    }
    best = [
        best_of([figures[name][index].value for name in entries], lowest=column in _LOWER_IS_BETTER)
        for index, column in enumerate(columns)
    ]
    return [
        Row(
            name=name,
            is_chosen=name == chosen,
            cells=tuple(
                to_cell(figure, kind=kind_of(column), best=figure.value is not None and figure.value == best[index])
                for index, (column, figure) in enumerate(zip(columns, figures[name], strict=True))
            ),
        )
        for name in entries
    ]


def best_of(values: Sequence[float | None], *, lowest: bool) -> float | None:
    """Return the best of the figures that were measured; None where fewer than two differ."""
    measured = [value for value in values if value is not None]
    if len(set(measured)) < 2:
        return None
    return min(measured) if lowest else max(measured)


def significance_cells(summary: Mapping[str, Any]) -> dict[str, Cell]:
    """Return variant → adjusted p value, with the unadjusted one below; empty where nothing was tested."""
    tests = {name: entry["test"] for name, entry in summary["variants"].items() if entry.get("test")}
    return {
        name: Cell(text=p_value(test["p_adjusted"]), ends=f"alone {p_value(test['p_value'])}")
        for name, test in tests.items()
    }


# ── Sets of prompts ────────────────────────────────────────────────────────────────────────────

SET_COLUMNS = ("distance", "improvement_plain", "improvement_excess", "clip_t")
"""Columns of the table of prompt sets, as the summary names them."""

_SETS = {
    "held_out": ("Errors of kinds that no training saw", "the honest test: none of them may be trained on or tuned by"),
    "tuning": ("Errors of the kinds that one may tune by", "a variant may have been chosen by these"),
    "out_of_distribution": ("The subject in new contexts", "no errors; the prompt asks for what no photo shows"),
    "class": ("The bare class prompt", "here a large distance is good: what is near the photos has leaked"),
    "class_perturbed": ("The class prompt with errors", "likewise: what is near the photos was called up by an error"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SetTable:
    """The variants' figures on one set of prompts."""

    name: str
    title: str
    meaning: str
    rows: tuple[Row, ...]


def set_tables(summary: Mapping[str, Any]) -> list[SetTable]:
    """Return the figures by set of prompts, of the sets that the run asked."""
    variants = summary["variants"]
    asked = [name for name in _SETS if any(name in (entry.get("sets") or {}) for entry in variants.values())]
    tables = []
    for name in asked:
        entries = {key: (entry.get("sets") or {}).get(name, {}) for key, entry in variants.items()}
        ranked = name in ("held_out", "tuning")
        rows = figure_rows(entries, SET_COLUMNS, None)
        if not ranked:
            rows = [Row(name=row.name, cells=tuple(Cell(text=c.text, ends=c.ends) for c in row.cells)) for row in rows]
        title, meaning = _SETS[name]
        tables.append(SetTable(name=name, title=title, meaning=meaning, rows=tuple(rows)))
    return tables


# ── Families and prompts ───────────────────────────────────────────────────────────────────────


def family_names(summary: Mapping[str, Any]) -> list[str]:
    """Return the perturbation families, the one that hurts the first variant most at the top."""
    hurt: dict[str, float] = {}
    for entry in summary["variants"].values():
        for family, figures in (entry.get("families") or {}).items():
            hurt.setdefault(family, read_interval(figures.get("distance")).value or 0.0)
    return sorted(hurt, key=lambda family: (-hurt[family], family))


def family_rows(
    summary: Mapping[str, Any], shown: Sequence[str]
) -> list[tuple[str, str, tuple[str, ...], list[tuple[Cell, Cell]]]]:
    """Return (family, its kind, its realised severities, per variant: distance and plain improvement)."""
    rows = []
    for family in family_names(summary):
        by_variant = [(summary["variants"][name].get("families") or {}).get(family, {}) for name in shown]
        cells = [
            (
                to_cell(read_interval(figures.get("distance"))),
                to_cell(read_interval(figures.get("improvement_plain")), kind="change"),
            )
            for figures in by_variant
        ]
        rows.append((family, family_kind(family), _severities(next(filter(None, by_variant), {})), cells))
    return rows


def family_kind(family: str) -> str:
    """Return whether one may tune by a family."""
    return "held out" if family in HELD_OUT else "context" if family in OUT_OF_DISTRIBUTION else "tuning"


def _severities(figures: Mapping[str, Any]) -> tuple[str, ...]:
    tokens, cosine = (read_interval(figures.get(name)).value for name in ("tokens_changed", "embedding_cosine"))
    number = figures.get("num_prompts")
    return (
        share(read_interval(figures.get("error_rate")).value),
        "–" if tokens is None else f"{tokens:.1f}",
        distance(cosine),
        "–" if number is None else f"{number:g}",
    )


def prompt_cell(figures: Mapping[str, Any], measured: float | None) -> Cell:
    """Return one variant's distance on one prompt, with interval and improvement where the summary has them."""
    own = read_interval(figures.get("distance", measured))
    gain = percent(read_interval(figures["improvement_plain"]).value) if "improvement_plain" in figures else ""
    return Cell(text=distance(own.value), ends=", ".join(part for part in (distance_range(own), gain) if part))


def prompt_distances(
    scores: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], *, metric: str = "w1"
) -> dict[str, dict[int, float]]:
    """Return variant (as the summary names it) → prompt_id → mean of `metric` over the seeds."""
    values: dict[str, dict[int, list[float]]] = {key: defaultdict(list) for key in summary["variants"]}
    keys = {text: summary_key(text, summary) for text in {row["variant"] for row in scores}}
    for row in scores:
        key = keys[row["variant"]]
        value = read_interval(row["value"]).value
        if key is not None and row["metric"] == metric and value is not None:
            values[key][row["prompt_id"]].append(value)
    return {
        key: {prompt_id: sum(numbers) / len(numbers) for prompt_id, numbers in by_prompt.items()}
        for key, by_prompt in values.items()
    }
