"""One page for several runs that are parts of one study: the paper's table on two base models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelif.artifacts import new_file, read_json
from aelif.config import BASELINE
from aelif.report.claim import CLAIM, claim_sentences, mean_improvements
from aelif.report.drawing import (
    BOTTOM,
    DASHED,
    INK,
    MUTED,
    RULE,
    SIZES,
    TOP,
    WIDE,
    Size,
    canvas,
    described,
    mark,
    row_axes,
    to_svg,
)
from aelif.report.series import read_series
from aelif.report.tables import Cell, kind_of, significance_cells, to_cell
from aelif.report.template import environment
from aelif.report.wording import Interval, percent, read_interval

MEAN = "mean of the parts"
_COLUMNS = ("clean", "perturbed", "improvement_plain", "improvement_excess")


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewRow:
    """One variant of one part; of the baseline, improvements are undefined."""

    part: str
    variant: str
    clean: Interval
    perturbed: Interval
    improvement_plain: Interval
    improvement_excess: Interval
    significance: Cell | None
    """Adjusted p value, where the part was tested."""

    @property
    def cells(self) -> list[Cell]:
        """The figures as texts, in the order of the table."""
        return [to_cell(getattr(self, name), kind=kind_of(name)) for name in _COLUMNS]


def overview_rows(parts: Mapping[str, Mapping[str, Any]]) -> list[OverviewRow]:
    """Return a row for every part and variant, in their order.

    Args:
        parts: name → summary of a run.
    """
    return [
        OverviewRow(
            part=part,
            variant=name,
            significance=significance_cells(summary).get(name),
            **{column: read_interval(entry.get(column)) for column in _COLUMNS},
        )
        for part, summary in parts.items()
        for name, entry in summary["variants"].items()
    ]


def plot_overview(parts: Mapping[str, Mapping[str, Any]], size: Size) -> str:
    """Draw the plain improvement of every variant by part and on average, with intervals, as SVG."""
    means, told = mean_improvements(parts), {}
    styles = {
        name: one.style for summary in reversed(list(parts.values())) for name, one in read_series(summary).items()
    }
    groups = [*parts, MEAN] if len(parts) > 1 else list(parts)
    labels = [group.replace("-", "-\n", 1) if size is not WIDE else group for group in groups]
    pitch = 15 * len(means) + 18
    with canvas(size, TOP + BOTTOM + pitch * len(groups)) as figure:
        axes = row_axes(figure, size, labels, right=16)
        for row, group in enumerate(groups):
            for number, name in enumerate(means):
                raw = means[name] if group == MEAN else parts[group]["variants"].get(name, {}).get("improvement_plain")
                interval = _in_percent(read_interval(raw))
                mark(axes, interval, row + (number - (len(means) - 1) / 2) * 15 / pitch, style=styles[name])
                told[f"{group}, {name}"] = percent(read_interval(raw).value)
            if row:
                axes.axhline(row - 0.5, color=INK if group == MEAN else RULE, linewidth=1, zorder=0)
        axes.axvline(0, color=MUTED, linewidth=1.2, zorder=1)
        axes.axvline(100 * CLAIM, color=MUTED, linewidth=1.2, linestyle=DASHED, zorder=1)
        axes.annotate("the paper’s figure", (100 * CLAIM, 1), (0, 6), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="right", color=MUTED, fontsize=size.text - 1)  # fmt: skip
        axes.margins(x=0.05)
        axes.locator_params(axis="x", nbins=8 if size is WIDE else 4)
        axes.set_xlabel("plain improvement on perturbed prompts, %")
        return to_svg(figure, size, described("Plain improvement over the baseline", told))


def _in_percent(interval: Interval) -> Interval:
    value, low, high = (None if end is None else 100 * end for end in (interval.value, interval.low, interval.high))
    return Interval(value=value, low=low, high=high)


def render_overview(parts: Mapping[str, Mapping[str, Any]], links: Mapping[str, str]) -> str:
    """Return the page; the same input gives the same text.

    Args:
        parts: name → summary of a run, in the order to show.
        links: name → address of the part's own report, relative to the page.
    """
    headline, lead = claim_sentences(parts)
    series = {name: one for summary in reversed(list(parts.values())) for name, one in read_series(summary).items()}
    rows = overview_rows(parts)
    means = [mean_improvements(parts, kind=kind) for kind in _COLUMNS[2:]]
    return environment().get_template("overview.html.jinja").render(
        headline=headline, lead=lead, links=links, series=series, notes=list(_notes(parts)),
        groups=[(part, [row for row in rows if row.part == part]) for part in parts],
        means=[(name, *(to_cell(read_interval(mean[name]), kind="change") for mean in means)) for name in means[0]],
        confidences=sorted({f"{100 * summary.get('confidence', 0.95):g}\u202f%" for summary in parts.values()}),
        shown=[one for name, one in series.items() if name != BASELINE],
        plots=[plot_overview(parts, size) for size in SIZES] if len(series) > 1 else [],
    )  # fmt: skip


def _notes(parts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for part, summary in parts.items():
        for note in summary.get("notes") or []:
            yield f"{part}: {note}"


def write_overview(path: str | Path, parts: Mapping[str, Path]) -> None:
    """Write one page about several runs.

    Args:
        path: the HTML file.
        parts: name → output folder of a run, with `summary.json` and `report.html`.

    Raises:
        ValueError: if there is no part, or a part has no `summary.json`.
    """
    if not parts:
        raise ValueError("parts = {}: give at least one run's output folder")
    for name, folder in parts.items():
        if not (Path(folder) / "summary.json").is_file():
            raise ValueError(f"parts: {name} has no {Path(folder) / 'summary.json'}; run this part first")
    summaries = {name: read_json(Path(folder) / "summary.json") for name, folder in parts.items()}
    here = Path(path).resolve().parent
    links = {
        name: Path(os.path.relpath(Path(folder).resolve() / "report.html", here)).as_posix()
        for name, folder in parts.items()
    }
    with new_file(path) as temporary:
        temporary.write_text(render_overview(summaries, links), encoding="utf-8")
