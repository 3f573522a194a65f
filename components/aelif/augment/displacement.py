"""Augmentations of our own: prompt embeddings moved the way that people's errors move them.

AELIF's masks and factors hit positions and numbers one by one. An error in a word does something else: it changes
the number of its tokens, so that all later ones move, and the pooled embedding with them. How, the text encoder itself
says: an error's displacement is the difference between the conditions of a misspelt version and of the prompt. Both
operators move along such differences, token embeddings and pooled embedding alike. Shape legend: B rows.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from aelif.augment.draws import draw_normal, draw_uniform
from aelif.augment.interface import Draw
from aelif.models.condition import TextCondition

NUM_DIRECTIONS = 4
"""Displacements that make up one draw of `typo_noise`."""


def typo_shift(condition: TextCondition, draw: Draw) -> TextCondition:
    """Move each row, with its magnitude as probability, along the displacement of one of its misspelt versions.

    How far is drawn from U(0, reach): at 1 the row is the misspelt version, below it is between the two, and
    beyond it an error of this kind at its worst. `string_augmentation` knows 0 and 1 alone.
    """
    hit_B = draw_uniform(draw.generators) < draw.magnitudes
    length_B = draw_uniform(draw.generators).mul_(draw.config.reach)
    return _move(condition, [(draw.misspelt(), length_B * hit_B)])


def typo_noise(condition: TextCondition, draw: Draw) -> TextCondition:
    """Add noise whose covariance is σ² times that of the displacements of the row's misspelt versions about the row.

    A sum of m displacements drawn at random, each times a number from N(0, σ²/m), has the covariance σ² E[d dᵀ], which
    is never written out: for one prompt of SDXL's it would have 157,696² entries. σ is the magnitude.
    """
    numbers_BN = draw_normal(draw.generators, NUM_DIRECTIONS) * (draw.magnitudes / math.sqrt(NUM_DIRECTIONS))[:, None]
    return _move(condition, [(draw.misspelt(), number_B) for number_B in numbers_BN.T.float()])


def _move(condition: TextCondition, steps: list[tuple[TextCondition, Tensor]]) -> TextCondition:
    """Return the condition moved towards others by multiples of the way to them, added up; (B,) for each."""
    lengths = [length_B.float().to(condition.prompt_embeds.device) for _, length_B in steps]
    pooled = [other.pooled for other, _ in steps if other.pooled is not None]
    return replace(
        condition,
        prompt_embeds=_along(condition.prompt_embeds, [other.prompt_embeds for other, _ in steps], lengths),
        pooled=None if condition.pooled is None else _along(condition.pooled, pooled, lengths),
    )


def _along(start: Tensor, ends: list[Tensor], lengths: list[Tensor]) -> Tensor:
    """Return start + Σ length (end − start), row by row, added up in float32."""
    moved = start.float()
    for end, length_B in zip(ends, lengths, strict=True):
        moved = moved + length_B.view(-1, *[1] * (start.dim() - 1)) * (end.float() - start.float())
    return moved.to(start.dtype)
