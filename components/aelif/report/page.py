"""The report of a run as one self-contained HTML page: no scripts, no outside references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from aelif.artifacts import (
    SCORED_SUBJECT,
    new_file,
    prompt_schema,
    read_image_records,
    read_json,
    read_table,
    score_schema,
)
from aelif.report.grids import MAX_PHOTOS, Picture, build_grids, data_uri, mark_edits, read_pictures
from aelif.report.plots import ERROR_BANDS, MARKERS, NARROW, WIDE, plot_distances, plot_error_rate, plot_families
from aelif.report.tables import (
    QUALITIES,
    Cell,
    family_rows,
    flatten,
    prompt_cell,
    prompt_distances,
    result_rows,
    to_cell,
)
from aelif.report.wording import (
    best_variant,
    clean_price,
    percent,
    percent_range,
    read_interval,
    summary_key,
    verdict_sentences,
)

MAX_TABLE_PROMPTS = 500
"""Prompts in the full list; the rest are in `scores.parquet`."""

_OWN_TABLES = ("digests", "versions", "timings")


def render_report(
    *,
    summary: Mapping[str, Any],
    verdict: Mapping[str, Any],
    scores: Sequence[Mapping[str, Any]],
    prompts: Sequence[Mapping[str, Any]],
    images: Mapping[str, Sequence[Picture]],
    photos: Sequence[Path],
    settings: Mapping[str, Any],
) -> str:
    """Return the page; the same input gives the same text.

    Args:
        summary: the public summary (`summary.json`).
        verdict: ``{"champion": name or None, "passed": bool, "reasons": [sentence, …]}``.
        scores: rows of `artifacts.score_schema`.
        prompts: rows of `artifacts.prompt_schema`.
        images: trial (``"aelif_mask:0.3/seed=0"``) → its pictures.
        photos: the training photos.
        settings: what the user set, nested as in a configuration file. The key ``command`` (how to
            reproduce) and the tables ``digests``, ``versions`` and ``timings`` are shown apart.
    """
    champion = summary_key(verdict.get("champion"), summary)
    return _environment().get_template("page.html.jinja").render(
        **_heading(summary, verdict, settings),
        summary=summary,
        subject=_subject(settings, prompts),
        variants=list(summary["variants"]),
        results=result_rows(summary, champion),
        qualities=result_rows(summary, champion, QUALITIES),
        floors=_floors(summary),
        families=family_rows(summary),
        plots=_plots(summary, scores, prompts),
        grids=build_grids(prompts=prompts, scores=scores, summary=summary, images=images, champion=champion),
        photos=[data_uri(path) for path in photos[:MAX_PHOTOS]],
        num_photos=len(photos),
        prompt_rows=_prompt_rows(summary, scores, prompts),
        num_prompts=len(prompts),
        setting_tables=_setting_tables(settings, summary),
    )  # fmt: skip


def _environment() -> Environment:
    """Return the template engine; everything it inserts is escaped, unknown names are errors."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["num_markers"] = len(MARKERS)
    environment.filters["breakable"] = lambda name: Markup("_<wbr>").join(name.split("_"))
    environment.filters["percent"] = percent
    return environment


def _subject(settings: Mapping[str, Any], prompts: Sequence[Mapping[str, Any]]) -> str:
    """Return the instance prompt, or else the first prompt."""
    data = settings.get("data")
    named = data.get("instance_prompt") if isinstance(data, Mapping) else None
    return str(named or settings.get("instance_prompt") or next((row["prompt"] for row in prompts), ""))


def _heading(summary: Mapping[str, Any], verdict: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands above the tables, and the phrases that the text needs."""
    headline, lead = verdict_sentences(summary, verdict)
    champion = summary_key(verdict.get("champion"), summary)
    return {
        "headline": headline,
        "lead": lead,
        "passed": bool(verdict.get("passed", champion is not None)),
        "reasons": list(verdict.get("reasons", [])),
        "base_model": settings.get("base_model"),
        "command": settings.get("command"),
        "facts": _facts(summary, champion),
        "confidence": f"{100 * summary.get('confidence', 0.95):g}\u202f%",
        "error_bands": ", ".join(f"{limit:g}" for limit in ERROR_BANDS) + "\u202f%",
    }


def _facts(summary: Mapping[str, Any], champion: str | None) -> list[tuple[str, str, str]]:
    """Return (figure, what it is, its interval) for the row of figures below the verdict."""
    shown = champion if champion not in (None, "baseline") else best_variant(summary)
    if shown is None:
        return []
    entry = summary["variants"][shown]
    plain, excess = (read_interval(entry.get(f"improvement_{kind}")) for kind in ("plain", "excess"))
    return [
        (percent(plain.value), f"improvement of {shown} on perturbed prompts", percent_range(plain)),
        (percent(excess.value), "of the damage done by errors is undone", percent_range(excess)),
        (percent(clean_price(shown, summary)), "change of the distance on clean prompts; below zero is better", ""),
    ]


def _floors(summary: Mapping[str, Any]) -> list[tuple[str, str, Cell]]:
    """Return (name, meaning, figure) of the two floors."""
    floors = [
        ("noise_floor", "Noise floor", "each training photo against the others"),
        ("seed_floor", "Seed floor", "the baseline against itself, trained with another seed"),
    ]
    return [
        (name, meaning, to_cell(read_interval(summary.get(key)), share=False))
        for key, name, meaning in floors
        if key in summary
    ]


def _plots(
    summary: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], prompts: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Return every plot as SVG in two widths; the style sheet shows the one that fits."""
    return {
        "distances": [plot_distances(summary, size) for size in (WIDE, NARROW)],
        "families": [plot_families(summary, size) for size in (WIDE, NARROW)],
        "error_rate": [plot_error_rate(summary, scores, prompts, size) for size in (WIDE, NARROW)],
    }


def _prompt_rows(
    summary: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], prompts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return every prompt with its errors marked and a cell for each variant."""
    distances = prompt_distances(scores, summary)
    figures = {
        (variant, figure["prompt_id"]): figure
        for variant, entry in summary["variants"].items()
        for figure in entry.get("prompts") or []
    }
    return [
        {
            "prompt": prompt,
            "pieces": mark_edits(prompt),
            "cells": [
                prompt_cell(figures.get((variant, prompt["prompt_id"]), {}), by_prompt.get(prompt["prompt_id"]))
                for variant, by_prompt in distances.items()
            ],
        }
        for prompt in prompts[:MAX_TABLE_PROMPTS]
    ]


def _setting_tables(settings: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (title, rows) of the settings and of what identifies the run."""
    own = {key: value for key, value in settings.items() if key not in (*_OWN_TABLES, "command")}
    tables = [("Settings", list(flatten(own)))]
    for name in _OWN_TABLES:
        merged = {**(summary.get(name) or {}), **(settings.get(name) or {})}
        tables.append((name.capitalize(), list(flatten(merged))))
    return [table for table in tables if table[1]]


def write_page(
    path: str | Path,
    *,
    summary: str | Path,
    verdict: str | Path,
    table: str | Path,
    prompts: str | Path,
    photos: str | Path,
    images: Sequence[str | Path],
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
        images: image folders; several of one trial are its shards.
        trials: the trial of each image folder.
        settings: see `render_report`.

    Raises:
        ValueError: if folders and trials differ in number, or an artifact is damaged.
    """
    if len(images) != len(trials):
        raise ValueError(f"trials = {len(trials)}: there are {len(images)} image folders; name the trial of each")
    pictures: dict[str, list[Picture]] = {}
    for trial, folder in zip(trials, images, strict=True):
        pictures.setdefault(trial, []).extend(read_pictures(folder))
    page = render_report(
        summary=read_json(summary),
        verdict=read_json(verdict),
        scores=read_table(table, score_schema()),
        prompts=read_table(prompts, prompt_schema()),
        images=pictures,
        photos=[Path(photos) / photo.file_name for photo in read_image_records(photos, subject=SCORED_SUBJECT)],
        settings=settings,
    )
    with new_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
