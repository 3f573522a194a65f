"""The page's plots as inline SVG that takes its colours and its font from the page.

matplotlib draws with stand-in colours, which become CSS variables: one drawing serves light and
dark. Text stays text. The same numbers give the same bytes.
"""

from __future__ import annotations

import html
import io
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aelif.report.tables import family_names, prompt_distances
from aelif.report.wording import Interval, distance, read_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "D", "^", "v", "P", "X")
"""Marker of each series; with the colour it repeats after seven."""

ERROR_BANDS = (5.0, 10.0, 20.0, 40.0)
"""Upper limits, in percent, of the error rates over which the curve takes means."""

_STAND_INS = {f"#fe00{index:02x}": f"var(--series-{index})" for index in range(len(MARKERS))} | {
    "#fe0100": "var(--ink)",
    "#fe0101": "var(--muted)",
    "#fe0102": "var(--rule)",
    "#fe0103": "var(--paper)",
}
_TOP, _BOTTOM = 30, 46
_MARGIN_Y = _TOP + _BOTTOM
_INK, _MUTED, _RULE, _PAPER = list(_STAND_INS)[-4:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Width of the drawing and size of its text, in CSS pixels."""

    name: str
    width: int
    text: int


WIDE = Size(name="wide", width=900, text=13)
NARROW = Size(name="narrow", width=360, text=11)


def plot_distances(summary: Mapping[str, Any], size: Size) -> str:
    """Draw clean and perturbed distance of every variant with intervals, and the noise floor, as SVG."""
    variants = summary["variants"]
    with _drawing(size, height=_MARGIN_Y + 52 * len(variants), labels=list(variants), right=52) as (figure, axes):
        for row, entry in enumerate(variants.values()):
            for prompt_set, offset in (("clean", -0.17), ("perturbed", 0.17)):
                interval = read_interval(entry.get(prompt_set))
                _mark(axes, interval, row + offset, series=row, hollow=prompt_set == "clean")
                axes.annotate(
                    distance(interval.value), (1, row + offset), (48, 0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", ha="right", va="center", color=_MUTED, fontsize=size.text - 1,
                )  # fmt: skip
        _rows(axes, list(variants))
        _floor(axes, summary, size)
        axes.set_xlabel("distance to the training photos (W1)")
        return _to_svg(figure, size, "Distance on clean and perturbed prompts, by variant, with intervals")


def plot_families(summary: Mapping[str, Any], size: Size) -> str:
    """Draw the distance by perturbation family, a row each, clean prompts as the first, as SVG."""
    variants, families = summary["variants"], ["clean", *family_names(summary)]
    pitch = 13 * len(variants) + 16
    with _drawing(size, height=_MARGIN_Y + pitch * len(families), labels=families, right=12) as (figure, axes):
        for series, entry in enumerate(variants.values()):
            offset = (series - (len(variants) - 1) / 2) * 13 / pitch
            for row, family in enumerate(families):
                figures = (entry.get("families") or {}).get(family, {})
                interval = read_interval(entry.get("clean") if family == "clean" else figures.get("distance"))
                _mark(axes, interval, row + offset, series=series, hollow=family == "clean")
        for row in range(1, len(families)):
            axes.axhline(row - 0.5, color=_RULE, linewidth=1, zorder=0)
        _rows(axes, families)
        _floor(axes, summary, size)
        axes.set_xlabel("distance to the training photos (W1)")
        return _to_svg(figure, size, "Distance by perturbation family and variant, with intervals")


def plot_error_rate(
    summary: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], prompts: Sequence[Mapping[str, Any]], size: Size
) -> str:
    """Draw the distance of every prompt against its realised character error rate, as SVG.

    Points are prompts (means over seeds); lines join the means over `ERROR_BANDS`.
    """
    rates = {prompt["prompt_id"]: prompt["character_error_rate"] for prompt in prompts}
    height = 380 if size is WIDE else 320
    with _drawing(size, height=height, labels=["0.000"], right=14) as (figure, axes):
        for series, values in enumerate(prompt_distances(scores, summary).values()):
            points = sorted((100 * rates[key], value) for key, value in values.items() if key in rates)
            color, marker = _color(series), MARKERS[series % len(MARKERS)]
            axes.plot([x for x, _ in points], [y for _, y in points], marker, color=color, alpha=0.55, markersize=5,
                      markeredgewidth=0, zorder=2)  # fmt: skip
            groups = error_rate_groups(points)
            x, low, mid, high = ([group[column] for group in groups] for column in range(4))
            axes.fill_between(x, low, high, color=color, alpha=0.13, linewidth=0, zorder=1)
            axes.plot(x, mid, color=color, linewidth=2, zorder=3)
        floor = read_interval(summary.get("noise_floor")).value
        if floor is not None:
            axes.axhline(floor, color=_MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate("noise floor", (1, floor), (0, 5), xycoords=("axes fraction", "data"), ha="right",
                          textcoords="offset points", color=_MUTED, fontsize=size.text - 1)  # fmt: skip
        axes.grid(axis="y", color=_RULE, linewidth=1)
        axes.margins(x=0.02)
        axes.set_xlabel("character error rate of the prompt, %")
        axes.set_title("distance to the training photos (W1)", loc="left", fontsize=size.text, color=_MUTED, pad=8)
        return _to_svg(figure, size, "Distance of every prompt against its character error rate, by variant")


def error_rate_groups(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """Return (x, low, mean, high) of the clean prompts and of each band of error rates that has any.

    `x` is the mean error rate of the band's prompts; low and high are one standard error of the
    mean below and above it. A prompt alone in its band, which would seem to have no error at all,
    joins the next band, or the last one before it.

    Args:
        points: (error rate in percent, distance) of each prompt.
    """
    clean = [point for point in points if point[0] <= 0]
    groups, pending = ([clean] if clean else []), []
    for low, high in itertools.pairwise((0.0, *ERROR_BANDS, math.inf)):
        pending += [point for point in points if low < point[0] <= high]
        if len(pending) > 1:
            groups.append(pending)
            pending = []
    if pending and groups and groups[-1] is not clean:
        groups[-1] += pending
    elif pending:
        groups.append(pending)
    return [_group(group) for group in groups]


def _group(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    number = len(points)
    x, mean = (sum(point[axis] for point in points) / number for axis in (0, 1))
    variance = sum((y - mean) ** 2 for _, y in points) / max(1, number - 1)
    error = math.sqrt(variance / number)
    return x, mean - error, mean, mean + error


# ── Drawing ────────────────────────────────────────────────────────────────────────────────────


def _color(series: int) -> str:
    return list(_STAND_INS)[series % len(MARKERS)]


@contextmanager
def _drawing(size: Size, *, height: int, labels: Sequence[str], right: int) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure whose one axes leaves room for the row labels; sizes in CSS pixels (72 to the inch)."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({
        "svg.fonttype": "none", "text.parse_math": False, "path.simplify": False, "font.size": size.text,
        "figure.facecolor": "none", "axes.facecolor": "none", "axes.edgecolor": _RULE, "axes.labelcolor": _MUTED,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.axisbelow": True,
        "axes.labelsize": size.text, "xtick.labelsize": size.text - 1, "ytick.labelsize": size.text,
        "xtick.color": _RULE, "ytick.color": _RULE, "xtick.labelcolor": _MUTED, "ytick.labelcolor": _INK,
        "ytick.left": False, "text.color": _INK,
    }):  # fmt: skip
        figure = Figure(figsize=(size.width / 72, height / 72), dpi=72)
        left = 14 + 0.6 * size.text * max(len(label) for label in labels)
        plot = (size.width - left - right) / size.width, (height - _MARGIN_Y) / height
        axes = figure.add_axes((left / size.width, _BOTTOM / height, *plot))
        yield figure, axes


def _mark(axes: Axes, interval: Interval, y: float, *, series: int, hollow: bool) -> None:
    """Draw a value and its interval at height `y`; nothing where it is undefined."""
    if interval.value is None:
        return
    color = _color(series)
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low, interval.high], [y, y], color=color, linewidth=2, solid_capstyle="butt", zorder=2)
    axes.plot([interval.value], [y], MARKERS[series % len(MARKERS)], color=_PAPER if hollow else color, markersize=8,
              markeredgecolor=color, markeredgewidth=2, zorder=3)  # fmt: skip


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x", color=_RULE, linewidth=1)


def _floor(axes: Axes, summary: Mapping[str, Any], size: Size) -> None:
    """Draw the noise floor as a dashed upright line, its interval as a band, and leave room beside them."""
    floor = read_interval(summary.get("noise_floor"))
    if floor.value is not None:
        if floor.low is not None and floor.high is not None:
            axes.axvspan(floor.low, floor.high, color=_MUTED, alpha=0.12, linewidth=0, zorder=0)
        axes.axvline(floor.value, color=_MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"noise floor {distance(floor.value)}", (floor.value, 1), (0, 6), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=_MUTED, fontsize=size.text - 1,
        )  # fmt: skip
    axes.margins(x=0.04)
    axes.locator_params(axis="x", nbins=8 if size is WIDE else 4)


def _to_svg(figure: Figure, size: Size, title: str) -> str:
    """Return the figure as an inline `<svg>` element without namespaces, fonts or fixed colours."""
    import matplotlib

    buffer = io.StringIO()
    # ids are hashes of this salt: two drawings of one page must not share them
    with matplotlib.rc_context({"svg.hashsalt": f"{title}/{size.name}"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL).replace("xlink:href", "href")
    body = re.sub(r' id="(?![a-z][0-9a-f]{10}")[^"]*"', "", body)  # "figure_1" occurs in every drawing
    body = re.sub(r"font: ?([0-9.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family:[^;\"]*;?", "", body)
    body = re.sub(r"#fe0[01][0-9a-f]{2}", lambda match: _STAND_INS[match.group()], body)
    _, _, width, height = re.search(r'viewBox="([^"]*)"', svg).group(1).split()  # type: ignore[union-attr]
    return (
        f'<svg class="plot {size.name}" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(title)}">'
        + re.sub(r"\n\s*", "\n", body).strip()
    )
