"""Variants on text conditions: keyed draws, compositions, eligible tokens, pooled embeddings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.augment.examples import NULL, FakePool, make_condition

from aelif.augment.apply import FUNCTIONS, augment
from aelif.config import AUGMENTATIONS, AugmentationConfig, Variant
from aelif.models.condition import TextCondition, TokenKind

EVERY = pytest.mark.parametrize("name", AUGMENTATIONS)
ON_EMBEDDINGS = pytest.mark.parametrize("name", ["aelif_mask", "aelif_noise_conv", "cep", "neftune"])
BY_CHANCE = pytest.mark.parametrize("name", ["aelif_mask", "aelif_noise_conv"])


def apply(
    condition: TextCondition, variant: str, *, slots=None, seed: int = 0, step: int = 0, done: float = 0.0,
    instance=None, times=None, **fields,
) -> TextCondition:  # fmt: skip
    count = len(condition.prompt_embeds)
    return augment(
        condition, variant=Variant.parse(variant), config=AugmentationConfig(**fields), seed=seed, step=step,
        slots=range(count) if slots is None else slots, done=done, pool=FakePool(condition),
        instance=[True] * count if instance is None else instance,
        times=torch.zeros(count) if times is None else torch.tensor(times),
    )  # fmt: skip


def same(one: TextCondition, other: TextCondition) -> bool:
    fields = ("prompt_embeds", "pooled", "token_kinds", "attention_mask")
    pairs = [(getattr(one, field), getattr(other, field)) for field in fields]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def changed(result: TextCondition, condition: TextCondition) -> torch.Tensor:
    return (result.prompt_embeds != condition.prompt_embeds).any(dim=-1)


def test_every_augmentation_of_the_settings_has_its_function():
    assert set(FUNCTIONS) == set(AUGMENTATIONS)


def test_the_guide_lists_every_augmentation_at_its_usual_magnitude():
    guide = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    listed = re.findall(r"^\| `(\w+):([\d.]+)` \|", guide, re.MULTILINE)
    assert listed == [(name, f"{scale.default:g}") for name, scale in AUGMENTATIONS.items()]


def test_baseline_is_the_same_object():
    condition = make_condition()
    assert apply(condition, "baseline", pooled=True, same_draw=True) is condition


variants = st.lists(
    st.sampled_from([
        "aelif_mask:0.4", "aelif_mask:0.1-0.9", "aelif_noise_conv:0.2to0.8", "cep:0.5-2", "neftune:5",
        "caption_dropout:0.4", "string_augmentation:0.5", "typo_shift:0.6", "typo_noise:0.5-1",
    ]),
    min_size=1, max_size=3,
).map("+".join)  # fmt: skip


@given(
    variant=variants, order=st.permutations(range(6)), cut=st.integers(0, 6), step=st.integers(0, 9),
    pooled=st.booleans(), mask_attention=st.booleans(), segments=st.sampled_from(["together", "apart"]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_row_does_not_depend_on_how_the_batch_is_ordered_or_cut(variant, order, cut, step, **fields):
    slots = [4 * row + 1 for row in range(6)]
    condition, moment = make_condition(range(6)), {"step": step, "done": 0.3, **fields}
    condition = replace(condition, attention_mask=condition.token_kinds >= 0)
    whole = apply(condition, variant, slots=slots, **moment)
    for rows in (order[:cut], order[cut:]):
        if rows:
            part = apply(condition.select(torch.tensor(rows)), variant, slots=[slots[row] for row in rows], **moment)
            assert same(part, whole.select(torch.tensor(rows)))


@EVERY
def test_seed_step_and_slot_each_change_what_happens(name):
    condition = make_condition([0] * 12)
    results = [
        apply(condition, f"{name}:0.5", slots=range(first, first + 12), seed=seed, step=step)
        for seed, step, first in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 12)]
    ]
    assert same(results[0], apply(condition, f"{name}:0.5"))
    assert not any(same(results[0], other) for other in results[1:])


@EVERY
def test_the_input_stays_and_the_dtype_too(name):
    condition = make_condition(dtype=torch.bfloat16)
    before = condition.select(torch.arange(3))
    result = apply(condition, f"{name}:1", pooled=True, mask_attention=True)
    assert same(condition, before)
    assert not torch.equal(result.prompt_embeds, condition.prompt_embeds)
    assert (result.prompt_embeds.dtype, result.pooled.dtype) == (torch.bfloat16, torch.bfloat16)
    assert result.segments == condition.segments


@EVERY
def test_nothing_is_read_back_from_the_device(name):
    """The meta device, like a GPU, mixes with no CPU tensor; and nothing can be read from it at all."""
    condition = make_condition(range(6))
    fields = ("prompt_embeds", "pooled", "token_kinds")
    there = replace(condition, **{field: getattr(condition, field).to("meta") for field in fields})
    pool = SimpleNamespace(null=lambda: there, misspelt=lambda generators, scope: there)
    for settings_ in (AugmentationConfig(), AugmentationConfig(
            pooled=True, segments="apart", mask_attention=True, class_prompts=False, timesteps="low")):  # fmt: skip
        result = augment(
            there, variant=Variant.of(name, 0.5), config=settings_, seed=0, step=0, slots=range(6), done=0.0, pool=pool,
            instance=[True] * 6, times=torch.zeros(6, device="meta"),
        )  # fmt: skip
        assert result.prompt_embeds.is_meta
        assert result.prompt_embeds.shape == condition.prompt_embeds.shape


@EVERY
def test_gradients_reach_the_text_encoders(name):
    condition = make_condition([0] * 8)
    embeds = condition.prompt_embeds.requires_grad_()
    result = apply(condition, f"{name}:0.5", eligible="content")
    result.prompt_embeds.sum().backward()
    assert embeds.grad.isfinite().all()
    assert name == "typo_noise" or (embeds.grad[:, 0] == 1).any(), "BOS is let through, but where every token moves"


@EVERY
def test_same_draw_hits_all_rows_like_slot_0(name):
    condition = make_condition([0] * 6)
    result = apply(condition, f"{name}:0.4", same_draw=True, pooled=True, slots=range(7, 13))
    assert all(same(result.select(torch.tensor([0])), result.select(torch.tensor([row]))) for row in range(6))
    assert same(result.select(torch.tensor([0])), apply(make_condition([0]), f"{name}:0.4", slots=[0], pooled=True))
    ranged = apply(condition, "aelif_mask:0.1-0.9", same_draw=True)
    assert changed(ranged, condition).sum(dim=1).unique().numel() == 1


@ON_EMBEDDINGS
@pytest.mark.parametrize(
    ("eligible", "positions"),
    [
        ("all", range(10)),
        ("not_bos", range(1, 10)),
        ("not_identifier", range(10)),
        ("content", range(1, 6)),
        ("content+eos", range(1, 7)),
    ],
)
def test_eligible_tokens(name, eligible, positions):
    condition = make_condition([0, 3])
    hit = changed(apply(condition, f"{name}:1", eligible=eligible), condition)
    assert hit.nonzero()[:, 1].unique().tolist() == list(positions)


@BY_CHANCE
def test_the_share_is_taken_of_all_tokens_or_of_each_segment(name):
    condition = make_condition(range(40))
    together = changed(apply(condition, f"{name}:0.4"), condition)
    apart = changed(apply(condition, f"{name}:0.4", segments="apart"), condition)
    assert (together.sum(dim=1) == 4).all()
    assert apart[:, :7].sum(dim=1).unique().tolist() == [2]  # floor(0.4 · 7) and floor(0.4 · 3)
    assert apart[:, 7:].sum(dim=1).unique().tolist() == [1]
    assert together[:, 7:].sum(dim=1).unique().numel() > 1


def test_zeroed_tokens_leave_attention_where_the_settings_say_so():
    condition = make_condition()
    result = apply(condition, "aelif_mask:0.4", mask_attention=True)
    assert torch.equal(~result.attention_mask, (result.prompt_embeds == 0).all(dim=-1))
    assert apply(condition, "aelif_mask:0.4").attention_mask is None
    words = condition.token_kinds != TokenKind.PAD
    masked = apply(replace(condition, attention_mask=words), "aelif_mask:0.4", mask_attention=True)
    assert torch.equal(masked.attention_mask, words & (result.prompt_embeds != 0).all(dim=-1))
    assert apply(condition, "aelif_noise_conv:0.4", mask_attention=True).attention_mask is None


def test_noise_follows_the_settings():
    result = apply(make_condition([0]), "aelif_noise_conv:1", noise_mean=0.5, noise_std=0.0)
    assert torch.allclose(result.prompt_embeds, torch.tensor(1.5))


@pytest.mark.parametrize(
    ("option", "fields"),
    [
        ("eligible=content+eos", {"eligible": "content+eos"}), ("same_draw=true", {"same_draw": True}),
        ("segments=apart", {"segments": "apart"}), ("pooled=true", {"pooled": True}),
        ("noise_mean=0@noise_std=0.25", {"noise_mean": 0.0, "noise_std": 0.25}),
    ],
)  # fmt: skip
def test_an_option_of_a_term_is_the_setting_for_it_alone(option, fields):
    condition = make_condition(range(6))
    own, whole = apply(condition, f"aelif_noise_conv:0.4@{option}"), apply(condition, "aelif_noise_conv:0.4", **fields)
    assert same(own, whole)
    plain = apply(condition, "aelif_noise_conv:0.4")
    assert not same(own, plain)
    noise, expected = (
        apply(condition, f"{term}+cep:1").prompt_embeds - before.prompt_embeds
        for term, before in [(f"aelif_noise_conv:0.4@{option}", own), ("aelif_noise_conv:0.4", plain)]
    )
    torch.testing.assert_close(noise, expected, atol=1e-5, rtol=0)  # the other term keeps the run's settings


def test_the_reach_of_a_shift_is_an_option_and_a_setting():
    condition = make_condition(range(6))
    own, whole = apply(condition, "typo_shift:1@reach=0.25"), apply(condition, "typo_shift:1", reach=0.25)
    assert same(own, whole)
    assert not same(own, apply(condition, "typo_shift:1"))


@ON_EMBEDDINGS
def test_pooled_is_untouched_unless_asked_for(name):
    condition = make_condition()
    plain, pooled = apply(condition, f"{name}:0.4"), apply(condition, f"{name}:0.4", pooled=True)
    assert torch.equal(plain.pooled, condition.pooled)
    assert torch.equal(plain.prompt_embeds, pooled.prompt_embeds)
    assert apply(replace(condition, pooled=None), f"{name}:0.5", pooled=True).pooled is None


@BY_CHANCE
def test_pooled_is_hit_as_a_whole_by_chance(name):
    condition = make_condition(range(400))
    hit = apply(condition, f"{name}:0.4", pooled=True).pooled != condition.pooled
    assert torch.equal(hit.all(dim=-1), hit.any(dim=-1))
    assert hit.all(dim=-1).double().mean().item() == pytest.approx(0.4, abs=0.12)  # 5 standard errors


@pytest.mark.parametrize(("variant", "deviation"), [("cep:2", 2 / 6**0.5), ("neftune:3", 3 / 6**0.5 / 3**0.5)])
def test_pooled_gets_noise_as_one_token(variant, deviation):
    condition = make_condition([0] * 1000)
    noise = apply(condition, variant, pooled=True).pooled - condition.pooled
    assert noise.mean().item() == pytest.approx(0, abs=5 * deviation / 6000**0.5)
    assert noise.std().item() == pytest.approx(deviation, rel=0.05)


def test_a_range_hits_a_prefix_of_what_its_upper_end_hits():
    condition = make_condition(range(30))
    ranged, upper = (changed(apply(condition, f"aelif_mask:{text}"), condition) for text in ("0.1-0.9", "0.9"))
    assert not (ranged & ~upper).any(), "the magnitude's draw does not shift the positions' draw"
    assert ranged.sum(dim=1).unique().numel() > 4
    assert set(ranged.sum(dim=1).tolist()) <= set(range(1, 10))


def test_a_ramp_grows_with_the_training():
    condition = make_condition([0])
    counts = [changed(apply(condition, "aelif_mask:0to1", done=done), condition).sum().item()
              for done in (0, 0.05, 0.3, 0.999)]  # fmt: skip
    assert counts == [0, 0, 3, 9]


def test_terms_apply_from_left_to_right():
    condition = make_condition(range(4))
    misspelt_last = apply(condition, "aelif_mask:0.5+string_augmentation:1")
    assert not (misspelt_last.prompt_embeds == 0).all(dim=-1)[1:].any()
    masked_last = apply(condition, "string_augmentation:1+aelif_mask:0.5")
    assert ((masked_last.prompt_embeds == 0).all(dim=-1).sum(dim=1)[1:] == 5).all()
    assert (masked_last.prompt_embeds[1:].amax(dim=(1, 2)) >= 100).all()


def test_a_second_term_does_not_change_the_first():
    condition = make_condition(range(8))
    first, both = apply(condition, "aelif_mask:0.4"), apply(condition, "aelif_mask:0.4+cep:1")
    zeroed = (first.prompt_embeds == 0).all(dim=-1)
    assert torch.equal(zeroed, both.prompt_embeds.abs().amax(dim=-1) < 2.5)
    twice = apply(condition, "aelif_mask:0.4+aelif_mask:0.4")
    assert (changed(twice, condition).sum(dim=1) > 4).any(), "equal terms draw apart"


@pytest.mark.parametrize("variant", ["caption_dropout:0.5+cep:1", "cep:1+caption_dropout:0.5"])
def test_the_unconditional_embedding_is_never_augmented(variant):
    condition = make_condition(range(40))
    dropped = (apply(condition, variant).pooled == NULL).all(dim=-1)
    assert 5 < dropped.sum() < 35
    assert (apply(condition, variant, pooled=True).prompt_embeds[dropped] == NULL).all()


def test_dropout_draws_by_its_written_place():
    condition = make_condition(range(40))
    alone, first = apply(condition, "caption_dropout:0.5"), apply(condition, "caption_dropout:0.5+aelif_mask:0.5")
    assert torch.equal(alone.pooled, first.pooled)


ROWS = {"instance": [True, True, False, False], "times": [499.0, 500.0, 0.0, 1000.0]}


@EVERY
@pytest.mark.parametrize(
    ("options", "hit"),
    [
        ("", [0, 1, 2, 3]),
        ("@class_prompts=false", [0, 1]),
        ("@timesteps=low", [0, 2]),
        ("@timesteps=high", [1, 3]),
        ("@class_prompts=false@timesteps=low", [0]),
    ],
)
def test_a_term_hits_the_rows_that_its_options_name(name, options, hit):
    condition = make_condition([0, 1, 2, 3])
    term = f"{name}:{AUGMENTATIONS[name].maximum:g}"
    everywhere, result = apply(condition, term), apply(condition, term + options, **ROWS)
    for row in range(4):
        one = torch.tensor([row])
        assert same(result.select(one), (everywhere if row in hit else condition).select(one)), row


def test_terms_choose_their_rows_apart():
    condition = make_condition([0, 1, 2, 3])
    result = apply(condition, "aelif_mask:1@class_prompts=false+neftune:5@timesteps=high", **ROWS)
    assert changed(result, condition).any(dim=1).tolist() == [True, True, False, True]
    assert (result.prompt_embeds[0] == 0).all()
    assert (result.prompt_embeds[1] != 0).any()
