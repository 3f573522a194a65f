"""The resampled means of a run's scores, and what they say of each variant; every variant sees the same draws.

Legend: L rows of resampled statistics, V variants, S seeds, P prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aelif.config import BASELINE, ScoreConfig
from aelif.score.bootstrap import Distances, improvement_excess, improvement_plain
from aelif.score.draws import make_draws
from aelif.score.grid import Columns, ScoreGrid
from aelif.score.intervals import UNDEFINED, Interval, to_interval, to_intervals
from aelif.score.permutation import flip_test, flip_units, holm

_PROMPTS_AT_ONCE = 256
"""Bounds the memory of resampled figures of single prompts."""

_PROMPT = ("prompt_id", "prompt", "prompt_set", "family", "severity")


class Comparison:
    """Means over seeds and groups of prompts, with their resamples."""

    def __init__(self, grid: ScoreGrid, config: ScoreConfig) -> None:
        self.grid, self.config = grid, config
        self.draws = make_draws(len(grid.seeds), grid.units, grid.num_clean, config.resamples)
        self._known: dict[tuple[str, Columns], np.ndarray] = {}

    def mean(self, variant: str, columns: Columns, metric: str = "w1") -> np.ndarray:
        """Return (L,) resampled means of a variant's metric over seeds and a group of prompts."""
        key = (metric, columns)
        if key not in self._known:
            self._known[key] = self.draws.means(self.grid.values[metric], columns)
        return self._known[key][self.grid.variants.index(variant)]

    def distances(self, variant: str, name: str = "perturbed") -> Distances:
        """Return the resampled distances on clean prompts and on another set."""
        return Distances(
            clean=self.mean(variant, self.grid.sets["clean"]), perturbed=self.mean(variant, self.grid.sets[name])
        )

    def interval(self, statistic_L: np.ndarray) -> Interval:
        """Return a statistic with its interval."""
        return to_interval(statistic_L, blocks=self.draws.blocks, confidence=self.config.confidence)

    def intervals(self, statistics_NL: np.ndarray) -> list[Interval]:
        """Return each statistic with its interval."""
        return to_intervals(statistics_NL, blocks=self.draws.blocks, confidence=self.config.confidence)

    def against_base(self, variant: str, columns: Columns) -> dict[str, Interval]:
        """Return the distance on a group of prompts, and the improvement on the baseline's."""
        own_L = self.mean(variant, columns)
        figures = {"distance": self.interval(own_L)}
        if variant != BASELINE:
            figures["improvement_plain"] = self.interval(improvement_plain(self.mean(BASELINE, columns), own_L))
        return figures


def describe_means(comparison: Comparison, variant: str) -> dict[str, Interval]:
    """Return a variant's means over clean and perturbed prompts, and its improvements unless it is the baseline."""
    grid, own = comparison.grid, comparison.distances(variant)
    entry = {"clean": comparison.interval(own.clean), "perturbed": comparison.interval(own.perturbed)}
    if variant != BASELINE:
        base = comparison.distances(BASELINE)
        entry["improvement_plain"] = comparison.interval(improvement_plain(base.perturbed, own.perturbed))
        entry["improvement_excess"] = comparison.interval(improvement_excess(base, own))
    entry["excess_damage"] = comparison.interval(own.damage)
    for metric in grid.values:
        if metric != "w1":
            entry[metric] = comparison.interval(comparison.mean(variant, grid.sets["clean"], metric))
    entry["near_copies"] = _within(entry["near_copies"], 0, 1)
    return entry


def _within(interval: Interval, lowest: float, highest: float) -> Interval:
    """Return an interval whose ends are values that the figure can take: Student's width knows no bounds."""
    ends = {name: interval[name] for name in ("low", "high")}
    return {**interval, **{name: None if end is None else min(max(end, lowest), highest) for name, end in ends.items()}}


def describe_sets(comparison: Comparison, variant: str) -> dict[str, Any]:
    """Return the figures of the sets that a run may have: families by their split, other contexts, the class."""
    entries: dict[str, Any] = {}
    for name, columns in comparison.grid.sets.items():
        if name in ("clean", "perturbed"):
            continue
        entry = comparison.against_base(variant, columns)
        if variant != BASELINE and name in ("tuning", "held_out"):
            excess_L = improvement_excess(comparison.distances(BASELINE, name), comparison.distances(variant, name))
            excess = comparison.interval(excess_L)
            # A quotient of next to nothing (some resamples do the baseline no damage at all) is no figure.
            entry["improvement_excess"] = excess if excess["low"] is not None else dict(UNDEFINED)
        entries[name] = {**entry, "clip_t": comparison.interval(comparison.mean(variant, columns, "clip_t"))}
    return entries


def describe_families(comparison: Comparison, variant: str) -> dict[str, Any]:
    """Return per family the distance, improvement and damage, and how severe its errors turned out.

    A family's damage is the mean over its prompts of their distance minus that of the clean prompt which
    they were made from: it may have changed some of the clean prompts alone.
    """
    grid = comparison.grid
    column = {prompt["prompt_id"]: place for place, prompt in enumerate(grid.prompts)}
    distances_SP = grid.values["w1"][grid.variants.index(variant)]
    damages_SP = distances_SP - distances_SP[:, [column[prompt["clean_id"]] for prompt in grid.prompts]]
    return {
        family: {
            **comparison.against_base(variant, columns),
            "damage": comparison.interval(comparison.draws.means(damages_SP[None], columns)[0]),
            "error_rate": grid.mean_of("character_error_rate", columns),
            "tokens_changed": grid.mean_of("tokens_changed", columns),
            "embedding_cosine": grid.mean_of("embedding_cosine", columns),
            "num_prompts": len(columns),
        }
        for family, columns in grid.families.items()
    }


def describe_prompts(comparison: Comparison, variant: str) -> list[dict[str, Any]]:
    """Return an entry per prompt, but those of stress, which repeat the clean ones; intervals vary the seeds alone."""
    grid = comparison.grid
    shown = [column for column, prompt in enumerate(grid.prompts) if prompt["prompt_set"] != "stress"]
    parts = [shown[start : start + _PROMPTS_AT_ONCE] for start in range(0, len(shown), _PROMPTS_AT_ONCE)]
    return [entry for columns in parts for entry in _prompt_entries(comparison, variant, columns)]


def _prompt_entries(comparison: Comparison, variant: str, columns: Sequence[int]) -> list[dict[str, Any]]:
    grid, draws = comparison.grid, comparison.draws
    own, base = (grid.variants.index(name) for name in (variant, BASELINE))
    distance_PL = draws.per_prompt(grid.values["w1"][own][:, columns])
    figures = {"distance": comparison.intervals(distance_PL)}
    if variant != BASELINE:
        base_PL = draws.per_prompt(grid.values["w1"][base][:, columns])
        figures["improvement_plain"] = comparison.intervals(improvement_plain(base_PL, distance_PL))
    means = {name: grid.values[name][own][:, columns].mean(axis=0) for name in ("clip_t", "clip_i", "diversity")}
    return [
        {
            **{
                name: grid.prompts[column][name] for name in ("prompt_id", "prompt", "prompt_set", "family", "severity")
            },
            **{name: intervals[place] for name, intervals in figures.items()},
            **{name: float(mean[place]) if np.isfinite(mean[place]) else None for name, mean in means.items()},
        }
        for place, column in enumerate(columns)
    ]


def permutation_tests(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """Return per variant but the baseline the permutation test of its distance on perturbed prompts.

    See `permutation.flip_units` for what is tested.
    """
    grid = comparison.grid
    others = [variant for variant in grid.variants if variant != BASELINE]
    if not others:
        return {}
    columns = list(grid.sets["perturbed"])
    values_VSP = grid.values["w1"][:, :, columns]
    rows = [grid.variants.index(variant) for variant in others]
    differences_VSP = values_VSP[rows] - values_VSP[[grid.variants.index(BASELINE)]]
    shares_VN, unit = flip_units(differences_VSP, [grid.units[column] for column in columns])
    tests = flip_test(shares_VN, num_flips=comparison.config.resamples)
    adjusted = holm([test.p_value for test in tests])
    return {
        variant: {
            "statistic": test.statistic, "p_value": test.p_value, "p_adjusted": p, "unit": unit,
            "num_flips": test.num_flips,
        }
        for variant, test, p in zip(others, tests, adjusted, strict=True)
    }  # fmt: skip
