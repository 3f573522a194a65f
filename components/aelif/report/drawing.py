"""Drawings as inline SVG that takes its colours and its font from the page.

matplotlib draws with stand-in colours, which become CSS variables: one drawing serves light and
dark. Text stays text. The same numbers give the same bytes. Lengths are CSS pixels, 72 to the
inch of matplotlib.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aelif.report.series import NUM_STYLES
from aelif.report.wording import Interval, distance, read_interval

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*", "<", ">")
"""Marker of each style of `aelif.report.series`."""

_STAND_INS = {f"#fe00{index:02x}": f"var(--series-{index})" for index in range(NUM_STYLES)} | {
    "#fe0100": "var(--ink)",
    "#fe0101": "var(--muted)",
    "#fe0102": "var(--rule)",
    "#fe0103": "var(--paper)",
}
INK, MUTED, RULE, PAPER = list(_STAND_INS)[-4:]
TOP, BOTTOM = 30, 46
"""Room above and below the axes."""

DASHED = (0, (4, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Width of the drawing and size of its text."""

    name: str
    width: int
    text: int


WIDE = Size(name="wide", width=900, text=13)
NARROW = Size(name="narrow", width=360, text=11)
SIZES = (WIDE, NARROW)
"""Every plot is drawn in both; the style sheet shows the one that fits."""


def color(style: int) -> str:
    """Return the stand-in of a style's colour."""
    return list(_STAND_INS)[style % NUM_STYLES]


def text_width(text: str, size: Size) -> float:
    """Return about how wide a text is: its longest line."""
    return 0.6 * size.text * max(len(line) for line in text.split("\n"))


@contextmanager
def canvas(size: Size, height: float) -> Iterator[Figure]:
    """Yield an empty figure; what is drawn inside the block has the page's style."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({
        "svg.fonttype": "none", "text.parse_math": False, "path.simplify": False, "font.size": size.text,
        "figure.facecolor": "none", "axes.facecolor": "none", "axes.edgecolor": RULE, "axes.labelcolor": MUTED,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "axes.axisbelow": True,
        "axes.labelsize": size.text, "xtick.labelsize": size.text - 1, "ytick.labelsize": size.text,
        "xtick.color": RULE, "ytick.color": RULE, "xtick.labelcolor": MUTED, "ytick.labelcolor": INK,
        "ytick.left": False, "text.color": INK,
    }):  # fmt: skip
        yield Figure(figsize=(size.width / 72, height / 72), dpi=72)


def add_axes(figure: Figure, *, left: float, right: float, top: float = TOP, bottom: float = BOTTOM) -> Axes:
    """Add axes with these margins to the figure's edges."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    box = left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height
    axes: Axes = figure.add_axes(box)
    return axes


def row_pitch(labels: Sequence[str], size: Size, least: float) -> float:
    """Return the height of a row in which the highest of these labels has room."""
    return max(least, *((1.3 * size.text) * len(label.split("\n")) + 8 for label in labels))


def row_axes(figure: Figure, size: Size, labels: Sequence[str], *, right: float) -> Axes:
    """Add axes whose rows, the first at the top, bear these labels."""
    left = 14 + max(text_width(label, size) for label in labels)
    axes = add_axes(figure, left=min(left, 0.65 * size.width), right=right)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="x", color=RULE, linewidth=1)
    return axes


def mark(axes: Axes, interval: Interval, y: float, *, style: int, hollow: bool = False) -> None:
    """Draw a value and its interval at height `y`; nothing where it is undefined."""
    if interval.value is None:
        return
    if interval.low is not None and interval.high is not None:
        axes.plot([interval.low, interval.high], [y, y], color=color(style), linewidth=2, solid_capstyle="butt",
                  zorder=2)  # fmt: skip
    marker(axes, interval.value, y, style=style, hollow=hollow)


def marker(axes: Axes, x: float, y: float, *, style: int, hollow: bool = False, size: float = 8) -> None:
    """Draw a style's marker."""
    shape = MARKERS[style % NUM_STYLES]
    axes.plot([x], [y], shape, color=PAPER if hollow else color(style), markersize=size * (1.35 if shape == "*" else 1),
              markeredgecolor=color(style), markeredgewidth=2 if shape != "*" else 1.2, zorder=3)  # fmt: skip


def upright_floor(axes: Axes, summary: Mapping[str, Any], size: Size) -> None:
    """Draw the noise floor as a dashed upright line, its interval as a band, and leave room beside them."""
    floor = read_interval(summary.get("noise_floor"))
    if floor.value is not None:
        if floor.low is not None and floor.high is not None:
            axes.axvspan(floor.low, floor.high, color=MUTED, alpha=0.12, linewidth=0, zorder=0)
        axes.axvline(floor.value, color=MUTED, linewidth=1.2, linestyle=DASHED, zorder=1)
        axes.annotate(
            f"noise floor {distance(floor.value)}", (floor.value, 1), (0, 6), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=MUTED, fontsize=size.text - 1,
        )  # fmt: skip
    axes.margins(x=0.04)
    axes.locator_params(axis="x", nbins=8 if size is WIDE else 4)


def described(title: str, figures: Mapping[str, str]) -> str:
    """Return a plot's text alternative: what it shows, and its key numbers by series."""
    numbers = "; ".join(f"{name} {text}" for name, text in figures.items())
    return f"{title}: {numbers}." if numbers else f"{title}."


def to_svg(figure: Figure, size: Size, alternative: str) -> str:
    """Return the figure as an inline `<svg>` element without namespaces, fonts or fixed colours.

    Args:
        figure: drawn in `canvas`.
        size: its size.
        alternative: what a listener hears in its place; must differ between the plots of a page.
    """
    import matplotlib

    buffer = io.StringIO()
    # ids are hashes of this salt: two drawings of one page must not share them
    with matplotlib.rc_context({"svg.hashsalt": f"{alternative}/{size.name}"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<(metadata|style)\b.*?</\1>", "", body, flags=re.DOTALL).replace("xlink:href", "href")
    body = re.sub(r' id="(?![a-z][0-9a-f]{10}")[^"]*"', "", body)  # "figure_1" occurs in every drawing
    body = re.sub(r"font: ?([0-9.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family:[^;\"]*;?", "", body)
    body = re.sub(r"#fe0[01][0-9a-f]{2}", lambda match: _STAND_INS[match.group()], body)
    view_box = svg.partition('viewBox="')[2].partition('"')[0]
    return (
        f'<svg class="plot {size.name}" viewBox="{view_box}" role="img" '
        f'aria-label="{html.escape(alternative)}">' + re.sub(r"\n\s*", "\n", body).strip()
    )
