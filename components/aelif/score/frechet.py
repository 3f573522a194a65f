"""The Fréchet distance between two sets of embeddings, each taken for a Gaussian: FID's formula, in CLIP space.

Legend: N, M points of the two sets, D dimensions, K rows of a factor, K = min(N, D) at most.
"""

from __future__ import annotations

import numpy as np

from aelif.score.distances import BLOCK, check_points


def frechet_distance(x_ND: np.ndarray, y_MD: np.ndarray) -> float:
    """Return ‖μ_x − μ_y‖² + tr(Σ_x + Σ_y − 2 (Σ_x Σ_y)^½), NaN where a set has one point.

    The squared W2 between Gaussians with the sets' means and (unbiased) covariances (Dowson and
    Landau, 1982; FID: Heusel et al., arXiv 1706.08500). With Σ_x = AᵀA and Σ_y = BᵀB the trace of
    the root is the sum of the singular values of A Bᵀ: no D × D root is taken, so covariances of
    few points, which have no inverse, do no harm. It does stay biased upwards for few points.

    Raises:
        ValueError: if a set is empty or holds NaN, or the dimensions differ.
    """
    check_points(x_ND, y_MD)
    if len(x_ND) < 2 or len(y_MD) < 2:
        return float("nan")
    mean_x_D, a_KD = _moments(x_ND)
    mean_y_D, b_KD = _moments(y_MD)
    spread = (a_KD**2).sum() + (b_KD**2).sum() - 2 * np.linalg.norm(a_KD @ b_KD.T, ord="nuc")
    return float(((mean_x_D - mean_y_D) ** 2).sum() + max(spread, 0.0))  # rounding alone makes it negative


def _moments(x_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (D,) mean and a (K, D) factor A of the covariance AᵀA, in memory of a block and D².

    Centred points over √(N − 1) are such a factor; more than D of them are reduced to D rows by
    QR, block by block.
    """
    width = x_ND.shape[1]
    mean_D = x_ND.mean(axis=0, dtype=np.float64)
    rows = max(width, BLOCK // width)
    factor_KD = np.empty((0, width))
    for start in range(0, len(x_ND), rows):
        factor_KD = np.concatenate([factor_KD, x_ND[start : start + rows] - mean_D])
        if len(factor_KD) > width:
            factor_KD = np.asarray(np.linalg.qr(factor_KD, mode="r"))
    return mean_D, factor_KD / np.sqrt(len(x_ND) - 1)
