"""Stress at inference: one draw per image, the same over magnitudes."""

from __future__ import annotations

import pytest
import torch
from tests.unit.augment.examples import make_condition
from tests.unit.augment.test_apply import changed, same

from aelif.augment.stress import stress_condition
from aelif.config import AugmentationConfig, StressConfig
from aelif.models.condition import TextCondition

NAMES = ["aelif_mask", "aelif_noise_conv", "cep", "neftune"]
EVERY = pytest.mark.parametrize("name", NAMES)
BY_CHANCE = pytest.mark.parametrize("name", ["aelif_mask", "aelif_noise_conv"])


def stress(
    condition: TextCondition,
    name: str,
    magnitude: float,
    images=range(4),
    *,
    clean_id: int = 0,
    seed: int = 0,
    **fields,
) -> TextCondition:
    config = StressConfig(magnitudes=(1.0,), settings=AugmentationConfig(**fields))
    row = {"family": name, "severity": magnitude, "clean_id": clean_id}
    return stress_condition(condition, row=row, image_indices=list(images), config=config, seed=seed)


@EVERY
def test_it_ends_in_the_clean_prompt(name):
    condition = make_condition([1], width=16)
    assert same(stress(condition, name, 0.0), condition.repeat(4))
    assert same(stress(condition, name, 0.0, pooled=True), condition.repeat(4))
    shift = (stress(condition, name, 1e-6).prompt_embeds - condition.prompt_embeds).norm()
    assert shift < 1e-3
    assert not same(stress(condition, name, 1.0), condition.repeat(4))


@EVERY
def test_the_clean_condition_stays_as_it_is(name):
    condition, untouched = make_condition([1]), make_condition([1])
    stress(condition, name, 1.0, pooled=True)
    assert same(condition, untouched)


@EVERY
def test_a_draw_is_of_its_image_clean_prompt_augmentation_and_seed(name):
    condition = make_condition([1], width=16)
    first = stress(condition, name, 0.5)
    assert same(first, stress(condition, name, 0.5)), "the same for every variant"
    assert same(stress(condition, name, 0.5, [2, 3]), first.select(torch.tensor([2, 3]))), "whatever is beside it"
    rows = first.prompt_embeds.flatten(1)
    assert len(rows.unique(dim=0)) > 1, "images differ"
    assert not same(first, stress(condition, name, 0.5, clean_id=1))
    assert not same(first, stress(condition, name, 0.5, seed=1))


@BY_CHANCE
def test_what_a_small_magnitude_hits_a_larger_one_hits_too(name):
    condition = make_condition([1], width=16)
    before = torch.zeros(4, 10, dtype=torch.bool)
    for magnitude in (0.1, 0.3, 0.6, 1.0):
        hit = changed(stress(condition, name, magnitude), condition.repeat(4))
        assert (hit.sum(1) == int(10 * magnitude + 1e-9)).all()
        assert (hit | ~before).all()
        before = hit


@pytest.mark.parametrize("name", ["cep", "neftune"])
def test_additive_noise_grows_in_proportion(name):
    condition = make_condition([1], width=16)
    small, large = (stress(condition, name, size).prompt_embeds - condition.prompt_embeds for size in (1.0, 3.0))
    torch.testing.assert_close(large, 3 * small, atol=1e-5, rtol=1e-5)


def test_settings_count():
    condition = make_condition([0])
    content = changed(stress(condition, "aelif_mask", 1.0, [0], eligible="content"), condition)
    assert torch.equal(content, condition.eligible_positions("content"))
    assert (stress(condition, "aelif_mask", 1.0, [0], pooled=True).pooled == 0).all()
    assert not stress(condition, "aelif_mask", 1.0, [0], mask_attention=True).attention_mask.any()
