"""Augmentation of Embeddings with Latent Implicit Filtering (AELIF, arXiv 2506.07706).

Both operators hit n = floor(magnitude * number of eligible tokens) positions of each row, drawn
without replacement. They take, besides the embeddings and their own settings:

* `magnitude_B`: each row's share of the eligible tokens, in [0, 1]; float64 on the CPU.
* `eligible_BL`: booleans; which positions may be hit.
* `generators`: one CPU generator per row (see `aelif.augment.draws`).
* `segments`: numbers of positions, L in sum, of which the share is taken apart; None: of all together.

They return a new tensor of the same dtype, through which gradients flow, and raise a ValueError for
a magnitude outside [0, 1]. Shape legend: B rows, L token positions, D embedding width, N drawn noise
vectors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from aelif.augment.draws import draw_uniform


def aelif_mask(
    prompt_embeds_BLD: Tensor,
    *,
    magnitude_B: Tensor,
    eligible_BL: Tensor,
    generators: Sequence[Generator],
    segments: Sequence[int] | None = None,
) -> Tensor:
    """Zero a random share of the token embeddings of each row.

    Zeroing is not removal: a zero token has zero keys and values in SDXL's attention but keeps its
    share of the softmax, and SD3 and FLUX turn it into their context embedder's bias.
    """
    hit_BL = draw_positions(generators, magnitude_B=magnitude_B, eligible_BL=eligible_BL, segments=segments)
    return prompt_embeds_BLD.masked_fill(hit_BL.unsqueeze(-1), 0)


def aelif_noise_conv(
    prompt_embeds_BLD: Tensor,
    *,
    magnitude_B: Tensor,
    mean: float,
    std: float,
    eligible_BL: Tensor,
    generators: Sequence[Generator],
    segments: Sequence[int] | None = None,
) -> Tensor:
    """Multiply a random share of the token embeddings of each row, element by element, by N(mean, std²) noise.

    A mean of 1 keeps an embedding's expectation, 0 destroys it. Noise is drawn and applied in
    float32, then cast back: in bfloat16 it would be coarse. Only as many noise vectors are drawn
    as the magnitude can hit, for SD3 and FLUX have over a million numbers per prompt.
    """
    hit_BL = draw_positions(generators, magnitude_B=magnitude_B, eligible_BL=eligible_BL, segments=segments)
    B, L, D = prompt_embeds_BLD.shape
    counts = [math.ceil(magnitude * L) for magnitude in magnitude_B.tolist()]
    # The rest is never used, but must be finite: its gradient is multiplied by zero.
    noise_BND = torch.zeros(B, max(1, *counts), D)
    for noise_ND, count, generator in zip(noise_BND, counts, generators, strict=True):
        noise_ND[:count].normal_(mean, std, generator=generator)
    place_BL = (hit_BL.cumsum(dim=1) - 1).clamp_(min=0)  # the k-th hit position takes the k-th noise vector
    rows_B1 = torch.arange(B, device=place_BL.device).unsqueeze(1)
    factor_BLD = noise_BND.to(prompt_embeds_BLD.device)[rows_B1, place_BL]
    noisy_BLD = (prompt_embeds_BLD * factor_BLD).to(prompt_embeds_BLD.dtype)
    return torch.where(hit_BL.unsqueeze(-1), noisy_BLD, prompt_embeds_BLD)


def draw_positions(
    generators: Sequence[Generator],
    *,
    magnitude_B: Tensor,
    eligible_BL: Tensor,
    segments: Sequence[int] | None = None,
) -> Tensor:
    """Return booleans (B, L), true at the positions that are hit.

    Raises:
        ValueError: if a magnitude is outside [0, 1].
    """
    for magnitude in magnitude_B.tolist():
        if not 0.0 <= magnitude <= 1.0:
            raise ValueError(f"magnitude = {magnitude!r}: give a share of the tokens between 0 and 1")
    priority_BL = draw_uniform(generators, eligible_BL.shape[1]).to(eligible_BL.device)
    return choose_positions(priority_BL, magnitude_B=magnitude_B, eligible_BL=eligible_BL, segments=segments)


def choose_positions(
    priority_BL: Tensor, *, magnitude_B: Tensor, eligible_BL: Tensor, segments: Sequence[int] | None = None
) -> Tensor:
    """Return booleans (B, L), true at the n eligible positions of lowest priority, of each segment if any are given.

    Uniform priorities make this a draw without replacement, for the whole batch at once.
    """
    sizes = [eligible_BL.shape[1]] if segments is None else list(segments)
    share_B1 = magnitude_B.to(eligible_BL.device).unsqueeze(1)
    last_BL = priority_BL.masked_fill(~eligible_BL, torch.inf)
    chosen = []
    for part_BS, allowed_BS in zip(last_BL.split(sizes, 1), eligible_BL.split(sizes, 1), strict=True):
        rank_BS = part_BS.argsort(dim=1, stable=True).argsort(dim=1)
        chosen.append(rank_BS < whole_tokens(allowed_BS.sum(dim=1, keepdim=True), share_B1))
    return torch.cat(chosen, dim=1)


def whole_tokens(eligible: Tensor, share: Tensor) -> Tensor:
    """Return n = floor(share · number of eligible tokens); `share` is float64."""
    # 0.29 * 100 is 28.999… in floating point; the tolerance keeps the floor that arithmetic means.
    return (eligible * share + 1e-9).floor()
