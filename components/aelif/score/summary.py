"""The public summary of a run: every variant with intervals, noise floors, improvements, curves, tests.

The distance of a prompt is W1 between its images and the training images; the distance of a set of
prompts (clean, perturbed, one family) is the mean over training seeds of the mean over its prompts.

Legend: S seeds, P prompts, K pairs of seeds, N training images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from aelif.artifacts import OF_CLASS, Embeddings
from aelif.config import BASELINE, ScoreConfig, Variant
from aelif.score.comparison import (
    Comparison,
    describe_families,
    describe_means,
    describe_prompts,
    describe_sets,
    permutation_tests,
)
from aelif.score.copies import near_copy_cosine
from aelif.score.cross_checks import KERNELS, SETS, cross_check
from aelif.score.curves import severity_curve, stress_curves
from aelif.score.draws import make_draws
from aelif.score.duel import duels, trial_means
from aelif.score.grid import read_grid
from aelif.score.intervals import METHOD, UNDEFINED, Interval, to_interval
from aelif.score.notes import write_notes
from aelif.score.split import Scale, read_scale, split_damage
from aelif.score.trial import images_by_prompt
from aelif.score.wasserstein import leave_one_out_distances, wasserstein
from aelif.score.worst import describe_worst

SCHEMA = 2
"""Version of the summary's layout."""

Rows = Sequence[Mapping[str, Any]]

NO_CROSS_CHECK = {name: dict.fromkeys(("w1", *KERNELS, "frechet"), UNDEFINED) for name in SETS}


def compare_trials(
    tables: Sequence[Rows],
    generated: Sequence[Embeddings],
    worst: Sequence[Rows],
    reference: Embeddings,
    prompts: Rows,
    *,
    config: ScoreConfig,
    champion: Rows = (),
) -> dict[str, Any]:
    """Return the summary of all trials, and of their duels with the champion; see `summarize` and `duels`.

    Args:
        tables: rows of `scores.parquet`, one list per trial.
        generated: embeddings of the trials' images, in the same order.
        worst: rows of `worst.parquet`, one list per trial; empty lists if there was no attack.
        reference: embeddings of the training images.
        prompts: all rows of `prompts.parquet`, the skipped ones as well.
        config: resampling.
        champion: rows of `scores.parquet` of the champion; empty where it was not measured.

    Raises:
        ValueError: if tables and embeddings differ in number, the scores are incomplete, or the champion's
            are of other prompts.
    """
    if len(tables) != len(generated):
        raise ValueError(f"scores = {len(tables)} trials, embeddings = {len(generated)}: give both for every trial")
    photos_ND = reference.images
    images: dict[tuple[str, int], dict[int, np.ndarray]] = {}
    for rows, embeddings in zip(tables, generated, strict=True):
        own = images_by_prompt(embeddings)
        first = next(row for row in rows if row["metric"] == "w1")
        assert math.isclose(first["value"], wasserstein(own[first["prompt_id"]], photos_ND), abs_tol=1e-9), (
            "scores of other images"
        )
        images[first["variant"], first["seed"]] = own
    clean_ids = sorted({row["prompt_id"] for row in tables[0] if row["prompt_set"] == "clean"})
    baseline = [images[key] for key in sorted(images) if key[0] == BASELINE]
    trials = [row for rows in tables for row in rows]
    summary = summarize(
        trials,
        reference_distances_N=leave_one_out_distances(photos_ND) if len(photos_ND) > 1 else np.empty(0),
        seed_distances_KP=distances_between_seeds(baseline, clean_ids),
        num_reference=len(photos_ND),
        config=config,
        prompts=prompts,
        worst=[row for rows in worst for row in rows],
        images=images,
        photos_ND=photos_ND,
    )
    held, against_held = duels(trials, champion, config=config)
    return {**summary, "champion": held, "duels": against_held}


def distances_between_seeds(trials: Sequence[Mapping[int, np.ndarray]], prompt_ids: Sequence[int]) -> np.ndarray:
    """Return (K, P) distances W1 between the images of one prompt made by two training seeds, for each pair of seeds.

    Args:
        trials: per seed, in ascending order, prompt_id → (n, D) embeddings.
        prompt_ids: the P prompts.
    """
    pairs = list(combinations(trials, 2))
    distances = [[wasserstein(one[prompt], other[prompt]) for prompt in prompt_ids] for one, other in pairs]
    return np.array(distances).reshape(len(pairs), len(prompt_ids))


def summarize(
    rows: Rows,
    *,
    reference_distances_N: np.ndarray,
    seed_distances_KP: np.ndarray,
    num_reference: int,
    config: ScoreConfig,
    prompts: Rows = (),
    worst: Rows = (),
    images: Mapping[tuple[str, int], Mapping[int, np.ndarray]] | None = None,
    photos_ND: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return `summary.json` without verdict, timings, versions and digests.

    Training seeds and clean prompts, each with its perturbed versions, are resampled, with the same
    draws for every variant and for clean and perturbed prompts.

    Args:
        rows: rows of `scores.parquet` of all trials.
        reference_distances_N: `leave_one_out_distances`, whose mean is the noise floor; may be empty.
        seed_distances_KP: `distances_between_seeds` of the baseline's clean images; may be empty.
        num_reference: number of training images.
        config: resampling.
        prompts: rows of `prompts.parquet`, for realised severities and what was skipped.
        worst: rows of `worst.parquet` of all trials.
        images: (variant, seed) → prompt_id → embeddings, for the cross-checks; None: they are left undefined.
        photos_ND: embeddings of the training images, given with `images`.

    Raises:
        ValueError: if a variant lacks the score of a prompt and seed, or there is no baseline.
    """
    grid = read_grid(rows, prompts)
    names = variant_names(grid.variants)
    if BASELINE not in names.values():
        raise ValueError(f"variants = {', '.join(grid.variants)}: the baseline is missing, so nothing can be compared")
    comparison = Comparison(grid, config)
    scale, tests = read_scale(comparison), permutation_tests(comparison)
    entries = {}
    for variant in grid.variants:
        entry = _describe(comparison, variant, scale=scale, worst=worst)
        checks: Mapping[str, Any] = NO_CROSS_CHECK
        if images is not None and photos_ND is not None:
            checks = cross_check(comparison, [images[variant, seed] for seed in grid.seeds], photos_ND)
        entries[names[variant]] = {**entry, "cross_checks": checks, "test": tests.get(variant)}
    threshold = near_copy_cosine(photos_ND) if photos_ND is not None else math.nan
    skipped = [row for row in prompts if row["prompt_set"] == "skipped"]
    summary = {
        "schema": SCHEMA,
        "variants": entries,
        "trials": trial_means(grid),
        "noise_floor": _noise_floor(reference_distances_N, config),
        "seed_floor": _seed_floor(comparison, seed_distances_KP),
        "seeds": list(grid.seeds),
        "num_resamples": config.resamples,
        "confidence": config.confidence,
        "num_images_per_prompt": grid.num_images,
        "num_reference": num_reference,
        "skipped": [{name: row[name] for name in ("family", "severity", "prompt", "reason")} for row in skipped],
        "near_copy_cosine": None if math.isnan(threshold) else threshold,
        "interval_method": METHOD,
    }
    return {**summary, "notes": write_notes(summary, grid, scale)}


def _describe(comparison: Comparison, variant: str, *, scale: Scale | None, worst: Rows) -> dict[str, Any]:
    """Return one variant's entry, but for what compares all variants or needs their images."""
    sets = comparison.grid.sets
    leakage, leakage_perturbed = (
        comparison.interval(comparison.mean(variant, sets[name], "clip_i")) if name in sets else UNDEFINED
        for name in OF_CLASS
    )
    return {
        "variant": variant,
        **describe_means(comparison, variant),
        "sets": describe_sets(comparison, variant),
        "leakage": leakage,
        "leakage_perturbed": leakage_perturbed,
        "families": describe_families(comparison, variant),
        "curve": severity_curve(comparison, variant),
        "stress": stress_curves(comparison, variant),
        "split": split_damage(comparison, variant, scale) if scale else None,
        "worst_case": describe_worst(comparison, variant, worst),
        "prompts": describe_prompts(comparison, variant),
    }


def variant_names(variants: Sequence[str]) -> dict[str, str]:
    """Return variant → its name in the summary: without the magnitude, unless the name occurs more than once."""
    augmentations = [Variant.parse(variant).augmentation for variant in variants]
    return {
        variant: augmentation if augmentations.count(augmentation) == 1 else variant
        for variant, augmentation in zip(variants, augmentations, strict=True)
    }


def _noise_floor(distances_N: np.ndarray, config: ScoreConfig) -> Interval:
    """Return the mean distance of a photo from the others, with the interval from resampling the photos."""
    if not distances_N.size:
        return dict(UNDEFINED)
    draws = make_draws(1, range(len(distances_N)), 0, config.resamples)
    mean_L = draws.means(distances_N[None, None], range(len(distances_N)))[0]
    return to_interval(mean_L, blocks=draws.blocks, confidence=config.confidence)


def _seed_floor(comparison: Comparison, distances_KP: np.ndarray) -> Interval:
    """Return the mean distance between the baseline's clean images of two seeds."""
    if not distances_KP.size:
        return dict(UNDEFINED)
    return comparison.interval(comparison.draws.pair_means(distances_KP, comparison.grid.sets["clean"]))
