"""Near-copies: images that lie as close to a training photo as two photos lie to one another.

Legend: N images, M photos, D dimensions.
"""

from __future__ import annotations

import numpy as np


def near_copy_cosine(reference_MD: np.ndarray) -> float:
    """Return the highest cosine between two different training photos; NaN where there is one photo.

    Photos of one subject from other sides are the closest that is no copy: what comes closer to a photo
    than any of them shows more of that photo than of the subject.

    Args:
        reference_MD: (M, D) rows of unit length.
    """
    if len(reference_MD) < 2:
        return float("nan")
    reference_MD = reference_MD.astype(np.float64)
    cosines_MM = reference_MD @ reference_MD.T
    np.fill_diagonal(cosines_MM, -np.inf)
    return float(cosines_MM.max())


def near_copy_share(x_ND: np.ndarray, reference_MD: np.ndarray, *, threshold: float) -> float:
    """Return the share of images whose highest cosine to a photo reaches the threshold, in [0, 1].

    Args:
        x_ND: (N, D) images, rows of unit length.
        reference_MD: (M, D) photos, rows of unit length.
        threshold: `near_copy_cosine`; NaN gives NaN.
    """
    if np.isnan(threshold):
        return float("nan")
    cosines_NM = x_ND.astype(np.float64) @ reference_MD.astype(np.float64).T
    return float((cosines_NM.max(axis=1) >= threshold).mean())
