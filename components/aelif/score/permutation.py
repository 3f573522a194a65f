"""Paired permutation test of each variant against the baseline: sign flips, with Holm's correction.

Legend: V variants, S seeds, P prompts, N units that are flipped, F flips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aelif.randomness import numpy_generator

MIN_SEEDS = 6
"""Seeds from which on whole seeds are flipped: 2^6 flips allow p-values down to 2/64 = 0.03."""

Unit = Literal["seed", "seed and prompt"]

_CHUNK = 2048
"""Flips evaluated at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipTest:
    """Outcome for one variant."""

    statistic: float
    """Mean of variant − baseline."""
    p_value: float
    """Two-sided."""
    num_flips: int
    """Sign patterns compared, the observed one included: the smallest p-value is 1 (random) or 2 (all) of them."""


def flip_units(differences_VSP: np.ndarray, units_P: Sequence[int]) -> tuple[np.ndarray, Unit]:
    """Return (V, N) what each unit adds to the mean difference, and what the units are.

    From `MIN_SEEDS` training seeds on a unit is a seed: that tests whether training with the
    augmentation makes a difference on these prompts. With fewer, seeds alone can give no small p-value;
    a unit is then a seed with a clean prompt and all that was made of it. That tests the sharper
    hypothesis that on no such pair the variant differs from the baseline but by chance: what
    the pairs of one seed have in common counts as evidence, so it says nothing of further seeds.

    Args:
        differences_VSP: variant − baseline, paired.
        units_P: what each prompt is drawn with.
    """
    _, num_seeds, num_prompts = differences_VSP.shape
    shares_VSP = differences_VSP / (num_seeds * num_prompts)
    if num_seeds >= MIN_SEEDS:
        return shares_VSP.sum(axis=2), "seed"
    units, place_P = np.unique(np.asarray(units_P), return_inverse=True)
    cells_VSU = shares_VSP @ (place_P[:, None] == np.arange(len(units)))
    return cells_VSU.reshape(len(cells_VSU), -1), "seed and prompt"


def flip_test(shares_VN: np.ndarray, *, num_flips: int) -> list[FlipTest]:
    """Return the two-sided sign-flip test of each variant's sum; all see the same flips.

    Under the null hypothesis variant and baseline are exchangeable within a unit, so its share is as
    likely with either sign. All 2^N patterns are compared where they are at most `num_flips`, which is
    exact; else the observed and num_flips − 1 random ones: p = (1 + those as extreme) / num_flips, which
    never is zero (Phipson and Smyth, *Permutation P-values Should Never Be Zero*, 2010).
    """
    num_units = shares_VN.shape[1]
    observed_V = shares_VN.sum(axis=1)
    limit_V = np.abs(observed_V) - 1e-9 * np.abs(shares_VN).sum(axis=1)  # a flip of all signs is as extreme
    exact = num_units < num_flips.bit_length() and 2**num_units <= num_flips
    total = 2**num_units if exact else num_flips
    extreme_V = np.zeros(len(shares_VN), dtype=int) if exact else np.ones(len(shares_VN), dtype=int)
    generator = numpy_generator(0, "score/flips", num_units)
    for start in range(0, total if exact else total - 1, _CHUNK):
        stop = min(start + _CHUNK, total if exact else total - 1)
        if exact:
            bits_FN = np.arange(start, stop)[:, None] >> np.arange(num_units) & 1
        else:
            bits_FN = generator.integers(0, 2, size=(stop - start, num_units), dtype=np.int8)
        extreme_V += (np.abs((1.0 - 2.0 * bits_FN) @ shares_VN.T) >= limit_V).sum(axis=0)
    return [
        FlipTest(statistic=float(value), p_value=int(count) / total, num_flips=total)
        for value, count in zip(observed_V, extreme_V, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number: the chance of any false finding stays below what they are held to.

    The k-th smallest of m is multiplied by m − k + 1, and is no smaller than those before it (Holm, 1979).
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors), 1)
    return adjusted.tolist()
