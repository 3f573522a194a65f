"""Which seeds and prompts each row of a resampled statistic counts, and how much.

Legend: L rows: the statistic, R resamples, then without each seed, each clean prompt, each other unit;
S training seeds, P prompts, U units of prompts, G prompts of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aelif.score.bootstrap import CLEAN_PROMPTS, draw_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Weights, made once for all variants, metrics and groups of prompts: that pairs them."""

    seeds: np.ndarray
    """(L, S) weights of the seeds; rows sum to 1."""
    units: np.ndarray
    """(L, U) weights of the units of prompts, up to a factor."""
    unit_of: np.ndarray
    """(P,) the unit of each prompt."""
    blocks: tuple[slice, ...]
    """Rows that leave out one seed, one clean prompt, one other prompt each; blocks of one unit are absent."""

    def means(self, values_KSP: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Return (K, L) means of K tables over seeds and a group's prompts; NaN if the group has an undefined value.

        Seeds and prompts are crossed, and so are their weights (the product-reweighted bootstrap:
        Owen and Eckles, *Bootstrapping data arrays of arbitrary order*, 2012). Where nothing can be
        drawn (one seed, and prompts of one unit) all but the first are NaN.

        Args:
            values_KSP: metrics or variants, for every seed and prompt.
            columns: prompts of the group.
        """
        place_G, weights_LU = self.unit_weights(columns)
        counts_U = np.bincount(place_G)
        member_GU = place_G[:, None] == np.arange(len(counts_U))
        unit_means_KSU = values_KSP[:, :, list(columns)] @ member_GU / counts_U
        return self.hold(
            np.stack([((weights_LU @ table_SU.T) * self.seeds).sum(axis=1) for table_SU in unit_means_KSU]), columns
        )

    def unit_weights(self, columns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return (G,) the units of a group's prompts, numbered from 0, and their (L, U) weights; rows sum to 1.

        A clean prompt and its perturbed versions share wording and initial noise, so they are no
        independent draws: they are one unit, whose weight is the same for every group of prompts, which pairs
        clean with perturbed ones. Within it all weigh the same, for drawing there once more would count the
        spread twice (Davison and Hinkley, 1997, section 3.8).

        A unit weighs as much as it has prompts in the group. The only unit of a group is held fixed.
        """
        units, place_G = np.unique(self.unit_of[list(columns)], return_inverse=True)
        if len(units) == 1:
            return place_G, np.ones((len(self.units), 1))
        weights_LU = self.units[:, units] * np.bincount(place_G)
        return place_G, weights_LU / weights_LU.sum(axis=1, keepdims=True)

    def per_prompt(self, values_SP: np.ndarray) -> np.ndarray:
        """Return (P, L) means over seeds for each prompt by itself; with one seed all but the first are NaN."""
        rows_PL = np.ascontiguousarray((self.seeds @ values_SP).T)
        if len(values_SP) == 1:
            rows_PL[:, 1:] = np.nan
        return rows_PL

    def pair_means(self, values_KP: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Return (L,) means of a table of all pairs of seeds × a group's prompts.

        A pair weighs the product of its seeds' weights; two seeds make one pair, which is held fixed.
        """
        first_K, second_K = np.triu_indices(self.seeds.shape[1], k=1)
        assert len(first_K) == len(values_KP), f"{len(values_KP)} pairs of {self.seeds.shape[1]} seeds"
        pairs_LK = self.seeds[:, first_K] * self.seeds[:, second_K]
        if len(values_KP) == 1:
            pairs_LK = np.ones_like(pairs_LK)
        pairs_LK = pairs_LK / pairs_LK.sum(axis=1, keepdims=True)
        place_G, weights_LU = self.unit_weights(columns)
        member_GU = place_G[:, None] == np.arange(weights_LU.shape[1])
        unit_means_KU = values_KP @ member_GU / member_GU.sum(axis=0)
        mean_L = ((pairs_LK @ unit_means_KU) * weights_LU).sum(axis=1)
        if len(values_KP) == 1 and weights_LU.shape[1] == 1:
            mean_L[1:] = np.nan
        return mean_L

    def hold(self, means_KL: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Return means with all rows but the first NaN, if neither seeds nor the group's prompts can be drawn."""
        if self.seeds.shape[1] == 1 and len(set(self.unit_of[list(columns)])) == 1:
            means_KL[:, 1:] = np.nan
        return means_KL


def make_draws(num_seeds: int, units_P: Sequence[int], num_clean: int, resamples: int) -> Draws:
    """Return the draws of a run.

    Args:
        num_seeds: S.
        units_P: the unit of each prompt: clean prompts are numbered from 0, units of one prompt follow.
        num_clean: number of clean prompts.
        resamples: R.
    """
    sizes = {"seeds": num_seeds, CLEAN_PROMPTS: num_clean, "prompts": max(units_P) + 1 - num_clean}
    total, offset, start = sum(sizes.values()), 0, resamples + 1
    drawn = [draw_weights(size, resamples, purpose) * size for purpose, size in sizes.items() if size]
    parts, blocks = [np.concatenate(drawn, axis=1)], []
    for size in sizes.values():
        if size > 1:
            without = np.ones((size, total))
            without[:, offset : offset + size] -= np.eye(size)
            parts.append(without)
            blocks.append(slice(start, start + size))
            start += size
        offset += size
    weights = np.concatenate(parts)
    seeds_LS, units_LU = weights[:, :num_seeds], np.ascontiguousarray(weights[:, num_seeds:])
    return Draws(
        seeds=seeds_LS / seeds_LS.sum(axis=1, keepdims=True),
        units=units_LU,
        unit_of=np.asarray(units_P),
        blocks=tuple(blocks),
    )
