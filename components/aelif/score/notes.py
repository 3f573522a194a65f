"""Sentences on what the numbers of a summary cannot say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aelif.config import BASELINE
from aelif.score.grid import ScoreGrid
from aelif.score.split import Scale

_MIN_P = 0.05
"""A test that cannot get below this is no test."""


def write_notes(summary: Mapping[str, Any], grid: ScoreGrid, scale: Scale | None) -> list[str]:
    """Return the notes of a summary."""
    notes = [*_on_numbers(summary, grid), *_on_excess(summary["variants"][BASELINE])]
    tests = [test for entry in summary["variants"].values() if (test := entry["test"])]
    if tests and 2 / tests[0]["num_flips"] > _MIN_P:
        notes.append(
            f"The permutation test has {tests[0]['num_flips']} sign patterns, so no p-value can be below "
            f"{2 / tests[0]['num_flips']:.2g}: train more seeds, or give more clean prompts."
        )
    if scale is not None and scale.beyond > 0:
        notes.append(
            f"{scale.beyond:.0%} of the perturbed prompts move the embeddings further than the stress curve reaches "
            f"({scale.reach:.2f} of their length), so the split counts too little as the denoiser's: "
            "stress with higher magnitudes."
        )
    return [*notes, *_on_skipped(summary["skipped"], grid)]


def _on_numbers(summary: Mapping[str, Any], grid: ScoreGrid) -> list[str]:
    notes = []
    if len(grid.seeds) == 1:
        notes.append("There is one training seed: the intervals hold for it alone, and seed_floor is undefined.")
    if grid.num_clean == 1:
        notes.append(
            "There is one clean prompt: the intervals hold for it alone, and vary what was made of it instead."
        )
    if summary["num_reference"] == 1:
        notes.append("There is one training image, so noise_floor is undefined.")
    return notes


def _on_excess(base: Mapping[str, Any]) -> list[str]:
    damage = base["excess_damage"]
    if damage["value"] <= 0:
        return [
            "improvement_excess is undefined: errors in the prompt do the baseline no damage (distance "
            f"{base['perturbed']['value']:.3f} on perturbed prompts, {base['clean']['value']:.3f} on clean ones)."
        ]
    if damage["low"] is not None and damage["low"] <= 0:
        return [
            f"improvement_excess is unreliable: the baseline's damage, {damage['value']:.3f} "
            f"({damage['low']:.3f} to {damage['high']:.3f}), is not clearly above zero."
        ]
    return []


def _on_skipped(skipped: Sequence[Mapping[str, Any]], grid: ScoreGrid) -> list[str]:
    """Return one sentence on families that changed no prompt, and one on those that changed but some."""
    families = list(dict.fromkeys(row["family"] for row in skipped))
    none = [family for family in families if family not in grid.families]
    some = [
        f"{family} ({sum(row['family'] == family for row in skipped)})" for family in families if family not in none
    ]
    notes = []
    if none:
        notes.append(f"No prompt could be perturbed by {', '.join(none)}: nothing is said of such errors.")
    if some:
        notes.append(f"Some prompts could not be perturbed and are left out: {', '.join(some)}.")
    return notes
