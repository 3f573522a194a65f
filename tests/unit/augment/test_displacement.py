"""Our own augmentations: along the displacements of real errors, tokens and pooled embedding alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator

from aelif.augment.displacement import typo_noise, typo_shift
from aelif.augment.interface import Draw
from aelif.config import AugmentationConfig
from aelif.models.condition import TextCondition, TokenKind
from aelif.randomness import torch_generator

BOTH = pytest.mark.parametrize("operator", [typo_shift, typo_noise])
TOKENS, WIDTH, POOLED, VERSIONS = 3, 2, 4, 5


def condition_of(rows: int, *, dtype: torch.dtype = torch.float32, pooled: bool = True) -> TextCondition:
    generator = torch.Generator().manual_seed(1)
    return TextCondition(
        prompt_embeds=torch.randn(1, TOKENS, WIDTH, generator=generator).to(dtype).expand(rows, -1, -1).clone(),
        pooled=torch.randn(1, POOLED, generator=generator).to(dtype).expand(rows, -1).clone() if pooled else None,
        token_kinds=torch.full((rows, TOKENS), int(TokenKind.CONTENT), dtype=torch.int8),
        segments=(TOKENS,),
    )


class Pool:
    """A handful of misspelt versions of the one prompt that all rows have."""

    def __init__(self, clean: TextCondition) -> None:
        generator = torch.Generator().manual_seed(2)
        self.clean = clean
        self.tokens = torch.randn(VERSIONS, TOKENS, WIDTH, generator=generator).to(clean.prompt_embeds.dtype)
        self.pooled = torch.randn(VERSIONS, POOLED, generator=generator).to(clean.prompt_embeds.dtype)

    def null(self) -> TextCondition:
        raise AssertionError("errors are no missing prompts")

    def misspelt(self, generators: Sequence[Generator], scope: str) -> TextCondition:
        rows = [int(torch.randint(VERSIONS, (), generator=generator)) for generator in generators]
        pooled = None if self.clean.pooled is None else self.pooled[rows]
        return replace(self.clean, prompt_embeds=self.tokens[rows], pooled=pooled)

    def displacements(self) -> np.ndarray:
        """Return (VERSIONS, all numbers): tokens, then pooled embedding."""
        tokens = self.tokens - self.clean.prompt_embeds[:1]
        pooled = self.pooled - self.clean.pooled[:1]
        return torch.cat([tokens.flatten(1), pooled], dim=1).double().numpy()


def apply(operator, condition: TextCondition, magnitude: float, *, first: int = 0, **settings_: object):
    rows = len(condition.prompt_embeds)
    draw = Draw(
        magnitudes=torch.full((rows,), magnitude, dtype=torch.float64),
        generators=[torch_generator(0, "test/rows", first + row) for row in range(rows)],
        config=AugmentationConfig(**settings_), pool=Pool(condition),
    )  # fmt: skip
    return operator(condition, draw)


def moved(condition: TextCondition, result: TextCondition) -> np.ndarray:
    """Return (B, all numbers): how far each row moved."""
    tokens, pooled = (result.prompt_embeds - condition.prompt_embeds), result.pooled - condition.pooled
    return torch.cat([tokens.flatten(1), pooled], dim=1).double().numpy()


@BOTH
def test_magnitude_zero_changes_no_bit(operator):
    condition = condition_of(6)
    result = apply(operator, condition, 0.0)
    assert torch.equal(result.prompt_embeds, condition.prompt_embeds)
    assert torch.equal(result.pooled, condition.pooled)


@given(magnitude=st.floats(0.05, 1), reach=st.floats(0.1, 3))
@settings(max_examples=30, deadline=None)
def test_a_shift_lies_on_the_way_to_one_misspelt_version(magnitude: float, reach: float):
    condition = condition_of(200)
    ways = moved(condition, apply(typo_shift, condition, magnitude, reach=reach))
    directions = Pool(condition).displacements()
    lengths = ways @ np.linalg.pinv(directions)  # exact for rows in the span: 10 numbers, 5 displacements
    assert np.allclose(lengths @ directions, ways, atol=1e-5), "tokens and pooled embedding move by the same length"
    used = (np.abs(lengths) > 1e-4).sum(axis=1)
    assert used.max() <= 1
    assert lengths.min() > -1e-5
    assert lengths.max() <= reach + 1e-5
    assert abs((used == 1).mean() - magnitude) < 0.2  # 5 standard errors and more


def test_a_shift_reaches_between_and_beyond_the_errors():
    condition = condition_of(4000)
    lengths = moved(condition, apply(typo_shift, condition, 1.0, reach=1.5)) @ np.linalg.pinv(
        Pool(condition).displacements()
    )
    assert lengths.sum(axis=1).mean() == pytest.approx(0.75, abs=0.04)
    assert (lengths.max(axis=1) > 1).mean() == pytest.approx(1 / 3, abs=0.04)


def test_what_a_small_magnitude_shifts_a_larger_one_shifts_alike():
    condition = condition_of(200)
    few, many = (moved(condition, apply(typo_shift, condition, share)) for share in (0.3, 0.7))
    hit = few.any(axis=1)
    assert hit.sum() < many.any(axis=1).sum()
    assert np.array_equal(few[hit], many[hit])


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_noise_has_the_second_moment_of_the_displacements(sigma: float):
    condition = condition_of(20_000)
    ways = moved(condition, apply(typo_noise, condition, sigma))
    directions = Pool(condition).displacements()
    expected = sigma**2 * directions.T @ directions / VERSIONS
    scale = np.abs(expected).max()
    assert np.allclose(ways.T @ ways / len(ways), expected, atol=0.06 * scale)
    assert np.allclose(ways.mean(axis=0), 0, atol=0.05 * np.sqrt(scale))


def test_noise_grows_in_proportion():
    condition = condition_of(50)
    one, three = (moved(condition, apply(typo_noise, condition, sigma)) for sigma in (1.0, 3.0))
    assert np.allclose(three, 3 * one, atol=1e-4)


@BOTH
def test_a_row_does_not_depend_on_those_beside_it(operator):
    condition = condition_of(8)
    whole = apply(operator, condition, 0.9)
    alone = apply(operator, condition_of(3), 0.9, first=5)
    assert torch.equal(whole.prompt_embeds[5:], alone.prompt_embeds)
    assert torch.equal(whole.pooled[5:], alone.pooled)


@BOTH
def test_models_without_a_pooled_embedding_and_half_precision_are_served(operator):
    condition = condition_of(5, dtype=torch.bfloat16, pooled=False)
    result = apply(operator, condition, 1.0)
    assert result.pooled is None
    assert result.prompt_embeds.dtype == torch.bfloat16
    assert not torch.equal(result.prompt_embeds, condition.prompt_embeds)


@BOTH
def test_gradients_flow(operator):
    condition = condition_of(4)
    embeds = condition.prompt_embeds.requires_grad_()
    apply(operator, condition, 0.5).prompt_embeds.sum().backward()
    assert embeds.grad.isfinite().all()
    assert embeds.grad.abs().sum() > 0
