"""How the distance grows: with the errors in a prompt, with stress on its embeddings, and what of it is whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aelif.report.drawing import (
    BOTTOM,
    DASHED,
    INK,
    MARKERS,
    MUTED,
    RULE,
    TOP,
    WIDE,
    Size,
    add_axes,
    canvas,
    color,
    described,
    marker,
    row_axes,
    row_pitch,
    text_width,
    to_svg,
)
from aelif.report.series import Series, read_series
from aelif.report.tables import prompt_distances
from aelif.report.wording import distance, read_interval, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_DOTS = 900
"""More prompts than these, over all series, are not drawn one by one."""

_MAX_BANDS = 4
_GAP = 26
_AXIS_LABEL = "distance to the training photos (W1)"


def plot_error_curve(
    summary: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    shown: Sequence[str],
    size: Size,
) -> str:
    """Draw the distance against the realised character error rate, by nominal severity, as SVG.

    Dots are prompts (means over seeds); lines join the means of each severity, bands are their intervals.

    Args:
        summary: the public summary.
        scores: rows of `artifacts.score_schema`.
        prompts: rows of `artifacts.prompt_schema`; clean and perturbed ones are drawn.
        shown: the variants to draw.
        size: of the drawing.
    """
    series = read_series(summary)
    rates = {
        row["prompt_id"]: 100 * (row["character_error_rate"] or 0.0)
        for row in prompts
        if row["prompt_set"] in ("clean", "perturbed")
    }
    dots = {name: values for name, values in prompt_distances(scores, summary).items() if name in shown}
    with canvas(size, 380 if size is WIDE else 320) as figure:
        axes = add_axes(figure, left=14 + text_width("0.000", size), right=14)
        if len(rates) * len(dots) <= MAX_DOTS:
            for name, values in dots.items():
                _dots(axes, [(rates[key], value) for key, value in values.items() if key in rates], series[name].style)
        curves = {
            name: [row for row in summary["variants"][name].get("curve") or [] if row["error_rate"] is not None]
            for name in shown
        }
        for name, curve in curves.items():
            _line(axes, series[name], [(100 * row["error_rate"], row["distance"]) for row in curve], shown)
        _finish(axes, summary, size, "character error rate of the prompt, %")
        told = {name: _said(points) for name, points in curves.items() if points}
        return to_svg(figure, size, described("Distance against the share of wrong characters", told))


def _dots(axes: Axes, points: Sequence[tuple[float, float]], style: int) -> None:
    axes.plot([x for x, _ in points], [y for _, y in points], MARKERS[style], color=color(style), alpha=0.4,
              markersize=4, markeredgewidth=0, zorder=2)  # fmt: skip


def _said(curve: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{distance(read_interval(row['distance']).value)} at {share(row['error_rate'])}" for row in curve)


def plot_stress(summary: Mapping[str, Any], shown: Sequence[str], size: Size) -> str:
    """Draw the distance against the magnitude of stress, small multiples by augmentation, as SVG."""
    names = stress_names(summary)
    side_by_side = size is WIDE and len(names) > 1
    panel = 300 if size is WIDE else 250
    left, right = 14 + text_width("0.000", size), 14
    told: dict[str, str] = {}
    width = (size.width - left - right - _GAP * (len(names) - 1)) / len(names)
    with canvas(size, panel if side_by_side else panel * len(names)) as figure:
        first = None
        for number, augmentation in enumerate(names):
            if side_by_side:
                start = left + number * (width + _GAP)
                axes = add_axes(figure, left=start, right=size.width - start - width, top=TOP + 22)
            else:
                below = panel * (len(names) - 1 - number)
                axes = add_axes(figure, left=left, right=right, top=panel * number + TOP + 22, bottom=BOTTOM + below)
            if first is not None:
                axes.sharey(first)
                axes.tick_params(labelleft=not side_by_side)
            first = first or axes
            told |= _stress_panel(axes, summary, augmentation, shown, size)
        return to_svg(figure, size, described("Distance under stress on the embeddings", told))


def _stress_panel(
    axes: Axes, summary: Mapping[str, Any], augmentation: str, shown: Sequence[str], size: Size
) -> dict[str, str]:
    """Draw one augmentation's curves and return what they say."""
    series, told = read_series(summary), {}
    for name in shown:
        points = (summary["variants"][name].get("stress") or {}).get(augmentation) or []
        _line(axes, series[name], [(row["severity"], row["distance"]) for row in points], shown)
        if points:
            told[f"{augmentation}, {name}"] = (
                f"{distance(read_interval(points[0]['distance']).value)} without, "
                f"{distance(read_interval(points[-1]['distance']).value)} at {points[-1]['severity']:g}"
            )
    _finish(axes, summary, size, "magnitude when images are generated")
    axes.set_title(augmentation, loc="left", fontsize=size.text, color=INK, pad=26, fontweight="bold")
    axes.annotate(_AXIS_LABEL, (0, 1), (0, 9), xycoords="axes fraction", textcoords="offset points", color=MUTED,
                  fontsize=size.text - 1)  # fmt: skip
    return told


def stress_names(summary: Mapping[str, Any]) -> list[str]:
    """Return the augmentations that any variant was put under when images were generated."""
    return list(dict.fromkeys(name for entry in summary["variants"].values() for name in entry.get("stress") or {}))


def _line(axes: Axes, one: Series, points: Sequence[tuple[float, Any]], shown: Sequence[str]) -> None:
    """Draw a curve with its band; where curves are many, the bands of the later ones are left to the table."""
    read = [(x, read_interval(raw)) for x, raw in points]
    known = [(x, interval.value) for x, interval in read if interval.value is not None]
    if list(shown).index(one.name) < _MAX_BANDS:
        ends = [(x, i.low, i.high) for x, i in read if i.low is not None and i.high is not None]
        axes.fill_between([x for x, _, _ in ends], [low for _, low, _ in ends], [high for _, _, high in ends],
                          color=color(one.style), alpha=0.12, linewidth=0, zorder=1)  # fmt: skip
    axes.plot([x for x, _ in known], [y for _, y in known], color=color(one.style), linewidth=2,
              zorder=3)  # fmt: skip
    for x, y in known:
        marker(axes, x, y, style=one.style, size=5.5)


def _finish(axes: Axes, summary: Mapping[str, Any], size: Size, x_label: str) -> None:
    floor = read_interval(summary.get("noise_floor")).value
    if floor is not None:
        axes.axhline(floor, color=MUTED, linewidth=1.2, linestyle=DASHED, zorder=1)
        axes.annotate("noise floor", (1, floor), (0, 5), xycoords=("axes fraction", "data"), ha="right",
                      textcoords="offset points", color=MUTED, fontsize=size.text - 1)  # fmt: skip
    axes.grid(axis="y", color=RULE, linewidth=1)
    axes.margins(x=0.03, y=0.06)
    axes.locator_params(axis="y", nbins=6)
    axes.set_xlabel(x_label)
    axes.set_title(_AXIS_LABEL, loc="left", fontsize=size.text - 1, color=MUTED, pad=8)


def has_split(summary: Mapping[str, Any]) -> list[str]:
    """Return the variants whose damage is split between denoiser and text encoder."""
    return [name for name, entry in summary["variants"].items() if entry.get("split")]


def plot_split(summary: Mapping[str, Any], size: Size) -> str:
    """Draw the damage of errors as stacked bars: the denoiser's part, the text encoder's, and their sum, as SVG."""
    series, names, told = read_series(summary), has_split(summary), {}
    labels = [series[name].lines for name in names]
    with canvas(size, TOP + BOTTOM + row_pitch(labels, size, 44) * len(names)) as figure:
        axes = row_axes(figure, size, labels, right=24)
        for row, name in enumerate(names):
            split, style = summary["variants"][name]["split"], color(series[name].style)
            parts = [read_interval(split[f"{part}_damage"]).value or 0.0 for part in ("denoiser", "text_encoder")]
            axes.barh(row, parts[0], 0.42, color=style, linewidth=0, zorder=2)
            start = parts[0] if parts[0] * parts[1] > 0 else 0.0  # parts of unlike sign grow apart from zero
            axes.barh(row, parts[1], 0.42, left=start, color=style, alpha=0.35, linewidth=0, zorder=2)
            whole = read_interval(split["string_damage"])
            if whole.value is not None:
                ends = [whole.low if whole.low is not None else whole.value,
                        whole.high if whole.high is not None else whole.value]  # fmt: skip
                axes.plot(ends, [row + 0.32] * 2, color=INK, linewidth=1.5, zorder=3)
                axes.plot([whole.value], [row + 0.32], "|", color=INK, markersize=8, markeredgewidth=2, zorder=4)
            told[name] = (f"{distance(whole.value)}, of it denoiser {distance(parts[0])} and text encoder "
                          f"{distance(parts[1])}")  # fmt: skip
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        axes.locator_params(axis="x", nbins=8 if size is WIDE else 4)
        axes.margins(x=0.06)
        axes.set_xlabel("damage of errors: perturbed − clean distance")
        return to_svg(figure, size, described("Damage of errors by its source", told))
