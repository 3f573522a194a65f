"""Cosines and spreads of L2-normalised embeddings: alignment, fidelity, diversity."""

from __future__ import annotations

import numpy as np

from aelif.score.distances import BLOCK, euclidean_distances


def mean_cosine(x_ND: np.ndarray, y_MD: np.ndarray) -> float:
    """Return the mean cosine over all pairs of rows of two sets of unit vectors, in [-1, 1].

    With one text embedding as the second set it is CLIP-T, with the training images CLIP-I, and
    with the embeddings of a self-supervised model DINO (Ruiz et al., arXiv 2208.12242, section 4.2).
    """
    return float(x_ND.mean(axis=0, dtype=np.float64) @ y_MD.mean(axis=0, dtype=np.float64))


def mean_pairwise_distance(x_ND: np.ndarray) -> float:
    """Return the mean Euclidean distance over the N(N-1)/2 pairs of different rows, in [0, 2]; NaN for one row."""
    if len(x_ND) < 2:
        return float("nan")
    rows = max(1, BLOCK // len(x_ND))
    total = sum(euclidean_distances(x_ND[start : start + rows], x_ND).sum() for start in range(0, len(x_ND), rows))
    return float(total / (len(x_ND) * (len(x_ND) - 1)))


def vendi_score(x_ND: np.ndarray) -> float:
    """Return the effective number of different rows, from 1 (all equal) to N (all orthogonal).

    exp(−Σ λ log λ) over the eigenvalues λ of K / N, where K holds the cosines of all pairs (Friedman
    and Dieng, arXiv 2210.02410). X Xᵀ and Xᵀ X share their eigenvalues above 0; the smaller one is taken.

    Args:
        x_ND: (N, D) rows of unit length.
    """
    x_ND = x_ND.astype(np.float64)
    gram = x_ND.T @ x_ND if len(x_ND) > x_ND.shape[1] else x_ND @ x_ND.T
    eigenvalues = np.linalg.eigvalsh(gram / len(x_ND))
    present = eigenvalues[eigenvalues > 0]  # rounding leaves some just below
    return float(np.exp(-(present * np.log(present)).sum()))
