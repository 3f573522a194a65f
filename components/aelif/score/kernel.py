"""Maximum mean discrepancy between generated and training images: CMMD and KID, in CLIP space.

The kernel's means between prompts are taken once; a resample of prompts is then a weighted sum of
P × P numbers, not of all pairs of images.

Legend: N, M points of the two sets, D dimensions, P prompts, R resamples, B rows of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aelif.score.distances import BLOCK, check_points

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(N, D) and (M, D) float64 → (N, M)."""

CMMD_SCALE = 1000.0
"""CMMD is reported a thousandfold, as its authors do."""


def rbf(bandwidth: float = 10.0, scale: float = CMMD_SCALE) -> Kernel:
    """Return the kernel scale · exp(−‖x − y‖² / (2 bandwidth²)).

    With the default bandwidth on unit CLIP embeddings `mmd2` is CMMD (Jayasumana et al., arXiv
    2401.09603), including its factor 1000. They average over all pairs, self-pairs among them; we
    leave those out, so that few images do not bias it upwards.
    """

    def kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
        norms_NM = np.einsum("nd,nd->n", x_ND, x_ND)[:, None] + np.einsum("md,md->m", y_MD, y_MD)
        squared_NM = np.maximum(norms_NM - 2 * (x_ND @ y_MD.T), 0)
        return scale * np.exp(squared_NM / (-2 * bandwidth**2))

    return kernel


def polynomial(degree: int = 3) -> Kernel:
    """Return the kernel (x·y / D + 1)^degree: with degree 3, that of KID (Bińkowski et al., arXiv 1801.01401).

    Theirs is on Inception features; ours on unit CLIP embeddings, where x·y / D is at most 1 / D and
    values are accordingly small.
    """

    def kernel(x_ND: np.ndarray, y_MD: np.ndarray) -> np.ndarray:
        return (x_ND @ y_MD.T / x_ND.shape[1] + 1) ** degree

    return kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelBlocks:
    """Means of a kernel between the images of prompts, and between them and the reference."""

    within: np.ndarray
    """(P, P) mean between images of prompts i and j; of i = i over pairs of different images (0 for a single one)."""
    across: np.ndarray
    """(P,) mean between the images of prompt i and the reference."""
    reference: float
    """Mean over pairs of different reference points; NaN for a single one."""
    counts: np.ndarray
    """(P,) images of each prompt."""


def block_means(x_ND: np.ndarray, groups_N: np.ndarray, y_MD: np.ndarray, *, kernel: Kernel) -> KernelBlocks:
    """Return the means of a kernel between all prompts' images and the reference, in bounded memory.

    Args:
        x_ND: (N, D) images.
        groups_N: the prompt of each image, as a number from 0; every prompt has an image.
        y_MD: (M, D) reference.
        kernel: `rbf` or `polynomial`.

    Raises:
        ValueError: if a set is empty or holds NaN, dimensions differ, or a prompt has no image.
    """
    check_points(x_ND, y_MD)
    groups_N = np.asarray(groups_N)
    counts_P = np.bincount(groups_N)
    if len(groups_N) != len(x_ND) or not counts_P.all():
        raise ValueError(f"groups = {counts_P.tolist()} of {len(x_ND)} images: number the prompts 0, 1, … without gaps")
    order_N = np.argsort(groups_N, kind="stable")
    sums_PP, self_P = _sums_within(x_ND[order_N], groups_N[order_N], counts_P, kernel)
    pairs_PP = np.outer(counts_P, counts_P).astype(np.float64)
    diagonal = np.diag_indices(len(counts_P))
    sums_PP[diagonal] -= self_P
    pairs_PP[diagonal] -= counts_P
    reference_11, reference_self_1 = _sums_within(y_MD, np.zeros(len(y_MD), int), np.array([len(y_MD)]), kernel)
    num_pairs = len(y_MD) * (len(y_MD) - 1)
    return KernelBlocks(
        within=np.divide(sums_PP, pairs_PP, out=np.zeros_like(sums_PP), where=pairs_PP > 0),
        across=_sums_across(x_ND[order_N], groups_N[order_N], y_MD, kernel) / (counts_P * len(y_MD)),
        reference=float((reference_11[0, 0] - reference_self_1[0]) / num_pairs) if num_pairs else float("nan"),
        counts=counts_P,
    )


def mmd2(blocks: KernelBlocks, weights_RP: np.ndarray) -> np.ndarray:
    """Return (R,) unbiased squared MMD between a mixture of prompts and the reference, one per row of weights.

    An image of prompt p weighs v = w_p / n_p; the mean over pairs of different images is
    Σ_{a≠b} v_a v_b k(a, b) / (1 − Σ v_a²). For equal weights it is the U-statistic of all images
    (Gretton et al., 2012, lemma 6), and may be below 0; a prompt drawn twice is not compared with itself.

    Args:
        blocks: of `block_means`.
        weights_RP: (R, P) weights of prompts, rows sum to 1; a row of NaN gives NaN.
    """
    own_share_P = 1 - 1 / blocks.counts  # pairs of different images among all pairs of a prompt
    pair_PP = blocks.within.copy()
    pair_PP[np.diag_indices(len(pair_PP))] *= own_share_P
    sums_R = np.einsum("rp,rp->r", weights_RP @ pair_PP, weights_RP)
    totals_R = 1 - (weights_RP**2) @ (1 / blocks.counts)
    within_R = np.divide(sums_R, totals_R, out=np.full_like(sums_R, np.nan), where=totals_R > 1e-12)
    return within_R - 2 * (weights_RP @ blocks.across) + blocks.reference


def _sums_within(
    x_ND: np.ndarray, groups_N: np.ndarray, counts_P: np.ndarray, kernel: Kernel
) -> tuple[np.ndarray, np.ndarray]:
    """Return (P, P) sums of the kernel between prompts, and (P,) sums over self-pairs; images are sorted by prompt."""
    starts_P = np.cumsum(counts_P) - counts_P
    sums_PP, self_P = np.zeros((len(counts_P), len(counts_P))), np.zeros(len(counts_P))
    x_ND = x_ND.astype(np.float64)
    rows = max(1, BLOCK // max(len(x_ND), 1))
    for start in range(0, len(x_ND), rows):
        values_BN = kernel(x_ND[start : start + rows], x_ND)
        owners_B = groups_N[start : start + rows]
        np.add.at(sums_PP, owners_B, np.add.reduceat(values_BN, starts_P, axis=1))
        own_B = np.arange(len(values_BN))
        np.add.at(self_P, owners_B, values_BN[own_B, start + own_B])
    return sums_PP, self_P


def _sums_across(x_ND: np.ndarray, groups_N: np.ndarray, y_MD: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Return (P,) sums of the kernel between a prompt's images and the reference."""
    y_MD = y_MD.astype(np.float64)
    sums_N = np.empty(len(x_ND))
    rows = max(1, BLOCK // max(y_MD.shape))
    for start in range(0, len(x_ND), rows):
        sums_N[start : start + rows] = kernel(x_ND[start : start + rows].astype(np.float64), y_MD).sum(axis=1)
    return np.bincount(groups_N, weights=sums_N)
