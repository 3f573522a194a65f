"""Paired bootstrap over training seeds and prompts: random weights, weighted means, improvements.

Legend: R resamples, S training seeds, P prompts, U units that are drawn (seeds, clean prompts …).
Row 0 of every array of resampled statistics is the statistic itself; the other rows are the same
with units weighted anew. So a difference or ratio of two such arrays is again one, with variants
compared draw by draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aelif.randomness import numpy_generator

CLEAN_PROMPTS = "clean prompts"
"""Purpose of the draws of clean prompts."""

_SEED = 0
"""Resampling is part of the measurement, not of the experiment: the same draws in every run."""


def draw_weights(count: int, resamples: int, purpose: str) -> np.ndarray:
    """Return (R + 1, U) weights of the units in each resample; row 0 is uniform, rows sum to 1.

    The weights are independent exponential numbers, divided by their sum (the Bayesian bootstrap:
    Rubin, 1981): unlike drawing with replacement they never lose a unit, so that no prompt set is
    ever empty, and they are smooth even for two seeds. They depend on the arguments alone: equal
    calls are paired.

    Args:
        count: U.
        resamples: R.
        purpose: what is drawn; different purposes are independent.
    """
    weights_RU = numpy_generator(_SEED, f"score/bootstrap/{purpose}").standard_exponential((resamples + 1, count))
    weights_RU[0] = 1
    return weights_RU / weights_RU.sum(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """Resampled mean distances of one variant, paired with those of every other variant; each (R,)."""

    clean: np.ndarray
    perturbed: np.ndarray

    @property
    def damage(self) -> np.ndarray:
        """What the errors do: perturbed minus clean distance."""
        return self.perturbed - self.clean


def improvement_plain(base_R: np.ndarray, variant_R: np.ndarray) -> np.ndarray:
    """Return (W_base − W_variant) / W_base; NaN where the baseline's distance is zero."""
    return divide(base_R - variant_R, base_R)


def improvement_excess(base: Distances, variant: Distances) -> np.ndarray:
    """Return 1 − damage_variant / damage_base; NaN where the baseline takes no damage.

    It is the share of the errors' damage that the variant undoes; above 1 the variant is even
    closer on perturbed prompts than on clean ones.
    """
    return 1 - divide(variant.damage, base.damage)


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole; NaN where the whole is not above zero, so that it has no shares."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
