"""Plots of distances with a row for each variant, or for each kind of error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aelif.report.champion import Duel, told
from aelif.report.drawing import (
    BOTTOM,
    MUTED,
    RULE,
    TOP,
    WIDE,
    Size,
    canvas,
    described,
    mark,
    row_axes,
    row_pitch,
    to_svg,
    upright_floor,
)
from aelif.report.series import read_series
from aelif.report.tables import family_names
from aelif.report.wording import Interval, distance, read_interval


def plot_distances(summary: Mapping[str, Any], size: Size) -> str:
    """Draw clean and perturbed distance of every variant with intervals, and the noise floor, as SVG."""
    series, told = read_series(summary), {}
    labels = [one.lines for one in series.values()]
    with canvas(size, TOP + BOTTOM + row_pitch(labels, size, 52) * len(series)) as figure:
        axes = row_axes(figure, size, labels, right=52)
        for row, one in enumerate(series.values()):
            entry = summary["variants"][one.name]
            for prompt_set, offset in (("clean", -0.17), ("perturbed", 0.17)):
                interval = read_interval(entry.get(prompt_set))
                mark(axes, interval, row + offset, style=one.style, hollow=prompt_set == "clean")
                axes.annotate(
                    distance(interval.value), (1, row + offset), (48, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", va="center", color=MUTED, fontsize=size.text - 1,
                )  # fmt: skip
            clean, perturbed = (distance(read_interval(entry.get(name)).value) for name in ("clean", "perturbed"))
            told[one.name] = f"{clean} clean, {perturbed} perturbed"
        upright_floor(axes, summary, size)
        axes.set_xlabel("distance to the training photos (W1)")
        return to_svg(figure, size, described("Distance on clean and perturbed prompts", told))


def plot_families(summary: Mapping[str, Any], shown: Sequence[str], size: Size) -> str:
    """Draw the distance by perturbation family, a row each, clean prompts as the first, as SVG.

    Args:
        summary: the public summary.
        shown: the variants to draw.
        size: of the drawing.
    """
    series, families = read_series(summary), ["clean", *family_names(summary)]
    pitch = 13 * len(shown) + 16
    told: dict[str, list[str]] = {family: [] for family in families}
    with canvas(size, TOP + BOTTOM + pitch * len(families)) as figure:
        axes = row_axes(figure, size, families, right=12)
        for number, name in enumerate(shown):
            entry, offset = summary["variants"][name], (number - (len(shown) - 1) / 2) * 13 / pitch
            for row, family in enumerate(families):
                figures = (entry.get("families") or {}).get(family, {})
                interval = read_interval(entry.get("clean") if family == "clean" else figures.get("distance"))
                mark(axes, interval, row + offset, style=series[name].style, hollow=family == "clean")
                told[family].append(f"{distance(interval.value)} {name}")
        for row in range(1, len(families)):
            axes.axhline(row - 0.5, color=RULE, linewidth=1, zorder=0)
        upright_floor(axes, summary, size)
        axes.set_xlabel("distance to the training photos (W1)")
        numbers = {family: ", ".join(texts) for family, texts in told.items()}
        return to_svg(figure, size, described("Distance by kind of error and variant", numbers))


def plot_duel(duel: Duel, size: Size) -> str:
    """Draw a model's improvement on the champion by kind of prompt with intervals, a row each, as SVG."""
    rows = [row for row in duel.rows if row.gain.value is not None]
    with canvas(size, TOP + BOTTOM + 30 * len(rows)) as figure:
        axes = row_axes(figure, size, [row.title for row in rows], right=16)
        for place, row in enumerate(rows):
            value, low, high = (
                None if end is None else 100 * end for end in (row.gain.value, row.gain.low, row.gain.high)
            )
            mark(axes, Interval(value=value, low=low, high=high), place, style=duel.model.style)
        axes.axvline(0, color=MUTED, linewidth=1.2, zorder=1)
        axes.margins(x=0.05)
        axes.locator_params(axis="x", nbins=8 if size is WIDE else 4)
        axes.set_xlabel("improvement on the champion, %")
        title = f"Improvement of {duel.model.name} on the champion, version {duel.version}"
        return to_svg(figure, size, described(title, told(duel)))
