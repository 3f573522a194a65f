"""The report of a run as one self-contained HTML page: no scripts, no outside references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aelif.artifacts import (
    SCORED_SUBJECT,
    new_file,
    prompt_schema,
    read_image_records,
    read_json,
    read_table,
    score_schema,
    worst_schema,
)
from aelif.config import CHAMPION
from aelif.report.champion import Duel, champion_series, read_duel
from aelif.report.curve_tables import curve_rows, split_rows, split_sentence, stress_rows
from aelif.report.curves import has_split, plot_error_curve, plot_split, plot_stress, stress_names
from aelif.report.drawing import SIZES, Size
from aelif.report.edits import mark_edits
from aelif.report.failures import copy_sentences, loss_sentences, skipped_rows
from aelif.report.grids import build_grids
from aelif.report.headline import best_shown, heading
from aelif.report.pictures import Picture, data_uri, read_pictures
from aelif.report.plots import plot_distances, plot_duel, plot_families
from aelif.report.qualities import agreement, check_tables, quality_table
from aelif.report.reproduce import setting_tables
from aelif.report.series import leading, read_series
from aelif.report.tables import (
    RESULTS,
    family_rows,
    figure_rows,
    prompt_cell,
    prompt_distances,
    set_tables,
    significance_cells,
)
from aelif.report.template import environment
from aelif.report.tradeoff import heat_tables, plot_tradeoff, tradeoff_points, tradeoff_rows
from aelif.report.wording import summary_key
from aelif.report.worst import worst_cases, worst_rows

MAX_TABLE_PROMPTS = 500
"""Prompts in the full list; the rest are in `scores.parquet`."""

MAX_PHOTOS = 8
MAX_LINES = 5
"""Variants in a plot of curves and in the tables of figures beside it."""

MAX_COLUMNS = 8
"""Variants whose images are shown."""


def render_report(
    *,
    summary: Mapping[str, Any],
    verdict: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    images: Mapping[str, Sequence[Picture]],
    photos: Sequence[Path],
    settings: Mapping[str, Any],
    worst: Sequence[Mapping[str, Any]] = (),
    worst_images: Mapping[str, Sequence[Picture]] | None = None,
    champion_images: Sequence[Picture] = (),
) -> str:
    """Return the page; the same input gives the same text.

    Args:
        summary: the public summary (`summary.json`); what it does not hold is left out.
        verdict: the gate's, see `aelif.gate.verdict.Verdict`.
        scores: rows of `artifacts.score_schema`.
        prompts: rows of `artifacts.prompt_schema`.
        images: trial (``"aelif_mask:0.3/seed=0"``) → its pictures.
        photos: the training photos.
        settings: what the user set, nested as in a configuration file. The key ``command`` (how to
            reproduce) and the tables ``digests``, ``versions`` and ``timings`` are shown apart.
        worst: rows of `artifacts.worst_schema`.
        worst_images: trial → pictures of its worst prompts.
        champion_images: the registered champion's pictures, if it was measured.
    """
    chosen = summary_key(verdict.get("champion"), summary)
    best, columns, lines = best_shown(summary, chosen), leading(summary, MAX_COLUMNS), leading(summary, MAX_LINES)
    asked = [row for row in prompts if row["prompt_set"] not in ("skipped", "stress")]
    series, duel = read_series(summary), read_duel(summary, verdict)
    painters = {**series, CHAMPION: champion_series(summary)} if summary.get("champion") else series
    return environment().get_template("page.html.jinja").render(
        **heading(summary, verdict, settings, prompts),
        **_tables(summary, chosen, lines),
        summary=summary,
        series=series,
        painters=painters,
        champion_key=CHAMPION,
        duel=duel,
        lines=lines,
        set_variants=columns if len(columns) == len(series) else lines,
        best=best,
        plots=_plots(summary, scores, prompts, lines, duel),
        grids=build_grids(
            prompts=asked, scores=scores, summary=summary, images=images, best=best, shown=columns,
            champion=champion_images if CHAMPION in painters else (),
        ),
        worst=worst_cases(summary, worst, worst_images or {}, columns),
        losses=loss_sentences(summary, prompt_distances(scores, summary), asked),
        photos=[data_uri(path) for path in photos[:MAX_PHOTOS]],
        num_photos=len(photos),
        prompt_rows=_prompt_rows(summary, scores, asked, lines),
        num_prompts=len(asked),
        setting_tables=setting_tables(settings, summary),
    )  # fmt: skip


def _tables(summary: Mapping[str, Any], chosen: str | None, lines: Sequence[str]) -> dict[str, Any]:
    """Return the tables of figures by name in the template."""
    titles, qualities = quality_table(summary)
    return {
        "results": figure_rows(summary["variants"], RESULTS, chosen),
        "significance": significance_cells(summary),
        "sets": set_tables(summary),
        "quality_titles": titles,
        "qualities": qualities,
        "checks": check_tables(summary),
        "agreement": agreement(summary),
        "tradeoff": tradeoff_rows(summary),
        "heats": heat_tables(summary),
        "families": family_rows(summary, lines),
        "curve": curve_rows(summary, lines),
        "stress": stress_rows(summary, lines),
        "split": split_rows(summary),
        "split_words": split_sentence(summary),
        "worst_figures": worst_rows(summary),
        "copies": copy_sentences(summary),
        "skipped": skipped_rows(summary),
    }


def _plots(
    summary: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    lines: Sequence[str],
    duel: Duel | None,
) -> dict[str, list[str]]:
    """Return every plot that the summary has figures for, as SVG in two widths; the style sheet shows one."""
    drawn: dict[str, Callable[[Size], str]] = {
        "distances": lambda size: plot_distances(summary, size),
        "families": lambda size: plot_families(summary, lines, size),
        "errors": lambda size: plot_error_curve(summary, scores, prompts, lines, size),
    }
    if len(tradeoff_points(summary)) > 1:
        drawn["tradeoff"] = lambda size: plot_tradeoff(summary, size)
    if stress_names(summary):
        drawn["stress"] = lambda size: plot_stress(summary, lines, size)
    if duel is not None:
        drawn["duel"] = lambda size: plot_duel(duel, size)
    if has_split(summary):
        drawn["split"] = lambda size: plot_split(summary, size)
    return {name: [draw(size) for size in SIZES] for name, draw in drawn.items()}


def _prompt_rows(
    summary: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    lines: Sequence[str],
) -> list[dict[str, Any]]:
    """Return every prompt with its errors marked and a cell for each variant."""
    distances = prompt_distances(scores, summary)
    figures = {
        (name, figure["prompt_id"]): figure
        for name in lines
        for figure in summary["variants"][name].get("prompts") or []
    }
    return [
        {
            "prompt": prompt,
            "pieces": mark_edits(prompt),
            "cells": [
                prompt_cell(figures.get((name, prompt["prompt_id"]), {}), distances[name].get(prompt["prompt_id"]))
                for name in lines
            ],
        }
        for prompt in prompts[:MAX_TABLE_PROMPTS]
    ]


def write_page(
    path: str | Path,
    *,
    summary: str | Path,
    verdict: str | Path,
    table: str | Path,
    prompts: str | Path,
    photos: str | Path,
    images: Sequence[str | Path],
    worst: str | Path,
    worst_images: Sequence[str | Path],
    champion_images: str | Path,
    trials: Sequence[str],
    settings: Mapping[str, Any],
) -> None:
    """Read a run's artifacts and write its page to `path`.

    Args:
        path: the HTML file.
        summary: JSON; like `verdict`, `table`, `prompts` and `photos` the path of an earlier step's output.
        verdict: JSON.
        table: Parquet with `artifacts.score_schema`.
        prompts: Parquet with `artifacts.prompt_schema`.
        photos: image folder; those of the scored subject are shown.
        images: image folders, one of each trial.
        worst: Parquet with `artifacts.worst_schema`; may be empty.
        worst_images: image folders of the worst prompts, one of each trial; may hold none.
        champion_images: the champion's image folder; holds none where it was not measured.
        trials: the trial of each image folder.
        settings: see `render_report`.

    Raises:
        ValueError: if folders and trials differ in number, or an artifact is damaged.
    """
    page = render_report(
        summary=read_json(summary),
        verdict=read_json(verdict),
        scores=read_table(table, score_schema()),
        prompts=read_table(prompts, prompt_schema()),
        images=_pictures(images, trials, "image"),
        photos=[Path(photos) / photo.file_name for photo in read_image_records(photos, subject=SCORED_SUBJECT)],
        settings=settings,
        worst=read_table(worst, worst_schema()),
        worst_images=_pictures(worst_images, trials, "worst-case"),
        champion_images=read_pictures(champion_images),
    )
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _pictures(folders: Sequence[str | Path], trials: Sequence[str], what: str) -> dict[str, list[Picture]]:
    if len(folders) != len(trials):
        raise ValueError(f"trials = {len(trials)}: there are {len(folders)} {what} folders; name the trial of each")
    return {trial: read_pictures(folder) for trial, folder in zip(trials, folders, strict=True)}
