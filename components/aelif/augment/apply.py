"""Apply a variant's augmentations to text conditions, between text encoder and denoiser.

Shape legend: B rows, L token positions, P width of the pooled embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from aelif.augment.aelif import aelif_mask, aelif_noise_conv, draw_positions
from aelif.augment.baselines import caption_dropout, cep, neftune, string_augmentation
from aelif.augment.displacement import typo_noise, typo_shift
from aelif.augment.draws import draw_magnitudes, draw_uniform
from aelif.augment.interface import Augmentation, Draw, TextPool
from aelif.config import AugmentationConfig, Term, Variant
from aelif.models.condition import TextCondition
from aelif.randomness import torch_generator

HALF_NOISE = 500
"""Where the half with little noise ends, of 1000 timesteps or 1000 σ."""

Operator = Callable[..., Tensor]
"""From embeddings, `magnitude_B`, `eligible_BL` and `generators` to embeddings."""


def augment(
    condition: TextCondition,
    *,
    variant: Variant,
    config: AugmentationConfig,
    seed: int,
    step: int,
    slots: Sequence[int],
    instance: Sequence[bool],
    times: Tensor,
    done: float,
    pool: TextPool,
) -> TextCondition:
    """Return the condition as the variant's terms leave it, one after another; the baseline's is the same object.

    Each term draws numbers of its own, so that adding one does not change what the others do. Caption
    dropout comes last wherever it is written: the unconditional embedding is never augmented.

    Args:
        condition: B prompts.
        variant: the augmentations and their magnitudes.
        config: eligible tokens, noise, and whether the pooled embedding is augmented; a term's options win.
        seed: the run's seed.
        step: optimizer step.
        slots: each row's number within the step's whole batch, over passes and devices.
        instance: whether each row shows a subject, rather than its class.
        times: (B,), the row's noise level in [0, 1000]: timestep of diffusion, 1000 σ of flow matching; on the
            condition's device.
        done: share of the training that is over, in [0, 1).
        pool: other conditions of the same B rows.
    """
    assert len(slots) == len(condition.prompt_embeds)
    for index, term in _in_order(variant.terms):
        own = term.settings(config)
        keys = [0] * len(slots) if own.same_draw else slots
        purpose = f"train/augment/{index}/{term.augmentation}"
        draw = Draw(
            magnitudes=draw_magnitudes(term.magnitude, seed=seed, purpose=purpose, step=step, slots=keys, done=done),
            generators=[torch_generator(seed, purpose, step, key) for key in keys],
            config=own,
            pool=pool,
        )
        touched = FUNCTIONS[term.augmentation](condition, draw)
        may_hit_B = _may_hit(own, instance, times)
        condition = touched if may_hit_B is None else touched.where(may_hit_B, condition)
    return condition


def _may_hit(config: AugmentationConfig, instance: Sequence[bool], times_B: Tensor) -> Tensor | None:
    """Return which rows the settings let an augmentation touch, (B,); None: all."""
    may_hit_B = None if config.class_prompts else torch.tensor(instance).to(times_B.device, non_blocking=True)
    if config.timesteps != "all":
        chosen_B = times_B < HALF_NOISE if config.timesteps == "low" else times_B >= HALF_NOISE
        may_hit_B = chosen_B if may_hit_B is None else may_hit_B & chosen_B
    return may_hit_B


def _in_order(terms: Sequence[Term]) -> Iterable[tuple[int, Term]]:
    """Return the terms with their numbers as written, caption dropout last."""
    return sorted(enumerate(terms), key=lambda numbered: numbered[1].augmentation == "caption_dropout")


def _mask(condition: TextCondition, draw: Draw) -> TextCondition:
    """Zero tokens, and take them out of attention where the settings say so."""
    hit_BL = draw_positions(
        draw.generators, magnitude_B=draw.magnitudes, segments=_segments(condition, draw.config),
        eligible_BL=condition.eligible_positions(draw.config.eligible),
    )  # fmt: skip
    attended_BL = condition.attention_mask
    if draw.config.mask_attention:
        attended_BL = ~hit_BL if attended_BL is None else attended_BL & ~hit_BL
    return replace(
        condition,
        prompt_embeds=condition.prompt_embeds.masked_fill(hit_BL.unsqueeze(-1), 0),
        pooled=_hit_some_pooled(condition.pooled, draw, aelif_mask),
        attention_mask=attended_BL,
    )


def _noise_conv(condition: TextCondition, draw: Draw) -> TextCondition:
    """Multiply tokens by noise."""
    operator = partial(aelif_noise_conv, mean=draw.config.noise_mean, std=draw.config.noise_std)
    embeds_BLD = operator(
        condition.prompt_embeds, magnitude_B=draw.magnitudes, segments=_segments(condition, draw.config),
        eligible_BL=condition.eligible_positions(draw.config.eligible), generators=draw.generators,
    )  # fmt: skip
    return replace(condition, prompt_embeds=embeds_BLD, pooled=_hit_some_pooled(condition.pooled, draw, operator))


def _additive(operator: Operator, condition: TextCondition, draw: Draw) -> TextCondition:
    """Add noise to every eligible token, and to the pooled embedding, as one token, where the settings say so."""
    embeds_BLD = operator(
        condition.prompt_embeds, magnitude_B=draw.magnitudes, generators=draw.generators,
        eligible_BL=condition.eligible_positions(draw.config.eligible),
    )  # fmt: skip
    pooled_BP = condition.pooled
    if draw.config.pooled and pooled_BP is not None:
        one_B1 = torch.ones(len(pooled_BP), 1, dtype=torch.bool, device=pooled_BP.device)
        pooled_BP = operator(
            pooled_BP.unsqueeze(1), magnitude_B=draw.magnitudes, eligible_BL=one_B1, generators=draw.generators
        ).squeeze(1)
    return replace(condition, prompt_embeds=embeds_BLD, pooled=pooled_BP)


def _hit_some_pooled(pooled_BP: Tensor | None, draw: Draw, operator: Operator) -> Tensor | None:
    """Return the pooled embeddings, each hit as a whole with its magnitude as probability, if the settings say so.

    What it draws comes after the tokens' numbers: switching it on does not change what they suffer.
    """
    if pooled_BP is None or not draw.config.pooled:
        return pooled_BP
    hit_B1 = draw_uniform(draw.generators, 1) < draw.magnitudes.unsqueeze(1)
    return operator(
        pooled_BP.unsqueeze(1), magnitude_B=torch.ones_like(draw.magnitudes),
        eligible_BL=hit_B1.to(pooled_BP.device), generators=draw.generators,
    ).squeeze(1)  # fmt: skip


def most_eligible(condition: TextCondition, config: AugmentationConfig) -> int:
    """Return of how many tokens AELIF's share is taken, in the prompt and segment that have most."""
    eligible_BL = condition.eligible_positions(config.eligible)
    sizes = _segments(condition, config) or [eligible_BL.shape[1]]
    return max(int(part_BS.sum(dim=1).max()) for part_BS in eligible_BL.split(list(sizes), 1))


def _segments(condition: TextCondition, config: AugmentationConfig) -> Sequence[int] | None:
    """Return the segments of which the share is taken apart, None where it is taken of all tokens together."""
    return condition.segments if config.segments == "apart" else None


FUNCTIONS: dict[str, Augmentation] = {
    "aelif_mask": _mask,
    "aelif_noise_conv": _noise_conv,
    "cep": partial(_additive, cep),
    "neftune": partial(_additive, neftune),
    "caption_dropout": caption_dropout,
    "string_augmentation": string_augmentation,
    "typo_shift": typo_shift,
    "typo_noise": typo_noise,
}
"""Name of an augmentation, as in `aelif.config.AUGMENTATIONS`, → what it does to a condition."""
