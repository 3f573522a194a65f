"""The two AELIF operators: how many positions, which, and what becomes of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from aelif.augment.aelif import aelif_mask, aelif_noise_conv, choose_positions, draw_positions
from aelif.randomness import torch_generator

shapes = st.tuples(st.integers(1, 4), st.integers(1, 12), st.integers(1, 5))
seeds = st.integers(0, 99)


def keyed(rows: int, seed: int = 0) -> list[torch.Generator]:
    return [torch_generator(seed, "test/rows", row) for row in range(rows)]


def share(*magnitudes: float) -> Tensor:
    return torch.tensor(magnitudes, dtype=torch.float64)


def everywhere(rows: int, length: int) -> Tensor:
    return torch.ones(rows, length, dtype=torch.bool)


def draw_case(shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return embeddings without zeros, eligible positions, and a magnitude for each row."""
    generator = torch_generator(seed, "test/case")
    embeds = torch.randn(shape, generator=generator) + 10
    eligible = torch.rand(shape[:2], generator=generator) < 0.6
    return embeds, eligible, torch.rand(shape[0], generator=generator, dtype=torch.float64)


def noise(embeds: Tensor, *, mean: float = 1.0, std: float = 1.0, **arguments) -> Tensor:
    return aelif_noise_conv(embeds, mean=mean, std=std, **arguments)


OPERATORS = pytest.mark.parametrize("operator", [aelif_mask, noise])


@OPERATORS
@given(shape=shapes, seed=seeds, cut=st.none() | st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_exactly_the_floor_of_the_eligible_positions_change(operator, shape, seed, cut):
    rows, length, _ = shape
    embeds, eligible, magnitude = draw_case(shape, seed)
    sizes = [length] if cut is None else [min(cut, length), length - min(cut, length)]
    before = embeds.clone()
    result = operator(
        embeds, magnitude_B=magnitude, eligible_BL=eligible, generators=keyed(rows, seed),
        segments=None if cut is None else sizes,
    )  # fmt: skip
    changed = (result != embeds).any(dim=-1)
    assert not (changed & ~eligible).any()
    for part, allowed in zip(changed.split(sizes, 1), eligible.split(sizes, 1), strict=True):
        expected = [math.floor(n * p + 1e-9) for n, p in zip(allowed.sum(1).tolist(), magnitude.tolist(), strict=True)]
        assert part.sum(dim=1).tolist() == expected
    assert torch.equal(embeds, before), "the input stays"
    assert result.shape == embeds.shape


@OPERATORS
@given(shape=shapes, seed=seeds, order=st.permutations(range(4)), taken=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_row_is_a_function_of_its_own_generator(operator, shape, seed, order, taken):
    embeds, eligible, magnitude = draw_case(shape, seed)
    whole = operator(embeds, magnitude_B=magnitude, eligible_BL=eligible, generators=keyed(shape[0], seed))
    rows = [row for row in order if row < shape[0]][:taken]
    some = operator(
        embeds[rows], magnitude_B=magnitude[rows], eligible_BL=eligible[rows],
        generators=[keyed(shape[0], seed)[row] for row in rows],
    )  # fmt: skip
    assert torch.equal(some, whole[rows])


@OPERATORS
def test_magnitude_zero_changes_nothing(operator):
    embeds, eligible, _ = draw_case((2, 5, 3), 0)
    for magnitude in (share(0, 0), share(0, 1)):
        result = operator(embeds, magnitude_B=magnitude, eligible_BL=eligible, generators=keyed(2))
        assert torch.equal(result[0], embeds[0])


@OPERATORS
@pytest.mark.parametrize("magnitude", [-0.1, 1.5, math.nan])
def test_magnitude_outside_is_refused(operator, magnitude):
    embeds, eligible, _ = draw_case((2, 2, 2), 0)
    with pytest.raises(ValueError, match=r"magnitude = .*between 0 and 1"):
        operator(embeds, magnitude_B=share(0.5, magnitude), eligible_BL=eligible, generators=keyed(2))


@OPERATORS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_kept(operator, dtype):
    embeds = torch.full((1, 4, 20), 1.7).to(dtype)
    arguments = {"magnitude_B": share(0.5), "eligible_BL": everywhere(1, 4)}
    result = operator(embeds, generators=keyed(1), **arguments)
    assert result.dtype == dtype
    if dtype != torch.float64:
        wide = operator(embeds.float(), generators=keyed(1), **arguments)
        assert torch.equal(result, wide.to(dtype)), "noise is applied in float32 and cast back"


@OPERATORS
def test_gradients_flow_past_the_hit_positions_and_through_them(operator):
    embeds = torch.full((2, 10, 3), 2.0, requires_grad=True)
    result = operator(embeds, magnitude_B=share(0.0, 0.3), eligible_BL=everywhere(2, 10), generators=keyed(2))
    result.sum().backward()
    assert torch.allclose(embeds.grad, result.detach() / 2), "both operators are linear in the embeddings"


def test_masked_positions_are_zero_vectors():
    embeds = torch.ones(1, 10, 3)
    result = aelif_mask(embeds, magnitude_B=share(0.3), eligible_BL=everywhere(1, 10), generators=keyed(1))
    assert sorted(result.sum(dim=-1)[0].tolist()) == [0.0] * 3 + [3.0] * 7


def test_noise_is_normal_with_the_stated_mean_and_deviation():
    embeds = torch.full((2, 100, 500), 2.0)
    result = noise(
        embeds, magnitude_B=share(1, 0.5), mean=0.7, std=1.3, eligible_BL=everywhere(2, 100), generators=keyed(2)
    )
    ratio = (result / embeds).double()
    hit = ratio[(result != embeds).any(dim=-1)].flatten()
    assert len(hit) == 150 * 500
    assert stats.kstest(hit.numpy(), stats.norm(0.7, 1.3).cdf).pvalue > 1e-3
    assert hit.unique().numel() > 0.98 * hit.numel(), "every position and row has noise of its own"


def test_every_position_is_equally_likely():
    eligible = torch.tensor([[True, False, True, True, True]]).expand(4000, -1)
    hits = draw_positions(keyed(4000), magnitude_B=share(*[0.5] * 4000), eligible_BL=eligible)
    pairs = hits.double().T @ hits.double() / 4000
    assert hits[:, 1].sum() == 0
    for place in (0, 2, 3, 4):  # 5 standard errors
        assert pairs[place, place].item() == pytest.approx(1 / 2, abs=0.04)
        for other in {0, 2, 3, 4} - {place}:
            assert pairs[place, other].item() == pytest.approx(1 / 6, abs=0.03), "drawn without replacement"


@pytest.mark.parametrize(("count", "magnitude", "expected"), [(100, 0.29, 29), (77, 0.1, 7), (10, 0.3, 3), (3, 0.3, 0)])
def test_floor_is_not_spoilt_by_floating_point(count, magnitude, expected):
    chosen = choose_positions(torch.rand(1, count), magnitude_B=share(magnitude), eligible_BL=everywhere(1, count))
    assert chosen.sum() == expected


def test_the_lowest_priorities_are_chosen_in_each_segment():
    priority = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.9, 0.8]])
    together, apart = (
        choose_positions(priority, magnitude_B=share(0.5), eligible_BL=everywhere(1, 6), segments=segments)
        for segments in (None, (4, 2))
    )
    assert together[0].tolist() == [True, True, True, False, False, False]
    assert apart[0].tolist() == [True, True, False, False, False, True]
