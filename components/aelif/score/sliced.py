"""Wasserstein distances between projections on random lines: sorting instead of a linear programme.

Legend: N, M points of the two sets, D dimensions of an embedding, P prompts, K directions, Q pieces of
the line of quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from aelif.randomness import numpy_generator
from aelif.score.distances import BLOCK, check_points

NUM_PROJECTIONS = 256
"""Directions of the sliced distance."""


def sliced_wasserstein(
    x_ND: np.ndarray,
    y_MD: np.ndarray,
    *,
    order: Literal[1, 2] = 2,
    num_projections: int = NUM_PROJECTIONS,
    seed: int = 0,
) -> float:
    """Return the sliced W_p: the root mean p-th power of W_p between projections on random directions.

    The directions depend on `seed` and D alone, so that all sets are seen from the same sides
    (Bonneel et al., *Sliced and Radon Wasserstein Barycenters of Measures*, 2015). Memory is
    bounded: 100,000 points are projected in parts.

    Raises:
        ValueError: if a set is empty or the dimensions differ.
    """
    return float(sliced_wasserstein_many([x_ND], y_MD, order=order, num_projections=num_projections, seed=seed)[0])


def sliced_wasserstein_many(
    groups: Sequence[np.ndarray] | np.ndarray,
    y_MD: np.ndarray,
    *,
    order: Literal[1, 2] = 2,
    num_projections: int = NUM_PROJECTIONS,
    seed: int = 0,
) -> np.ndarray:
    """Return (P,) sliced W_p of each group, (N, D), to one set; see `sliced_wasserstein`.

    Raises:
        ValueError: if a set is empty or the dimensions differ.
    """
    for x_ND in groups:
        check_points(x_ND, y_MD)
    directions_KD = numpy_generator(seed, "score/projections").standard_normal((y_MD.shape[1], num_projections)).T
    directions_KD = directions_KD / np.linalg.norm(directions_KD, axis=1, keepdims=True)
    powers = np.empty(len(groups))
    for members in _equal_sizes(groups):
        powers[members] = _mean_power([groups[member] for member in members], y_MD, directions_KD, order)
    return powers ** (1 / order)


def sliced_bound(x_ND: np.ndarray, y_MD: np.ndarray, *, order: Literal[1, 2] = 1) -> float:
    """Return the sliced W_p on the scale of W_p itself: a lower bound of it, equal to it where one set is shifted.

    On a line in direction θ, |⟨x − y, θ⟩| is on average ‖x − y‖ · (E|θ_1|^p)^(1/p). So
    SW_p ≤ (E|θ_1|^p)^(1/p) · W_p; dividing by that factor, √(1/D) for p = 2 and
    Γ(D/2) / (√π Γ((D+1)/2)) for p = 1, gives the bound (up to the finite number of directions).

    Raises:
        ValueError: if a set is empty or the dimensions differ.
    """
    width = y_MD.shape[1]
    if order == 2:
        share = width**-0.5
    else:
        share = math.exp(math.lgamma(width / 2) - math.lgamma((width + 1) / 2)) / math.sqrt(math.pi)
    return sliced_wasserstein(x_ND, y_MD, order=order) / share


def _equal_sizes(groups: Sequence[np.ndarray] | np.ndarray) -> list[list[int]]:
    """Return the numbers of the groups, those of equal size together."""
    by_size: dict[int, list[int]] = {}
    for index, x_ND in enumerate(groups):
        by_size.setdefault(len(x_ND), []).append(index)
    return list(by_size.values())


def _mean_power(x_PND: Sequence[np.ndarray], y_MD: np.ndarray, directions_KD: np.ndarray, order: int) -> np.ndarray:
    """Return (P,) means over the directions of W_p^p between projections; all groups are of one size."""
    size_n, size_m = len(x_PND[0]), len(y_MD)
    x_Q, y_Q, width_Q = _common_quantiles(size_n, size_m)
    total = np.zeros(len(x_PND))
    for prompts, directions in _parts(len(x_PND), len(directions_KD), size_n + size_m):
        part = np.concatenate([x_PND[prompt] for prompt in range(*prompts)])
        seen_KD = directions_KD[slice(*directions)]
        x_KPN = np.sort(_project(part, seen_KD).reshape(len(seen_KD), -1, size_n), axis=-1)
        y_KM = np.sort(_project(y_MD, seen_KD), axis=-1)
        gaps_KPQ = np.abs(x_KPN[..., x_Q] - y_KM[:, None, y_Q])
        total[slice(*prompts)] += (gaps_KPQ**order @ width_Q).sum(axis=0)
    return total / len(directions_KD)


def _common_quantiles(size_n: int, size_m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (Q,) indices into both sorted sets and widths, which sum to 1: where both quantile functions are constant.

    Counted in units of 1 / (N M), so that common edges coincide exactly.
    """
    edges_Q = np.union1d(np.arange(1, size_n + 1) * size_m, np.arange(1, size_m + 1) * size_n)
    widths_Q = np.diff(edges_Q, prepend=0) / (size_n * size_m)
    return (edges_Q - 1) // size_m, (edges_Q - 1) // size_n, widths_Q


def _parts(prompts: int, directions: int, points: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield ranges of prompts and of directions whose projections fit into a block."""
    many = max(1, min(directions, BLOCK // points))
    few = max(1, BLOCK // (points * many))
    for start in range(0, prompts, few):
        for first in range(0, directions, many):
            yield (start, min(start + few, prompts)), (first, min(first + many, directions))


def _project(points_ND: np.ndarray, directions_KD: np.ndarray) -> np.ndarray:
    """Return (K, N) float64 projections, without a float64 copy of all points."""
    projected_KN = np.empty((len(directions_KD), len(points_ND)))
    rows = max(1, BLOCK // points_ND.shape[1])
    for start in range(0, len(points_ND), rows):
        part_DB = points_ND[start : start + rows].T.astype(np.float64)
        np.matmul(directions_KD, part_DB, out=projected_KN[:, start : start + rows])
    return projected_KN
