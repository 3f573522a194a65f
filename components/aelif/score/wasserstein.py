"""Wasserstein distances between sets of embeddings: exact by POT's solver, from slices where sets are huge.

Legend: N, M points of the two sets, D dimensions of an embedding, P prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from aelif.imports import absent_modules
from aelif.score.distances import BLOCK, check_points, euclidean_distances
from aelif.score.sliced import NUM_PROJECTIONS, sliced_bound

with absent_modules("torch", "jax", "tensorflow", "cupy", "sklearn"):  # optional backends: seconds of import
    # The solver itself: `ot.emd2` spends 150 µs a call on backends and gradients around 5 µs of it.
    from ot.lp.emd_wrap import emd_c
from scipy.optimize import linear_sum_assignment

EXACT_PAIRS = 4_000_000
"""Largest N · M that is solved exactly, in some 20 s and 250 MB on one core at most (100,000 images and 20 to 40
photos); 2,000 images and as many others take 1 s."""

_OPTIMAL = 1
_MAX_ITERATIONS = 10**9
"""The simplex ends by itself; POT's usual limit of 100,000 steps stops it early for some thousand points."""


def wasserstein(x_ND: np.ndarray, y_MD: np.ndarray, *, order: Literal[1, 2] = 1) -> float:
    """Return W_p between two point sets with uniform weights and Euclidean ground distance.

    W_p = (min over couplings T of sum_ij T_ij ||x_i - y_j||^p)^(1/p), solved exactly, whatever the
    sizes: a linear programme (Bonneel et al., 2011; the solver of POT's `emd2`), or an assignment
    where both sets are of one size. For unit vectors it lies in [0, 2].

    Args:
        x_ND: (N, D) points.
        y_MD: (M, D) points.
        order: p.

    Raises:
        ValueError: if a set is empty or holds NaN, or the dimensions differ.
    """
    check_points(x_ND, y_MD)
    return _transport_cost(euclidean_distances(x_ND, y_MD) ** order) ** (1 / order)


def wasserstein_many(
    groups: Sequence[np.ndarray] | np.ndarray, y_MD: np.ndarray, *, order: Literal[1, 2] = 1
) -> np.ndarray:
    """Return (P,) distances W_p of each group to one set: `wasserstein` of each, for less.

    All ground distances come from one matrix product. A group so large that N · M exceeds
    `EXACT_PAIRS` gets the estimate of `set_distance`.

    Args:
        groups: P sets of (N, D) points; N may differ.
        y_MD: (M, D) points.
        order: p.

    Raises:
        ValueError: if a set is empty or holds NaN, or the dimensions differ.
    """
    for x_ND in groups:
        check_points(x_ND, y_MD)
    distances_P = np.empty(len(groups))
    exact = [index for index, x_ND in enumerate(groups) if len(x_ND) * len(y_MD) <= EXACT_PAIRS]
    for index in sorted(set(range(len(groups))) - set(exact)):
        distances_P[index] = sliced_bound(groups[index], y_MD, order=order)
    for batch in _batches([(index, len(groups[index])) for index in exact], len(y_MD)):
        cost_NM = euclidean_distances(np.concatenate([groups[index] for index in batch]), y_MD) ** order
        ends = np.cumsum([len(groups[index]) for index in batch])[:-1]
        distances_P[batch] = [_transport_cost(part_NM) ** (1 / order) for part_NM in np.split(cost_NM, ends)]
    return distances_P


def set_distance(x_ND: np.ndarray, y_MD: np.ndarray, *, order: Literal[1, 2] = 1) -> tuple[float, str]:
    """Return W_p between two sets of any size, and how it was found.

    Exact while N · M ≤ `EXACT_PAIRS`; beyond, the sliced distance scaled to a lower bound of W_p
    (`sliced_bound`), in memory proportional to N + M. Compare only what was found alike: in high
    dimensions an exact distance holds the sampling noise of both sets, of which slices see little.

    Raises:
        ValueError: if a set is empty or holds NaN, or the dimensions differ.
    """
    if len(x_ND) * len(y_MD) <= EXACT_PAIRS:
        return wasserstein(x_ND, y_MD, order=order), "exact"
    return sliced_bound(x_ND, y_MD, order=order), f"lower bound from {NUM_PROJECTIONS} slices"


def leave_one_out_distances(reference_ND: np.ndarray) -> np.ndarray:
    """Return (N,) distances W1({x_i}, the other points): how far a true photo lies from the rest.

    One point can only go everywhere, so it is the mean distance to the others. The mean of all is
    the noise floor: no generated image can be expected to come closer.

    Raises:
        ValueError: if there are fewer than two points.
    """
    if len(reference_ND) < 2:
        raise ValueError(f"reference = {len(reference_ND)} image(s): the noise floor needs at least 2 training images")
    check_points(reference_ND, reference_ND)
    return euclidean_distances(reference_ND, reference_ND).sum(axis=1) / (len(reference_ND) - 1)


def leave_one_out_floor(reference_ND: np.ndarray) -> float:
    """Return the mean of `leave_one_out_distances`."""
    return float(leave_one_out_distances(reference_ND).mean())


def _transport_cost(cost_NM: np.ndarray) -> float:
    """Return the least mean cost of moving N equal weights to M equal weights."""
    size_n, size_m = cost_NM.shape
    if size_n == 1 or size_m == 1:
        return float(cost_NM.mean())
    if size_n == size_m:  # an optimal coupling of equally many equal weights is an assignment (Birkhoff)
        return float(cost_NM[linear_sum_assignment(cost_NM)].mean())
    weights_N, weights_M = np.full(size_n, 1 / size_n), np.full(size_m, 1 / size_m)
    weights_M *= weights_N.sum() / weights_M.sum()
    _, cost, _, _, code = emd_c(weights_N, weights_M, np.ascontiguousarray(cost_NM), _MAX_ITERATIONS, 1)
    assert code == _OPTIMAL, f"POT's solver stopped with code {code}"
    return max(float(cost), 0.0)  # the solver may return −1e-17 for equal sets


def _batches(sizes: Sequence[tuple[int, int]], size_m: int) -> Iterator[list[int]]:
    """Yield the numbers of groups, given with their sizes, in lists whose distances fit into a block."""
    batch: list[int] = []
    points = 0
    for index, size_n in sizes:
        if batch and (points + size_n) * size_m > BLOCK:
            yield batch
            batch, points = [], 0
        batch.append(index)
        points += size_n
    if batch:
        yield batch
