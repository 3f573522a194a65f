"""Apply a variant's augmentation to text conditions, between text encoder and denoiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aelif.augment.aelif import aelif_mask, aelif_noise_conv
from aelif.config import AUGMENTATIONS, TrainConfig, Variant, nearest

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from aelif.models.adapter import TextCondition


def augment(
    condition: TextCondition,
    *,
    variant: Variant,
    config: TrainConfig,
    generator: Generator,
    pooled_generator: Generator,
) -> TextCondition:
    """Return the condition with its embeddings augmented as the variant says; the baseline's is the same.

    With `config.augment_pooled` the pooled embedding is treated as one more token: each sample's
    is hit with probability `magnitude`, whole (zeroed, or multiplied by noise). It has a generator
    of its own, so that switching it on does not change what the tokens suffer.

    Args:
        condition: B prompts.
        variant: the augmentation and its magnitude.
        config: eligible tokens, noise, and whether the pooled embedding is augmented.
        generator: draws positions and noise of the tokens.
        pooled_generator: the same for the pooled embedding.

    Raises:
        ValueError: if the augmentation is unknown.
    """
    if variant.augmentation == "baseline":
        return condition
    eligible_BL = condition.eligible_positions(config.eligible)
    embeds_BLD = _apply(condition.prompt_embeds, eligible_BL, variant.magnitude, variant, config, generator)
    pooled_BP = condition.pooled
    if config.augment_pooled and pooled_BP is not None:
        pooled_BP = _augment_pooled(pooled_BP, variant, config, pooled_generator)
    return condition.with_embeddings(embeds_BLD, pooled_BP)


def _augment_pooled(pooled_BP: Tensor, variant: Variant, config: TrainConfig, generator: Generator) -> Tensor:
    """Return the pooled embeddings (B, P), each hit as a whole with probability `magnitude`."""
    import torch

    hit_B1 = torch.rand(len(pooled_BP), 1, generator=generator).to(pooled_BP.device) < variant.magnitude
    return _apply(pooled_BP.unsqueeze(1), hit_B1, 1.0, variant, config, generator).squeeze(1)


def _apply(
    embeds_BLD: Tensor,
    eligible_BL: Tensor,
    magnitude: float,
    variant: Variant,
    config: TrainConfig,
    generator: Generator,
) -> Tensor:
    if variant.augmentation == "aelif_mask":
        return aelif_mask(embeds_BLD, magnitude=magnitude, eligible_BL=eligible_BL, generator=generator)
    if variant.augmentation == "aelif_noise_conv":
        return aelif_noise_conv(
            embeds_BLD, magnitude=magnitude, mean=config.noise_mean, std=config.noise_std,
            eligible_BL=eligible_BL, generator=generator,
        )  # fmt: skip
    raise ValueError(f"augmentation = {variant.augmentation!r}: {nearest(variant.augmentation, AUGMENTATIONS)}")
