"""What AELIF competes with: additive noise on the embeddings, and other conditions in a row's place.

The additive operators take `magnitude_B` (float64 on the CPU), `eligible_BL` and `generators` as
those of `aelif.augment.aelif` do, and return a new tensor of the same dtype; noise is drawn and added
in float32. Shape legend: B rows, L token positions, D embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from aelif.augment.draws import draw_normal, draw_uniform
from aelif.augment.interface import Draw
from aelif.models.condition import TextCondition


def cep(
    prompt_embeds_BLD: Tensor, *, magnitude_B: Tensor, eligible_BL: Tensor, generators: Sequence[Generator]
) -> Tensor:
    """Add noise N(0, γ²/D) to every eligible token; γ is the magnitude.

    Conditional embedding perturbation (arXiv 2405.20494): γ is about the length of the noise
    vector, whatever the width.

    Raises:
        ValueError: if a magnitude is negative or not finite.
    """
    _check(magnitude_B)
    noise_BLD = draw_normal(generators, *prompt_embeds_BLD.shape[1:])
    scale_B = (magnitude_B / math.sqrt(prompt_embeds_BLD.shape[2])).float()
    return _add(prompt_embeds_BLD, noise_BLD.mul_(scale_B[:, None, None]).to(prompt_embeds_BLD.device), eligible_BL)


def neftune(
    prompt_embeds_BLD: Tensor, *, magnitude_B: Tensor, eligible_BL: Tensor, generators: Sequence[Generator]
) -> Tensor:
    """Add noise U(-1, 1) α / sqrt(n D) to each of the row's n eligible tokens; α is the magnitude.

    NEFTune (arXiv 2310.05914), which takes the sequence's length for n.

    Raises:
        ValueError: if a magnitude is negative or not finite.
    """
    _check(magnitude_B)
    noise_BLD = draw_uniform(generators, *prompt_embeds_BLD.shape[1:]).mul_(2).sub_(1).to(prompt_embeds_BLD.device)
    numbers_B = eligible_BL.sum(dim=1).clamp(min=1) * prompt_embeds_BLD.shape[2]
    scale_B = (magnitude_B.to(numbers_B.device) / numbers_B.sqrt()).float()
    return _add(prompt_embeds_BLD, noise_BLD.mul_(scale_B[:, None, None]), eligible_BL)


def caption_dropout(condition: TextCondition, draw: Draw) -> TextCondition:
    """Make each row unconditional, pooled embedding and all, with its magnitude as probability.

    Classifier-free guidance trains so (arXiv 2207.12598).
    """
    return _replace_some(condition, draw, draw.pool.null)


def string_augmentation(condition: TextCondition, draw: Draw) -> TextCondition:
    """Replace each row by a misspelt version of its prompt, encoded, with its magnitude as probability.

    Errors before the text encoder, where AELIF's come behind it.
    """
    return _replace_some(condition, draw, draw.misspelt)


def _replace_some(condition: TextCondition, draw: Draw, others: Callable[[], TextCondition]) -> TextCondition:
    """Return the condition with each row replaced with its magnitude as probability; `others` is asked if any is."""
    kept_B = draw_uniform(draw.generators) >= draw.magnitudes
    if kept_B.all():
        return condition
    return condition.where(kept_B.to(condition.prompt_embeds.device), others())


def _add(prompt_embeds_BLD: Tensor, noise_BLD: Tensor, eligible_BL: Tensor) -> Tensor:
    """Return the embeddings with noise added where `eligible_BL` is true."""
    noisy_BLD = (prompt_embeds_BLD + noise_BLD).to(prompt_embeds_BLD.dtype)
    return torch.where(eligible_BL.unsqueeze(-1), noisy_BLD, prompt_embeds_BLD)


def _check(magnitude_B: Tensor) -> None:
    for magnitude in magnitude_B.tolist():
        if not 0.0 <= magnitude < math.inf:
            raise ValueError(f"magnitude = {magnitude!r}: give a number of at least 0")
