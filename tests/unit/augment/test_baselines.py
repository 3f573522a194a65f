"""AELIF's rivals: the noise that their papers state, and rows replaced as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.unit.augment.examples import NULL, VERSIONS, FakePool, make_condition

from aelif.augment.baselines import caption_dropout, cep, neftune, string_augmentation
from aelif.augment.interface import Draw
from aelif.config import AugmentationConfig
from aelif.models.condition import TextCondition
from aelif.randomness import torch_generator

OPERATORS = pytest.mark.parametrize("operator", [cep, neftune])


def keyed(rows: int) -> list[torch.Generator]:
    return [torch_generator(0, "test/rows", row) for row in range(rows)]


def draw_for(condition: TextCondition, *magnitudes: float) -> Draw:
    return Draw(
        magnitudes=torch.tensor(magnitudes, dtype=torch.float64), generators=keyed(len(magnitudes)),
        config=AugmentationConfig(), pool=FakePool(condition),
    )  # fmt: skip


def added(operator, *, magnitudes: tuple[float, ...], eligible: torch.Tensor, width: int) -> torch.Tensor:
    embeds = torch.full((*eligible.shape, width), 2.0, dtype=torch.float64)
    magnitude = torch.tensor(magnitudes, dtype=torch.float64)
    result = operator(embeds, magnitude_B=magnitude, eligible_BL=eligible, generators=keyed(len(magnitudes)))
    assert not (result != embeds)[~eligible].any()
    assert (embeds == 2).all()
    return result - embeds


def test_cep_is_normal_with_deviation_gamma_over_the_root_of_the_width():
    eligible = torch.ones(2, 100, dtype=torch.bool)
    eligible[:, 60:] = False
    noise = added(cep, magnitudes=(1.0, 3.0), eligible=eligible, width=400)
    for row, gamma in enumerate((1.0, 3.0)):
        values = noise[row, :60].flatten().numpy()
        assert stats.kstest(values, stats.norm(0, gamma / math.sqrt(400)).cdf).pvalue > 1e-3
    assert noise[0, :60].norm(dim=-1).mean().item() == pytest.approx(1.0, abs=0.02), "γ is a vector's length"


def test_neftune_is_uniform_and_counts_the_eligible_tokens():
    eligible = torch.ones(2, 100, dtype=torch.bool)
    eligible[1, 25:] = False
    noise = added(neftune, magnitudes=(5.0, 5.0), eligible=eligible, width=400)
    for row, count in enumerate((100, 25)):
        bound = 5.0 / math.sqrt(count * 400)
        values = noise[row, :count].flatten().numpy()
        assert stats.kstest(values, stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3


@OPERATORS
def test_a_row_without_eligible_tokens_stays(operator):
    eligible = torch.tensor([[False, False], [True, False]])
    noise = added(operator, magnitudes=(1.0, 1.0), eligible=eligible, width=3)
    assert noise.isfinite().all()
    assert (noise[1, 0] != 0).all()


@OPERATORS
@given(rows=st.integers(1, 4), order=st.permutations(range(4)), taken=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_a_row_is_a_function_of_its_own_generator(operator, rows, order, taken):
    embeds, magnitude = torch.ones(rows, 3, 5), torch.arange(1, rows + 1, dtype=torch.float64)
    eligible = torch.tensor([True, True, False]).expand(rows, -1)
    whole = operator(embeds, magnitude_B=magnitude, eligible_BL=eligible, generators=keyed(rows))
    picked = [row for row in order if row < rows][:taken]
    some = operator(
        embeds[picked], magnitude_B=magnitude[picked], eligible_BL=eligible[picked],
        generators=[keyed(rows)[row] for row in picked],
    )  # fmt: skip
    assert torch.equal(some, whole[picked])


@OPERATORS
def test_dtype_is_kept_and_gradients_flow(operator):
    narrow = torch.full((1, 4, 2), 3.0, dtype=torch.bfloat16, requires_grad=True)
    eligible, magnitude = torch.ones(1, 4, dtype=torch.bool), torch.tensor([0.5], dtype=torch.float64)
    result = operator(narrow, magnitude_B=magnitude, eligible_BL=eligible, generators=keyed(1))
    wide = operator(narrow.detach().float(), magnitude_B=magnitude, eligible_BL=eligible, generators=keyed(1))
    assert torch.equal(result, wide.bfloat16())
    result.sum().backward()
    assert torch.equal(narrow.grad, torch.ones_like(narrow))


@OPERATORS
@pytest.mark.parametrize("magnitude", [-1.0, math.inf, math.nan])
def test_senseless_magnitudes_are_refused(operator, magnitude):
    with pytest.raises(ValueError, match="give a number of at least 0"):
        operator(
            torch.ones(1, 2, 2), magnitude_B=torch.tensor([magnitude], dtype=torch.float64),
            eligible_BL=torch.ones(1, 2, dtype=torch.bool), generators=keyed(1),
        )  # fmt: skip


def test_caption_dropout_replaces_whole_rows_with_the_stated_probability():
    condition = make_condition(range(600))
    result = caption_dropout(condition, draw_for(condition, *[0.0] * 200, *[0.3] * 200, *[1.0] * 200))
    dropped = (result.prompt_embeds == NULL).all(dim=-1).all(dim=-1)
    assert torch.equal((result.pooled == NULL).all(dim=-1), dropped)
    assert torch.equal((result.token_kinds == 0).all(dim=-1), dropped)
    assert torch.equal(result.prompt_embeds[~dropped], condition.prompt_embeds[~dropped])
    assert not dropped[:200].any()
    assert dropped[400:].all()
    assert dropped[200:400].double().mean().item() == pytest.approx(0.3, abs=0.16)  # 5 standard errors


def test_string_augmentation_takes_a_version_of_the_rows_own_prompt():
    condition = make_condition(range(400))
    result = string_augmentation(condition, draw_for(condition, *[0.5] * 400))
    replaced = (result.prompt_embeds != condition.prompt_embeds).any(dim=-1).any(dim=-1)
    assert replaced.double().mean().item() == pytest.approx(0.5, abs=0.13)
    values = result.prompt_embeds[replaced][:, 0, 0]
    assert torch.equal((values / 100).floor(), replaced.nonzero()[:, 0].float())
    assert torch.equal(result.pooled[replaced][:, 0], values)
    assert set((values % 100).tolist()) == set(range(VERSIONS)), "all versions occur"


class SilentPool(FakePool):
    def null(self) -> TextCondition:
        raise AssertionError("nothing is replaced")

    def misspelt(self, generators: Sequence[torch.Generator], scope: str) -> TextCondition:
        raise AssertionError("nothing is replaced: encoding prompts is dear")


@pytest.mark.parametrize("replace", [caption_dropout, string_augmentation])
def test_the_pool_is_not_asked_where_no_row_is_replaced(replace):
    condition = make_condition()
    draw = Draw(
        magnitudes=torch.zeros(3, dtype=torch.float64), generators=keyed(3), config=AugmentationConfig(),
        pool=SilentPool(condition),
    )  # fmt: skip
    assert replace(condition, draw) is condition
