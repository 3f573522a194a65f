from __future__ import annotations

import pytest
import torch

from aelif.augment.apply import augment
from aelif.config import TrainConfig, Variant
from aelif.models.adapter import TextCondition, TokenKind
from aelif.randomness import torch_generator


def make_condition(rows: int = 3) -> TextCondition:
    kinds = [TokenKind.BOS, *[TokenKind.CONTENT] * 5, TokenKind.EOS, *[TokenKind.PAD] * 3]
    return TextCondition(
        prompt_embeds=torch.full((rows, 10, 4), 3.0),
        pooled=torch.full((rows, 6), 2.0),
        token_kinds=torch.tensor(kinds, dtype=torch.int8).expand(rows, -1),
    )


def apply(condition: TextCondition, variant: str, seed: int = 0, **settings) -> TextCondition:
    return augment(
        condition, variant=Variant.parse(variant), config=TrainConfig(**settings),
        generator=torch_generator(seed, "tokens"), pooled_generator=torch_generator(seed, "pooled"),
    )  # fmt: skip


def test_baseline_is_the_same_object():
    condition = make_condition()
    assert apply(condition, "baseline", augment_pooled=True) is condition


@pytest.mark.parametrize("variant", ["aelif_mask:1", "aelif_noise_conv:1"])
@pytest.mark.parametrize(
    ("eligible", "positions"),
    [("all", range(10)), ("content", range(1, 6)), ("content+eos", range(1, 7))],
)
def test_eligible_tokens(variant, eligible, positions):
    condition = make_condition()
    changed = (apply(condition, variant, eligible=eligible).prompt_embeds != condition.prompt_embeds).any(-1)
    assert changed.nonzero()[:, 1].unique().tolist() == list(positions)


@pytest.mark.parametrize("variant", ["aelif_mask:0.4", "aelif_noise_conv:0.4"])
def test_pooled_is_untouched_unless_asked_for(variant):
    condition = make_condition(rows=400)
    plain, pooled = apply(condition, variant), apply(condition, variant, augment_pooled=True)
    assert torch.equal(plain.pooled, condition.pooled)
    assert torch.equal(plain.prompt_embeds, pooled.prompt_embeds)
    hit = (pooled.pooled != condition.pooled).any(-1)
    assert hit.float().mean().item() == pytest.approx(0.4, abs=0.12)  # 5 standard errors
    assert torch.equal((pooled.pooled != condition.pooled).all(-1), hit), "hit as a whole"


def test_noise_follows_the_settings():
    result = apply(make_condition(), "aelif_noise_conv:1", noise_mean=0.5, noise_std=0.0)
    assert torch.allclose(result.prompt_embeds, torch.tensor(1.5))


def test_families_without_a_pooled_embedding():
    condition = make_condition()
    bare = TextCondition(prompt_embeds=condition.prompt_embeds, pooled=None, token_kinds=condition.token_kinds)
    assert apply(bare, "aelif_mask:0.5", augment_pooled=True).pooled is None
