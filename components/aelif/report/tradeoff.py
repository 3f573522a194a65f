"""Clean fidelity against robustness: the Pareto plot, and tables over grids of two settings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aelif.report.drawing import (
    MUTED,
    RULE,
    WIDE,
    Size,
    add_axes,
    canvas,
    color,
    described,
    marker,
    text_width,
    to_svg,
)
from aelif.report.labels import place_labels
from aelif.report.series import MANY, Series, read_series, symbol
from aelif.report.tables import Cell, to_cell
from aelif.report.wording import distance, read_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED = ("clean", "perturbed")


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names that no other point beats, by their first coordinate.

    A point beats another if it is smaller in one coordinate and not larger in the other.
    """

    def is_beaten(name: str) -> bool:
        x, y = points[name]
        return any(a <= x and b <= y and (a, b) != (x, y) for a, b in points.values())

    return sorted((name for name in points if not is_beaten(name)), key=lambda name: (points[name], name))


def tradeoff_points(summary: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return name → (clean, perturbed) distance of the variants that have both."""
    points = {}
    for name, entry in summary["variants"].items():
        x, y = (read_interval(entry.get(prompt_set)).value for prompt_set in _NAMED)
        if x is not None and y is not None:
            points[name] = (x, y)
    return points


def plot_tradeoff(summary: Mapping[str, Any], size: Size) -> str:
    """Draw every variant's clean distance against its perturbed one, with intervals and the front, as SVG."""
    series, points = read_series(summary), tradeoff_points(summary)
    front, is_crowded = pareto_front(points), len(points) > MANY
    left = 20 + text_width("0.000", size)
    with canvas(size, 470 if size is WIDE else 360) as figure:
        axes = add_axes(figure, left=left, right=20)
        line = [points[name] for name in front]
        axes.plot([x for x, _ in line], [y for _, y in line], color=MUTED, linewidth=1.5, zorder=1)
        for name, (x, y) in points.items():
            _cross(axes, summary["variants"][name], x, y, series[name], alpha=0.2 if is_crowded else 0.45)
            marker(axes, x, y, style=series[name].style, size=9)
        axes.grid(color=RULE, linewidth=1)
        axes.margins(0.09)
        if is_crowded:  # intervals as wide as the whole cloud would press it into a corner
            axes.set_xlim(*_around([x for x, _ in points.values()]))
            axes.set_ylim(*_around([y for _, y in points.values()]))
        axes.locator_params(nbins=7 if size is WIDE else 4)
        axes.set_xlabel("distance on clean prompts (W1)")
        axes.set_title("distance on perturbed prompts (W1)", loc="left", fontsize=size.text - 1, color=MUTED, pad=8)
        _labels(axes, {name: series[name].short for name in points}, points, size)
        told = {
            name: f"{distance(x)} clean, {distance(y)} perturbed{', on the front' if name in front else ''}"
            for name, (x, y) in points.items()
        }
        return to_svg(figure, size, described("Clean distance against perturbed distance", told))


def _cross(axes: Axes, entry: Mapping[str, Any], x: float, y: float, one: Series, *, alpha: float) -> None:
    """Draw the two intervals of a variant as a thin cross."""
    across, upright = (read_interval(entry[prompt_set]) for prompt_set in _NAMED)
    style: dict[str, Any] = {"color": color(one.style), "linewidth": 1.2, "alpha": alpha, "zorder": 2}
    if across.low is not None and across.high is not None:
        axes.plot([across.low, across.high], [y, y], **style)
    if upright.low is not None and upright.high is not None:
        axes.plot([x, x], [upright.low, upright.high], **style)


def _around(values: Sequence[float]) -> tuple[float, float]:
    """Return limits that leave the values, and their labels, some room."""
    low, high = min(values), max(values)
    room = 0.2 * (high - low) or 0.1
    return low - room, high + room


def _labels(axes: Axes, texts: Mapping[str, str], points: Mapping[str, tuple[float, float]], size: Size) -> None:
    """Write a label beside every point, with a thin line to those that found room further off alone."""
    window = axes.get_window_extent()  # pixels are CSS pixels: 72 to the inch
    width_px, height_px = float(window.width), float(window.height)
    (x_low, x_high), (y_low, y_high) = axes.get_xlim(), axes.get_ylim()
    spots = {
        name: ((x - x_low) / (x_high - x_low) * width_px, (y - y_low) / (y_high - y_low) * height_px)
        for name, (x, y) in points.items()
    }
    small = size.text - 1
    line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.8, "shrinkA": 1, "shrinkB": 6}
    boxes = {name: (0.58 * small * len(text), 1.25 * small) for name, text in texts.items()}
    places = place_labels(spots, boxes, (width_px, height_px))
    for name, (dx, dy) in places.items():
        width, height = boxes[name]
        far = math.hypot(max(0.0, abs(dx) - width / 2), max(0.0, abs(dy) - height / 2)) > 14
        axes.annotate(
            texts[name], points[name], (dx, dy), textcoords="offset points", ha="center", va="center",
            fontsize=small, zorder=5,
            arrowprops=line if far else None,
        )  # fmt: skip


def tradeoff_rows(summary: Mapping[str, Any]) -> list[tuple[str, Cell, Cell, bool]]:
    """Return (name, clean, perturbed, on the front) of every variant."""
    front = set(pareto_front(tradeoff_points(summary)))
    return [
        (name, *(to_cell(read_interval(entry.get(prompt_set))) for prompt_set in _NAMED), name in front)
        for name, entry in summary["variants"].items()
    ]


# ── Grids of two settings ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """The distance at one pair of settings, and how dark its ground is: 0 for the least of the table, 100."""

    cell: Cell
    heat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatTable:
    """The distance of one augmentation's variants over two of its settings."""

    augmentation: str
    prompt_set: str
    down: str
    across: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell | None, ...]], ...]


def heat_tables(summary: Mapping[str, Any]) -> list[HeatTable]:
    """Return tables of the augmentations of which just two settings vary, both numbers: one for either distance."""
    groups: dict[str, list[Series]] = defaultdict(list)
    for one in read_series(summary).values():
        if one.parameters:
            groups[one.augmentation].append(one)
    return [
        _heat_table(summary, members, prompt_set, *varying)
        for members in groups.values()
        for varying in [_varying(members)]
        if len(varying) == 2
        for prompt_set in _NAMED
    ]


def _varying(members: Sequence[Series]) -> list[str]:
    """Return the settings that differ between variants, if all have the same ones and those are numbers."""
    names = list(members[0].parameters)
    if any(list(one.parameters) != names for one in members):
        return []
    varying = [name for name in names if len({one.parameters[name] for one in members}) > 1]
    return varying if all(_is_number(one.parameters[name]) for one in members for name in varying) else []


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("e-", "", 1).isdigit()


def _heat_table(
    summary: Mapping[str, Any], members: Sequence[Series], prompt_set: str, down: str, across: str
) -> HeatTable:
    by_place = {(one.parameters[down], one.parameters[across]): one.name for one in members}
    figures = {place: read_interval(summary["variants"][name].get(prompt_set)) for place, name in by_place.items()}
    known = [figure.value for figure in figures.values() if figure.value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)

    def cells(row: str) -> Iterator[HeatCell | None]:
        for column in columns:
            figure = figures.get((row, column))
            if figure is None or figure.value is None:
                yield None
                continue
            share = (figure.value - low) / (high - low) if high > low else 0.0
            yield HeatCell(cell=to_cell(figure, best=figure.value == low < high), heat=round(100 * share))

    rows, columns = (sorted({place[axis] for place in by_place}, key=float) for axis in (0, 1))
    return HeatTable(
        augmentation=members[0].augmentation,
        prompt_set=prompt_set,
        down=symbol(down),
        across=symbol(across),
        columns=tuple(columns),
        rows=tuple((row, tuple(cells(row))) for row in rows),
    )
