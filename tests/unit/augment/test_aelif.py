from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aelif.augment.aelif import aelif_mask, aelif_noise_conv, choose_positions
from aelif.randomness import torch_generator

shapes = st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 5))
magnitudes = st.floats(0, 1)


def draw_case(shape: tuple[int, int, int], seed: int):
    generator = torch_generator(seed, "test")
    embeds = torch.randn(shape, generator=generator) + 10  # no zeros by chance
    return embeds, torch.rand(shape[:2], generator=generator) < 0.6


def noise(embeds, *, magnitude, eligible_BL, generator, mean=1.0, std=1.0):
    return aelif_noise_conv(
        embeds, magnitude=magnitude, mean=mean, std=std, eligible_BL=eligible_BL, generator=generator
    )


OPERATORS = [aelif_mask, noise]


@pytest.mark.parametrize("operator", OPERATORS)
@given(shape=shapes, magnitude=magnitudes, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_exactly_the_floor_of_the_eligible_positions_change(operator, shape, magnitude, seed):
    embeds, eligible = draw_case(shape, seed)
    before = embeds.clone()
    result = operator(embeds, magnitude=magnitude, eligible_BL=eligible, generator=torch_generator(seed, "draw"))
    changed = (result != embeds).any(dim=-1)
    assert not (changed & ~eligible).any()
    expected = [math.floor(int(n) * magnitude + 1e-9) for n in eligible.sum(dim=1)]
    assert changed.sum(dim=1).tolist() == expected
    assert torch.equal(embeds, before)
    assert result.shape == embeds.shape


@pytest.mark.parametrize("operator", OPERATORS)
@given(shape=shapes, magnitude=magnitudes, seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_same_generator_same_result_and_rows_do_not_depend_on_later_rows(operator, shape, magnitude, seed):
    embeds, eligible = draw_case(shape, seed)
    whole, again, alone = (
        operator(embeds[:rows], magnitude=magnitude, eligible_BL=eligible[:rows], generator=torch_generator(seed, "d"))
        for rows in (shape[0], shape[0], 1)
    )
    assert torch.equal(whole, again)
    assert torch.equal(whole[:1], alone)
    other = ~eligible
    other[-1] = eligible[-1]  # the tokens of the other samples do not matter
    moved = operator(embeds, magnitude=magnitude, eligible_BL=other, generator=torch_generator(seed, "d"))
    assert torch.equal(moved[-1], whole[-1])


@pytest.mark.parametrize("operator", OPERATORS)
def test_magnitude_zero_is_identity(operator):
    embeds, eligible = draw_case((2, 5, 3), 0)
    assert torch.equal(operator(embeds, magnitude=0.0, eligible_BL=eligible, generator=torch.Generator()), embeds)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("magnitude", [-0.1, 1.5, math.nan])
def test_magnitude_outside_is_refused(operator, magnitude):
    embeds, eligible = draw_case((1, 2, 2), 0)
    with pytest.raises(ValueError, match="magnitude"):
        operator(embeds, magnitude=magnitude, eligible_BL=eligible, generator=torch.Generator())


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_kept(operator, dtype):
    embeds = torch.ones(1, 4, 2, dtype=dtype)
    eligible = torch.ones(1, 4, dtype=torch.bool)
    assert operator(embeds, magnitude=0.5, eligible_BL=eligible, generator=torch.Generator()).dtype == dtype


def test_masked_positions_are_zero_vectors():
    embeds = torch.ones(1, 10, 3)
    result = aelif_mask(
        embeds, magnitude=0.3, eligible_BL=torch.ones(1, 10, dtype=torch.bool), generator=torch_generator(1, "m")
    )
    assert result.sum().item() == 7 * 3


def test_noise_has_the_stated_mean_and_deviation():
    embeds = torch.full((2, 100, 500), 2.0)
    eligible = torch.ones(2, 100, dtype=torch.bool)
    result = noise(embeds, magnitude=1.0, mean=0.7, std=1.3, eligible_BL=eligible, generator=torch_generator(0, "n"))
    ratio = (result / embeds).double()  # 100,000 draws: standard errors 0.004 and 0.003
    assert ratio.mean().item() == pytest.approx(0.7, abs=0.02)
    assert ratio.std().item() == pytest.approx(1.3, abs=0.02)


def test_every_position_is_equally_likely():
    eligible = torch.tensor([[True, False, True, True, True]])
    hits = torch.zeros(5)
    generator = torch_generator(0, "uniform")
    for _ in range(4000):
        hits += choose_positions(torch.rand(1, 5, generator=generator), magnitude=0.5, eligible_BL=eligible)[0]
    assert hits[1] == 0
    assert torch.allclose(hits[eligible[0]] / 4000, torch.tensor(0.5), atol=0.04)  # 5 standard errors


@pytest.mark.parametrize(("count", "magnitude", "expected"), [(100, 0.29, 29), (77, 0.1, 7), (10, 0.3, 3), (3, 0.3, 0)])
def test_floor_is_not_spoilt_by_floating_point(count, magnitude, expected):
    eligible = torch.ones(1, count, dtype=torch.bool)
    assert choose_positions(torch.rand(1, count), magnitude=magnitude, eligible_BL=eligible).sum() == expected
