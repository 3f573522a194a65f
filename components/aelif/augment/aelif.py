"""Augmentation of Embeddings with Latent Implicit Filtering (AELIF, arXiv 2506.07706).

Both operators hit n = floor(magnitude * number of eligible tokens) positions of each prompt,
drawn without replacement. Shape legend: B prompts, L token positions, D embedding width.

Samples are drawn one after another from one generator, and each takes the same count of
numbers whatever its tokens are: the draw of sample i does not depend on the other samples.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def aelif_mask(prompt_embeds_BLD: Tensor, *, magnitude: float, eligible_BL: Tensor, generator: Generator) -> Tensor:
    """Zero a random share of the token embeddings of each prompt.

    Zeroing is not removal: a zero token has zero keys and values in SDXL's attention, but keeps
    its share of the softmax.

    Args:
        prompt_embeds_BLD: prompt embeddings, of any floating dtype.
        magnitude: share of the eligible tokens, in [0, 1]; 0 returns the input unchanged.
        eligible_BL: booleans; which positions may be hit.
        generator: a CPU generator.

    Returns:
        A new (B, L, D) tensor of the same dtype.

    Raises:
        ValueError: if magnitude is outside [0, 1].
    """
    _check(magnitude)
    if magnitude == 0:
        return prompt_embeds_BLD
    B, L, _ = prompt_embeds_BLD.shape
    priority_BL = torch.stack([torch.rand(L, generator=generator) for _ in range(B)])
    hit_BL = choose_positions(priority_BL, magnitude=magnitude, eligible_BL=eligible_BL)
    return prompt_embeds_BLD.masked_fill(hit_BL.unsqueeze(-1), 0)


def aelif_noise_conv(
    prompt_embeds_BLD: Tensor, *, magnitude: float, mean: float, std: float, eligible_BL: Tensor, generator: Generator
) -> Tensor:
    """Multiply a random share of the token embeddings of each prompt, element by element, by N(mean, std²) noise.

    Noise is drawn and applied in float32, then cast back: in bfloat16 it would be coarse.

    Args:
        prompt_embeds_BLD: prompt embeddings, of any floating dtype.
        magnitude: share of the eligible tokens, in [0, 1]; 0 returns the input unchanged.
        mean: the noise's mean μ; 1 keeps an embedding's expectation, 0 destroys it.
        std: the noise's standard deviation σ.
        eligible_BL: booleans; which positions may be hit.
        generator: a CPU generator.

    Returns:
        A new (B, L, D) tensor of the same dtype.

    Raises:
        ValueError: if magnitude is outside [0, 1].
    """
    _check(magnitude)
    if magnitude == 0:
        return prompt_embeds_BLD
    B, L, D = prompt_embeds_BLD.shape
    priorities, noises = [], []
    for _ in range(B):
        priorities.append(torch.rand(L, generator=generator))
        noises.append(torch.randn(L, D, generator=generator))
    hit_BL = choose_positions(torch.stack(priorities), magnitude=magnitude, eligible_BL=eligible_BL)
    factor_BLD = torch.stack(noises).mul_(std).add_(mean).to(prompt_embeds_BLD.device)
    noisy_BLD = (prompt_embeds_BLD.float() * factor_BLD).to(prompt_embeds_BLD.dtype)
    return torch.where(hit_BL.unsqueeze(-1), noisy_BLD, prompt_embeds_BLD)


def choose_positions(priority_BL: Tensor, *, magnitude: float, eligible_BL: Tensor) -> Tensor:
    """Return booleans (B, L), true at the n = floor(magnitude * eligible) eligible positions of lowest priority.

    Uniform priorities make this a draw without replacement, for the whole batch at once.
    """
    priority_BL = priority_BL.to(eligible_BL.device).masked_fill(~eligible_BL, torch.inf)
    rank_BL = priority_BL.argsort(dim=1, stable=True).argsort(dim=1)
    # 0.29 * 100 is 28.999… in floating point; the tolerance keeps the floor that arithmetic means.
    count_B1 = (eligible_BL.sum(dim=1, keepdim=True).double() * magnitude + 1e-9).floor()
    return rank_BL < count_B1


def _check(magnitude: float) -> None:
    if not 0.0 <= magnitude <= 1.0:
        raise ValueError(f"magnitude = {magnitude!r}: give a share of the tokens between 0 and 1")
