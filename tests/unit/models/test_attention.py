"""Attention that reads each prompt once gives what diffusers' own gives."""

from __future__ import annotations

import gc

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from tests.tiny import write_tiny_sd, write_tiny_sd3, write_tiny_sdxl

from aelif.models.adapter import open_model
from aelif.models.attention import KeptPrompts, PerTensor, WeighedTail, count_empty_rows, count_equal_tail
from aelif.models.condition import TextCondition, concatenate

TEXTS = ["a photo of sks backpack", "a poto of sks bakpack"]


def conditions(adapter, *, masked: bool = False) -> TextCondition:
    rows = [adapter.null_condition(2), *(adapter.encode_text([text]) for text in TEXTS)]
    condition = concatenate(rows)
    if masked:
        mask = torch.ones(4, condition.prompt_embeds.shape[1], dtype=torch.bool)
        mask[3, 5:] = False
        object.__setattr__(condition, "attention_mask", mask)
    return condition


def processors(adapter) -> list:
    return list(adapter._part(adapter.denoiser).attn_processors.values())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("write", [write_tiny_sd, write_tiny_sdxl, write_tiny_sd3])
def test_predictions_stay_as_they_are(tmp_path, write, masked):
    base = write(tmp_path / "base")
    stock, ours = (open_model(base, max_sequence_length=40) for _ in range(2))
    ours.prepare_sampling()
    own = {type(processor) for processor in processors(ours)}
    assert own & {KeptPrompts, WeighedTail}
    assert not {type(processor) for processor in processors(stock)} & {KeptPrompts, WeighedTail}
    with torch.inference_mode():
        noisy = torch.randn(4, *ours.latent_shape(64), generator=torch.Generator().manual_seed(0))
        condition = conditions(ours, masked=masked and ours.masks_attention)
        for time in (900.0, 30.0):
            predictions = [a.predict(noisy, torch.full((4,), time), condition) for a in (stock, ours)]
            torch.testing.assert_close(*predictions, atol=2e-5, rtol=1e-4)


def test_a_batch_of_empty_rows_alone(tmp_path):
    base = write_tiny_sdxl(tmp_path / "base")
    stock, ours = open_model(base), open_model(base)
    ours.prepare_sampling()
    with torch.inference_mode():
        noisy, times = torch.randn(2, 16, 8, 8), torch.full((2,), 500.0)
        predictions = [adapter.predict(noisy, times, ours.null_condition(2)) for adapter in (stock, ours)]
    torch.testing.assert_close(*predictions, atol=2e-5, rtol=1e-4)


def test_prompts_are_read_once_and_forgotten(tmp_path, monkeypatch):
    adapter = open_model(write_tiny_sdxl(tmp_path / "base"))
    adapter.prepare_sampling()
    kept = [processor for processor in processors(adapter) if isinstance(processor, KeptPrompts)]
    layers = [module for name, module in adapter._part("unet").named_modules() if name.endswith("attn2.to_k")]
    assert len(kept) == len(layers) == len([p for p in processors(adapter) if isinstance(p, AttnProcessor2_0)])
    read = []
    for layer in layers:
        layer.register_forward_hook(lambda *_: read.append(1))
    with torch.inference_mode():
        condition = conditions(adapter)
        first = adapter.predict(torch.zeros(4, 16, 8, 8), torch.full((4,), 500.0), condition)
        again = adapter.predict(torch.zeros(4, 16, 8, 8), torch.full((4,), 500.0), condition)
        assert torch.equal(first, again)
        assert len(read) == len(layers)
        assert not torch.equal(first, adapter.predict(torch.zeros(4, 16, 8, 8), torch.full((4,), 500.0),
                                                      condition.select(torch.tensor([0, 1, 3, 2]))))  # fmt: skip
    assert len(read) == 2 * len(layers)
    del condition
    gc.collect()
    assert [len(processor._keys_and_values._values) for processor in kept] == [0] * len(kept)


def test_outside_of_inference_mode_nothing_is_kept():
    asked = []
    value = PerTensor(lambda tensor: asked.append(1) or tensor.sum())
    tensor = torch.ones(3, requires_grad=True)
    assert value(tensor).requires_grad
    tensor = torch.zeros(3)
    assert value(tensor) == 0
    tensor += 1
    assert value(tensor) == 3
    with torch.inference_mode():
        made = torch.ones(2)
        assert value(made) is value(made)
    assert len(asked) == 4


def test_counts():
    embeds = torch.randn(4, 6, 3)
    assert (count_empty_rows(embeds), count_equal_tail(embeds)) == (0, 1)
    embeds[:2] = 0
    embeds[3] = 0
    assert count_empty_rows(embeds) == 2, "the first ones alone"
    embeds[2, 3:] = 7.0
    assert count_equal_tail(embeds) == 3
    assert count_equal_tail(embeds[:2]) == 6
    assert count_empty_rows(embeds[:2]) == 2


def test_unequal_tails_are_left_alone(tmp_path):
    base = write_tiny_sd3(tmp_path / "base")
    stock, ours = (open_model(base, max_sequence_length=40) for _ in range(2))
    ours.prepare_sampling()
    with torch.inference_mode():
        condition = conditions(ours)
        noise = torch.randn(condition.prompt_embeds.shape, generator=torch.Generator().manual_seed(0))
        object.__setattr__(condition, "prompt_embeds", condition.prompt_embeds + noise)
        noisy, times = torch.randn(4, *ours.latent_shape(64)), torch.full((4,), 500.0)
        predictions = [adapter.predict(noisy, times, condition) for adapter in (stock, ours)]
    torch.testing.assert_close(*predictions, atol=2e-5, rtol=1e-4)
