"""Cosines and spreads of L2-normalised embeddings: alignment, fidelity, diversity."""

from __future__ import annotations

import numpy as np


def mean_cosine(x_ND: np.ndarray, y_MD: np.ndarray) -> float:
    """Return the mean cosine over all pairs of rows of two sets of unit vectors, in [-1, 1].

    With one text embedding as the second set it is CLIP-T, with the training images CLIP-I
    (Ruiz et al., arXiv 2208.12242, section 4.2).
    """
    return float(x_ND.astype(np.float64).mean(axis=0) @ y_MD.astype(np.float64).mean(axis=0))


def mean_pairwise_distance(x_ND: np.ndarray) -> float:
    """Return the mean Euclidean distance over the N(N-1)/2 pairs of different rows, in [0, 2]; NaN for one row."""
    if len(x_ND) < 2:
        return float("nan")
    x_ND = x_ND.astype(np.float64)
    first, second = np.triu_indices(len(x_ND), k=1)
    return float(np.linalg.norm(x_ND[first] - x_ND[second], axis=1).mean())
