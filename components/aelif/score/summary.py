"""The public summary of a run: every variant with intervals, noise floors, improvements.

The distance of a prompt is W1 between its images and the training images; the distance of a set of
prompts (clean, perturbed, one family) is the mean over training seeds of the mean over its prompts.

Legend: R resamples (and the statistic itself), S seeds, P prompts, V variants, K pairs of seeds, N training images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from aelif.artifacts import Embeddings
from aelif.config import ScoreConfig, Variant
from aelif.score.bootstrap import (
    UNDEFINED,
    Distances,
    Interval,
    draw_clustered_weights,
    draw_weights,
    improvement_excess,
    improvement_plain,
    resample_mean,
    to_interval,
)
from aelif.score.grid import ScoreGrid, read_grid
from aelif.score.trial import images_by_prompt
from aelif.score.wasserstein import leave_one_out_distances, wasserstein

SCHEMA = 1
"""Version of the summary's layout."""

BASELINE = "baseline"


def compare_trials(
    tables: Sequence[Sequence[Mapping[str, Any]]],
    generated: Sequence[Embeddings],
    reference: Embeddings,
    *,
    config: ScoreConfig,
) -> dict[str, Any]:
    """Return the summary of all trials; see `summarize`.

    Args:
        tables: rows of `scores.parquet`, one list per trial.
        generated: embeddings of the trials' images, in the same order.
        reference: embeddings of the training images.
        config: resampling.

    Raises:
        ValueError: if tables and embeddings differ in number, or the scores are incomplete.
    """
    if len(tables) != len(generated):
        raise ValueError(f"scores = {len(tables)} trials, embeddings = {len(generated)}: give both for every trial")
    photos_ND = reference.images
    baseline = []
    for rows, embeddings in zip(tables, generated, strict=True):
        images = images_by_prompt(embeddings)
        first = next(row for row in rows if row["metric"] == "w1")
        assert math.isclose(first["value"], wasserstein(images[first["prompt_id"]], photos_ND)), (
            "scores of other images"
        )
        if first["variant"] == BASELINE:
            baseline.append(images)
    return summarize(
        [row for rows in tables for row in rows],
        reference_distances_N=leave_one_out_distances(photos_ND) if len(photos_ND) > 1 else np.empty(0),
        seed_distances_KP=distances_between_seeds(
            baseline,
            sorted({row["prompt_id"] for rows in tables for row in rows if row["prompt_set"] == "clean"}),
        ),
        num_reference=len(photos_ND),
        config=config,
    )


def distances_between_seeds(trials: Sequence[Mapping[int, np.ndarray]], prompt_ids: Sequence[int]) -> np.ndarray:
    """Return (K, P) distances W1 between the images of one prompt made by two training seeds, for each pair of seeds.

    Args:
        trials: per seed, prompt_id → (n, D) embeddings.
        prompt_ids: the P prompts.
    """
    pairs = list(combinations(trials, 2))
    distances = [[wasserstein(one[prompt], other[prompt]) for prompt in prompt_ids] for one, other in pairs]
    return np.array(distances).reshape(len(pairs), len(prompt_ids))


def summarize(
    rows: Sequence[Mapping[str, Any]],
    *,
    reference_distances_N: np.ndarray,
    seed_distances_KP: np.ndarray,
    num_reference: int,
    config: ScoreConfig,
) -> dict[str, Any]:
    """Return `summary.json` without verdict, timings, versions and digests.

    Training seeds and clean prompts, each with its perturbed versions, are resampled with
    replacement, with the same draws for every variant and for clean and perturbed prompts.

    Args:
        rows: rows of `scores.parquet` of all trials.
        reference_distances_N: `leave_one_out_distances`, whose mean is the noise floor; may be empty.
        seed_distances_KP: `distances_between_seeds` of the baseline's clean images; may be empty.
        num_reference: number of training images.
        config: resampling.

    Raises:
        ValueError: if a variant lacks the score of a prompt and seed, or there is no baseline.
    """
    grid = read_grid(rows)
    names = variant_names(grid.variants)
    if BASELINE not in names.values():
        raise ValueError(f"variants = {', '.join(grid.variants)}: the baseline is missing, so nothing can be compared")
    comparison = Comparison(grid, config)
    summary = {
        "schema": SCHEMA,
        "variants": {names[variant]: comparison.describe(variant) for variant in grid.variants},
        "noise_floor": comparison.mean_of(reference_distances_N[:, None], "reference", "whole"),
        "seed_floor": comparison.mean_of(seed_distances_KP, "seed pairs", "clean"),
        "seeds": list(grid.seeds),
        "num_resamples": config.resamples,
        "confidence": config.confidence,
        "num_images_per_prompt": grid.num_images,
        "num_reference": num_reference,
    }
    return {**summary, "notes": _notes(summary)}


def variant_names(variants: Sequence[str]) -> dict[str, str]:
    """Return variant → its name in the summary: without the magnitude, unless the name occurs more than once."""
    augmentations = [Variant.parse(variant).augmentation for variant in variants]
    return {
        variant: augmentation if augmentations.count(augmentation) == 1 else variant
        for variant, augmentation in zip(variants, augmentations, strict=True)
    }


class Comparison:
    """The resampled means of a grid of scores; every variant sees the same draws."""

    def __init__(self, grid: ScoreGrid, config: ScoreConfig) -> None:
        self._grid, self._config = grid, config
        self._base = self._distances(BASELINE)

    def describe(self, variant: str) -> dict[str, Any]:
        """Return one variant's entry; improvements only where it is not the baseline."""
        own, is_base = self._distances(variant), variant == BASELINE
        entry: dict[str, Any] = {"clean": self._interval(own.clean), "perturbed": self._interval(own.perturbed)}
        if not is_base:
            entry["improvement_plain"] = self._interval(improvement_plain(self._base.perturbed, own.perturbed))
            entry["improvement_excess"] = self._interval(improvement_excess(self._base, own))
        entry["excess_damage"] = self._interval(own.damage)
        for metric in ("w2", "clip_t", "clip_i", "diversity"):
            entry[metric] = self._interval(self._mean(variant, "clean", metric))
        families = [family for family in self._grid.groups if family not in ("clean", "perturbed")]
        entry["families"] = {family: self._against_base(variant, family) for family in families}
        entry["prompts"] = [
            {
                **{name: prompt[name] for name in ("prompt_id", "prompt", "prompt_set", "family", "severity")},
                **self._against_base(variant, column),
            }
            for column, prompt in enumerate(self._grid.prompts)
        ]
        return entry

    def mean_of(self, values_KP: np.ndarray, rows: str, columns: str) -> Interval:
        """Return the mean of a table with the interval from resampling its rows and columns; null if it is empty."""
        if not values_KP.size:
            return dict(UNDEFINED)
        num_rows, num_columns = values_KP.shape
        return self._interval(resample_mean(values_KP, self._draw(num_rows, rows), self._draw(num_columns, columns)))

    def _against_base(self, variant: str, prompts: str | int) -> dict[str, Interval]:
        """Return the distance on a group of prompts or on one prompt, and the improvement on the baseline's."""
        own_R = self._mean(variant, prompts)
        figures = {"distance": self._interval(own_R)}
        if variant != BASELINE:
            figures["improvement_plain"] = self._interval(improvement_plain(self._mean(BASELINE, prompts), own_R))
        return figures

    def _distances(self, variant: str) -> Distances:
        return Distances(clean=self._mean(variant, "clean"), perturbed=self._mean(variant, "perturbed"))

    def _mean(self, variant: str, prompts: str | int, metric: str = "w1") -> np.ndarray:
        """Return the resampled mean over a group of prompts, or over the seeds alone for one prompt's column."""
        columns = [prompts] if isinstance(prompts, int) else self._grid.groups[prompts]
        values_SP = self._grid.values[metric][self._grid.variants.index(variant)][:, columns]
        clusters, resamples = self._grid.clusters, self._config.resamples
        if isinstance(prompts, int):
            weights_RP = np.ones((resamples + 1, 1))
        else:
            weights_RP = draw_clustered_weights([clusters[c] for c in columns], max(clusters) + 1, resamples)
        return resample_mean(values_SP, self._draw(len(values_SP), "seeds"), weights_RP)

    def _draw(self, count: int, purpose: str) -> np.ndarray:
        return draw_weights(count, self._config.resamples, purpose)

    def _interval(self, statistics_R: np.ndarray) -> Interval:
        return to_interval(statistics_R, confidence=self._config.confidence)


def _notes(summary: Mapping[str, Any]) -> list[str]:
    """Return sentences on what the numbers cannot say."""
    base, notes = summary["variants"][BASELINE], []
    if len(summary["seeds"]) == 1:
        notes.append("There is one training seed: the intervals hold for it alone, and seed_floor is undefined.")
    if summary["num_reference"] == 1:
        notes.append("There is one training image, so noise_floor is undefined.")
    if summary["num_images_per_prompt"] == 1:
        notes.append("There is one image per prompt, so diversity is undefined.")
    damage = base["excess_damage"]
    if damage["value"] <= 0:
        notes.append(
            "improvement_excess is undefined: errors in the prompt do the baseline no damage (distance "
            f"{base['perturbed']['value']:.3f} on perturbed prompts, {base['clean']['value']:.3f} on clean ones)."
        )
    elif damage["low"] <= 0:
        notes.append(
            f"improvement_excess is unreliable: the baseline's damage, {damage['value']:.3f} "
            f"({damage['low']:.3f} to {damage['high']:.3f}), is not clearly above zero."
        )
    return notes
