"""Wasserstein distances between two sets of embeddings, by POT's exact solver.

Legend: N, M points of the two sets, D dimensions of an embedding, P projections.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from aelif.imports import absent_modules
from aelif.randomness import numpy_generator

with absent_modules("torch", "jax", "tensorflow", "cupy", "sklearn"):  # optional backends: seconds of import
    import ot

NUM_PROJECTIONS = 256
"""Directions of the sliced distance."""


def wasserstein(x_ND: np.ndarray, y_MD: np.ndarray, *, order: Literal[1, 2] = 1) -> float:
    """Return W_p between two point sets with uniform weights and Euclidean ground distance.

    W_p = (min over couplings T of sum_ij T_ij ||x_i - y_j||^p)^(1/p), solved exactly as a linear
    programme (Bonneel et al., 2011; POT's `emd2`). For unit vectors it lies in [0, 2].

    Args:
        x_ND: (N, D) points.
        y_MD: (M, D) points.
        order: p.

    Raises:
        ValueError: if a set is empty or the dimensions differ.
    """
    x_ND, y_MD = _checked(x_ND, y_MD)
    cost_NM = np.linalg.norm(x_ND[:, None, :] - y_MD[None, :, :], axis=-1) ** order
    cost = float(ot.emd2(np.full(len(x_ND), 1 / len(x_ND)), np.full(len(y_MD), 1 / len(y_MD)), cost_NM))
    return max(cost, 0.0) ** (1 / order)  # the solver may return −1e-17 for equal sets


def sliced_wasserstein(
    x_ND: np.ndarray, y_MD: np.ndarray, *, num_projections: int = NUM_PROJECTIONS, seed: int = 0
) -> float:
    """Return the sliced W2: the root mean square of W2 between projections on random directions.

    The directions depend on `seed` and D alone, so that all sets are seen from the same sides
    (Bonneel et al., *Sliced and Radon Wasserstein Barycenters*, 2015).

    Raises:
        ValueError: if a set is empty or the dimensions differ.
    """
    x_ND, y_MD = _checked(x_ND, y_MD)
    directions_DP = numpy_generator(seed, "score/projections").standard_normal((x_ND.shape[1], num_projections))
    directions_DP /= np.linalg.norm(directions_DP, axis=0)
    return float(ot.sliced_wasserstein_distance(x_ND, y_MD, p=2, projections=directions_DP))


def leave_one_out_distances(reference_ND: np.ndarray) -> np.ndarray:
    """Return (N,) distances W1({x_i}, the other points): how far a true photo lies from the rest.

    Their mean is the noise floor: no generated image can be expected to come closer.

    Raises:
        ValueError: if there are fewer than two points.
    """
    if len(reference_ND) < 2:
        raise ValueError(f"reference = {len(reference_ND)} image(s): the noise floor needs at least 2 training images")
    return np.array(
        [
            wasserstein(reference_ND[i : i + 1], np.delete(reference_ND, i, axis=0), order=1)
            for i in range(len(reference_ND))
        ]
    )


def leave_one_out_floor(reference_ND: np.ndarray) -> float:
    """Return the mean of `leave_one_out_distances`."""
    return float(leave_one_out_distances(reference_ND).mean())


def _checked(x_ND: np.ndarray, y_MD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if x_ND.ndim != 2 or y_MD.ndim != 2 or x_ND.shape[1] != y_MD.shape[1] or not len(x_ND) or not len(y_MD):
        raise ValueError(f"points = {x_ND.shape} and {y_MD.shape}: give two non-empty sets of the same dimension")
    return x_ND.astype(np.float64), y_MD.astype(np.float64)
