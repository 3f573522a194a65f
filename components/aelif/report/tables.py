"""What the page's tables show, as plain rows for the template."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aelif.report.wording import (
    Interval,
    distance,
    distance_range,
    percent,
    percent_range,
    read_interval,
    summary_key,
)

RESULTS = ("clean", "perturbed", "excess_damage", "improvement_plain", "improvement_excess")
"""Columns of the main table, as the summary names them."""

QUALITIES = ("w2", "clip_t", "clip_i", "diversity")
"""Columns of the second table: clean prompts only."""

_LOWER_IS_BETTER = frozenset({"clean", "perturbed", "excess_damage", "w2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure, its interval below it, and whether it is the best of its column."""

    text: str
    ends: str
    best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant: its name in the summary, its colour and marker, its cells."""

    name: str
    series: int
    cells: tuple[Cell, ...]
    is_champion: bool = False


def to_cell(interval: Interval, *, share: bool, best: bool = False) -> Cell:
    """Return an interval as text: a share in percent, anything else with three decimals."""
    if share:
        return Cell(text=percent(interval.value), ends=percent_range(interval), best=best)
    return Cell(text=distance(interval.value), ends=distance_range(interval), best=best)


def damage(entry: Mapping[str, Any]) -> Interval:
    """Return perturbed minus clean distance; without interval where the summary has none."""
    if "excess_damage" in entry:
        return read_interval(entry["excess_damage"])
    clean, perturbed = (read_interval(entry.get(name)).value for name in ("clean", "perturbed"))
    return read_interval(None if clean is None or perturbed is None else perturbed - clean)


def result_rows(summary: Mapping[str, Any], champion: str | None, columns: Sequence[str] = RESULTS) -> list[Row]:
    """Return one row per variant with the best figure of every column marked.

    Nothing is best where one variant alone was measured, or where all do equally well.
    """
    variants = summary["variants"]
    figures = {
        key: [damage(entry) if column == "excess_damage" else read_interval(entry.get(column)) for column in columns]
        for key, entry in variants.items()
    }
    best = [
        _best([figures[key][index].value for key in variants], lowest=column in _LOWER_IS_BETTER)
        for index, column in enumerate(columns)
    ]
    return [
        Row(
            name=key,
            series=series,
            is_champion=key == champion,
            cells=tuple(
                to_cell(
                    figure,
                    share=column.startswith("improvement"),
                    best=figure.value is not None and figure.value == best[index],
                )
                for index, (column, figure) in enumerate(zip(columns, figures[key], strict=True))
            ),
        )
        for series, key in enumerate(variants)
    ]


def _best(values: Sequence[float | None], *, lowest: bool) -> float | None:
    measured = [value for value in values if value is not None]
    if len(set(measured)) < 2:
        return None
    return min(measured) if lowest else max(measured)


def family_names(summary: Mapping[str, Any]) -> list[str]:
    """Return the perturbation families, the one that hurts the first variant most at the top."""
    hurt: dict[str, float] = {}
    for entry in summary["variants"].values():
        for family, figures in (entry.get("families") or {}).items():
            hurt.setdefault(family, read_interval(figures.get("distance")).value or 0.0)
    return sorted(hurt, key=lambda family: (-hurt[family], family))


def family_rows(summary: Mapping[str, Any]) -> list[tuple[str, list[tuple[Cell, Cell]]]]:
    """Return (family, per variant: distance and plain improvement)."""
    return [
        (
            family,
            [
                (
                    to_cell(read_interval(figures.get("distance")), share=False),
                    to_cell(read_interval(figures.get("improvement_plain")), share=True),
                )
                for entry in summary["variants"].values()
                for figures in [(entry.get("families") or {}).get(family, {})]
            ],
        )
        for family in family_names(summary)
    ]


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
    for row in scores:
        key = summary_key(row["variant"], summary)
        value = read_interval(row["value"]).value
        if key is not None and row["metric"] == metric and value is not None:
            values[key][row["prompt_id"]].append(value)
    return {
        key: {prompt_id: sum(numbers) / len(numbers) for prompt_id, numbers in by_prompt.items()}
        for key, by_prompt in values.items()
    }


def flatten(settings: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) of nested settings; lists of plain values stay on one line."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(settings, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in settings):
        for index, item in enumerate(settings):
            yield from flatten(item, f"{prefix}[{index}]")
    elif isinstance(settings, (list, tuple)):
        yield prefix, ", ".join(_plain(item) for item in settings)
    else:
        yield prefix, _plain(settings)


def _plain(value: Any) -> str:
    """Return a setting as a person writes it: kfp makes whole numbers floats on their way."""
    if value is None:
        return UNSET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


UNSET = "none"
"""How a setting without value is shown."""
