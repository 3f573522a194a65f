"""Paired bootstrap over training seeds and prompts: percentile intervals of means and their ratios.

Legend: R resamples, S training seeds, P prompts.
Row 0 of every array of resampled statistics is the statistic itself; rows 1 … R are resamples. So
a difference or ratio of two such arrays is again one, with variants compared draw by draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aelif.randomness import numpy_generator

Interval = dict[str, float | None]
"""``{"value", "low", "high"}``; null where undefined."""

UNDEFINED: Interval = {"value": None, "low": None, "high": None}

_SEED = 0
"""Resampling is part of the measurement, not of the experiment: the same draws in every run."""


def draw_weights(count: int, resamples: int, purpose: str) -> np.ndarray:
    """Return (R + 1, count) weights of the units in each resample; row 0 is uniform, rows sum to 1.

    Drawing `count` units with replacement and averaging is a weighted mean with multinomial
    weights. They depend on the arguments alone: equal calls are paired.

    Args:
        count: units (seeds, prompts …) to draw from.
        resamples: R.
        purpose: what is drawn; different purposes are independent.
    """
    generator = numpy_generator(_SEED, f"score/bootstrap/{purpose}")
    counts = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.concatenate([np.ones((1, count)), counts]) / count


def draw_clustered_weights(clusters_P: Sequence[int], num_clusters: int, resamples: int) -> np.ndarray:
    """Return (R + 1, P) weights of prompts when clean prompts are resampled with all that was made of them.

    A clean prompt and its perturbed versions share wording and initial noise, so they are no
    independent draws: clean prompts are drawn with replacement (the same draws for every group of
    prompts, which pairs clean with perturbed ones), then the prompts within each (two-stage
    cluster bootstrap: Davison and Hinkley, 1997, section 3.8). Rows sum to 1, or are NaN where no
    prompt of the group was drawn.

    Args:
        clusters_P: the clean prompt of each prompt, as a number from 0.
        num_clusters: clean prompts in all.
        resamples: R.
    """
    members = np.asarray(clusters_P)
    weights_RP = np.empty((resamples + 1, len(members)))
    drawn_RC = draw_weights(num_clusters, resamples, "clean prompts") * num_clusters
    for cluster in np.unique(members):
        columns = np.flatnonzero(members == cluster)
        inner = draw_weights(len(columns), resamples, f"clean prompt {cluster}") * len(columns)
        weights_RP[:, columns] = drawn_RC[:, [cluster]] * inner
    total_R1 = weights_RP.sum(axis=1, keepdims=True)
    return np.divide(weights_RP, total_R1, out=np.full_like(weights_RP, np.nan), where=total_R1 > 0)


def resample_mean(values_SP: np.ndarray, seed_weights_RS: np.ndarray, prompt_weights_RP: np.ndarray) -> np.ndarray:
    """Return (R + 1,) means of a table over resampled seeds and prompts; NaN if the table has any."""
    return ((seed_weights_RS @ values_SP) * prompt_weights_RP).sum(axis=1)


def to_interval(statistics_R: np.ndarray, *, confidence: float) -> Interval:
    """Return a statistic with its percentile interval (Efron and Tibshirani, 1993, chapter 13).

    Resamples in which the statistic is undefined (NaN) are left out; if they are so many that
    they could hold a whole tail, the interval is null, and the value stands alone.

    Args:
        statistics_R: (R + 1,) the statistic, then its resamples.
        confidence: coverage aimed at, such as 0.95.
    """
    value, resampled = float(statistics_R[0]), statistics_R[1:]
    if not np.isfinite(value):
        return dict(UNDEFINED)
    defined = resampled[np.isfinite(resampled)]
    tail = (1 - confidence) / 2
    if len(defined) < (1 - tail) * len(resampled):
        return {"value": value, "low": None, "high": None}
    low, high = np.quantile(defined, [tail, 1 - tail])
    return {"value": value, "low": float(low), "high": float(high)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """Resampled mean distances of one variant, paired with those of every other variant; each (R + 1,)."""

    clean: np.ndarray
    perturbed: np.ndarray

    @property
    def damage(self) -> np.ndarray:
        """What the errors do: perturbed minus clean distance."""
        return self.perturbed - self.clean


def improvement_plain(base_R: np.ndarray, variant_R: np.ndarray) -> np.ndarray:
    """Return (W_base − W_variant) / W_base; NaN where the baseline's distance is zero."""
    return np.divide(base_R - variant_R, base_R, out=np.full_like(base_R, np.nan), where=base_R > 0)


def improvement_excess(base: Distances, variant: Distances) -> np.ndarray:
    """Return 1 − damage_variant / damage_base; NaN where the baseline takes no damage.

    It is the share of the errors' damage that the variant undoes; above 1 the variant is even
    closer on perturbed prompts than on clean ones.
    """
    damage = base.damage
    share = np.divide(variant.damage, damage, out=np.full_like(damage, np.nan), where=damage > 0)
    return 1 - share
