"""The one model of a run that goes into the registry: its files, its lineage, its figures."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelif import __version__
from aelif.artifacts import read_json
from aelif.config import Trial
from aelif.registry.card import write_card
from aelif.registry.lineage import evaluation_digest, model_tags, shorten, trial_metrics
from aelif.registry.promote import AGAINST, NONE, REASONS
from aelif.registry.results import Results, read_card
from aelif.registry.runs import TAG_LIMIT

_FIGURES = {"clean": "clean/w1", "perturbed": "perturbed/w1", "clip_t": "clean/clip_t", "diversity": "clean/diversity"}
"""Recorded figure → metric of `trial_metrics`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The one model of a run that goes into the registry."""

    name: str
    """Of the registered model."""
    trial: str
    trained: Path
    """What training wrote."""
    base: Path
    verdict: Mapping[str, Any]
    tags: Mapping[str, str]
    """Lineage, as the tags of a version."""
    description: str
    """Markdown."""
    synthesis: Mapping[str, Any]
    example_prompt: str


def read_candidate(
    results: Results, rows: list[dict[str, Any]], *, name: str, settings: Mapping[str, Any], tags: Mapping[str, str]
) -> Candidate:
    """Return the model that the verdict names, with its whole lineage.

    Args:
        results: files of the run.
        rows: `scores.parquet`.
        name: of the registered model.
        settings: the run's configuration.
        tags: what the run is known by.

    Raises:
        ValueError: if the verdict names no trial of this run, or the weights are not those that training wrote.
    """
    verdict, summary = read_json(results.verdict), read_json(results.summary)
    trial = verdict["trial"]
    if trial not in results.models:
        raise ValueError(f"verdict: trial = {trial!r} is none of this run's: {', '.join(results.models)}")
    manifest, source = read_json(results.photos / "manifest.json"), read_json(results.base / "source.json")
    folder = results.models[trial]
    lineage = {
        **model_tags(folder, read_card(folder), trial=Trial.parse(trial)),
        "trial": trial,
        "base.uri": str(source["uri"]),
        "base.digest": str(source["digest"]),
        "dataset.digest": str(manifest["digest"]),
        "eval.digest": evaluation_digest(rows),
        "git.sha": str(settings.get("git_sha") or ""),
        "image.digest": os.environ.get("AELIF_IMAGE_DIGEST", ""),
        "aelif.version": __version__,
        "gate.figures": json.dumps(trial_figures(summary, rows, trial)),
        AGAINST: verdict["against"] or NONE,
        REASONS: "; ".join(verdict["reasons"]) or "none given",
        **tags,
    }
    kept = {tag: shorten(value, limit=TAG_LIMIT // 2) for tag, value in lineage.items() if value}
    description = write_card(name=name, trial=trial, verdict=verdict, summary=summary, settings=settings,
                             source=source, manifest=manifest, tags=kept)  # fmt: skip
    return Candidate(
        name=name, trial=trial, trained=folder, base=results.base, verdict=verdict, tags=kept,
        description=description, synthesis=settings.get("synthesis", {}),
        example_prompt=str(settings.get("data", {}).get("instance_prompt", "")),
    )  # fmt: skip


def trial_figures(summary: Mapping[str, Any], rows: list[dict[str, Any]], trial: str) -> dict[str, Any]:
    """Return one trial's clean and perturbed distance, prompt alignment and diversity, as ``{value, low, high}``.

    Intervals come from its duel with the champion, else from its variant where that has no other
    seed; else there are none.
    """
    parsed = Trial.parse(trial)
    own = [entry for entry in summary["variants"].values() if entry.get("variant") == str(parsed.variant)]
    known = summary.get("duels", {}).get(trial) or (own[0] if own and len(summary["seeds"]) == 1 else {})
    means = trial_metrics(rows, parsed)
    return {
        name: known.get(name) or {"value": means.get(metric), "low": None, "high": None}
        for name, metric in _FIGURES.items()
    }
