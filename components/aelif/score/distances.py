"""Euclidean distances between all points of two sets, fast and true near zero.

Legend: N, M points of the two sets, D dimensions, K pairs.
"""

from __future__ import annotations

import numpy as np

BLOCK = 2**21
"""Numbers held at once in float64 beside inputs and result: 16 MB."""

_CLOSE = 1e-4
"""Pairs whose squared distance is a smaller share of their squared norms are subtracted one by one."""


def check_points(x_ND: np.ndarray, y_MD: np.ndarray) -> None:
    """Refuse what has no distance.

    Raises:
        ValueError: if a set is empty or holds NaN, or the dimensions differ.
    """
    if x_ND.ndim != 2 or y_MD.ndim != 2 or x_ND.shape[1] != y_MD.shape[1] or not len(x_ND) or not len(y_MD):
        raise ValueError(f"points = {x_ND.shape} and {y_MD.shape}: give two non-empty sets of the same dimension")
    for points in (x_ND, y_MD):
        if not np.isfinite(points.sum()) and not np.isfinite(points).all():  # the sum alone is fast, but may overflow
            row = int(np.argwhere(~np.isfinite(points))[0, 0])
            raise ValueError(f"points: row {row} of {len(points)} is not finite; embed the images again")


def euclidean_distances(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
    """Return (N, M) float64 distances ‖x_i − y_j‖, with a relative error below 1e-10.

    ‖x‖² + ‖y‖² − 2 x·y turns the work into one matrix product, but cancels where points nearly
    coincide; those few pairs are computed from their differences, so equal points are exactly 0 apart.
    """
    y_MD = y_MD.astype(np.float64)
    y_squared_M = np.einsum("md,md->m", y_MD, y_MD)
    distances_NM = np.empty((len(x_ND), len(y_MD)))
    rows = max(1, BLOCK // max(y_MD.shape))
    for start in range(0, len(x_ND), rows):
        x_BD = x_ND[start : start + rows].astype(np.float64)
        norms_BM = np.einsum("bd,bd->b", x_BD, x_BD)[:, None] + y_squared_M
        squared_BM = norms_BM - 2 * (x_BD @ y_MD.T)
        _correct_close_pairs(squared_BM, norms_BM, x_BD, y_MD)
        np.sqrt(squared_BM, out=distances_NM[start : start + rows])
    return distances_NM


def _correct_close_pairs(squared_NM: np.ndarray, norms_NM: np.ndarray, x_ND: np.ndarray, y_MD: np.ndarray) -> None:
    first_K, second_K = np.nonzero(squared_NM <= _CLOSE * norms_NM)
    pairs = max(1, BLOCK // x_ND.shape[1])
    for start in range(0, len(first_K), pairs):
        i_K, j_K = first_K[start : start + pairs], second_K[start : start + pairs]
        difference_KD = x_ND[i_K] - y_MD[j_K]
        squared_NM[i_K, j_K] = np.einsum("kd,kd->k", difference_KD, difference_KD)
