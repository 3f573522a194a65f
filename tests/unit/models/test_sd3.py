"""The SD3 adapter against the stock pipeline, on tiny random models with T5 and without."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from tests.tiny import write_tiny_sd3

from aelif.models.adapter import open_model
from aelif.models.condition import TokenKind
from aelif.models.sd3 import StableDiffusion3

PROMPTS = ["a photo of sks backpack", "a poto of sks bakpack on the red beach"]
CLIP, T5 = 32, 20


@pytest.fixture(scope="module", params=[False, True], ids=["without T5", "with T5"])
def has_t5(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def base(has_t5: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd3(tmp_path_factory.mktemp("sd3") / "base", t5=has_t5)


@pytest.fixture(scope="module")
def stock(base: Path, has_t5: bool) -> StableDiffusion3Pipeline:
    absent = {} if has_t5 else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = StableDiffusion3Pipeline.from_pretrained(base, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def open_tiny(base: Path) -> StableDiffusion3:
    return open_model(base, max_sequence_length=T5)


def test_text_is_encoded_as_the_stock_pipeline_does(base: Path, stock: StableDiffusion3Pipeline):
    adapter = open_tiny(base)
    condition, null = adapter.encode_text(PROMPTS), adapter.null_condition(2)
    embeds, null_embeds, pooled, null_pooled = stock.encode_prompt(PROMPTS, None, None, max_sequence_length=T5)
    torch.testing.assert_close(condition.prompt_embeds, embeds)
    torch.testing.assert_close(condition.pooled, pooled)
    torch.testing.assert_close(null.prompt_embeds, null_embeds)
    torch.testing.assert_close(null.pooled, null_pooled)
    assert condition.prompt_embeds.shape == (2, CLIP + T5, 64)
    assert condition.segments == (CLIP, T5)


def test_token_kinds_of_both_segments(base: Path, has_t5: bool):
    clip, t5 = open_tiny(base).encode_text(["a photo", ""]).token_kinds.split((CLIP, T5), dim=1)
    bos, content, eos = TokenKind.BOS, TokenKind.CONTENT, TokenKind.EOS
    assert clip[0].tolist() == [bos, content, content, eos] + [TokenKind.PAD] * (CLIP - 4)
    assert clip[1].tolist() == [bos, eos] + [TokenKind.PAD] * (CLIP - 2)
    if has_t5:
        assert t5[0].tolist() == [content, content, eos] + [TokenKind.PAD] * (T5 - 3)
        assert t5[1].tolist() == [eos] + [TokenKind.PAD] * (T5 - 1)
    else:
        assert not t5.any()


def test_the_shortest_reader_decides_what_is_kept(base: Path, has_t5: bool):
    adapter = open_tiny(base)
    assert adapter.kept_text("A Photo of sks backpack").replace(" ", "") == "aphotoofsksbackpack"
    long = "a photo of the red dog on the beach of the red dog " * 3 + "sks"
    assert "sks" not in adapter.kept_text(long)
    spelt = "a photo of a reddish sks"  # T5 spells unknown words: few tokens for CLIP, many for it
    kept = open_model(base, max_sequence_length=8).kept_text(spelt)
    assert ("sks" in kept) == (not has_t5)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96)])
def test_images_are_the_stock_pipelines(base: Path, stock: StableDiffusion3Pipeline, height: int, width: int):
    adapter = open_tiny(base)
    noise = torch.randn(2, 16, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    expected = stock(
        PROMPTS, latents=noise, height=height, width=width, num_inference_steps=4, guidance_scale=3.0,
        max_sequence_length=T5, output_type="latent",
    ).images  # fmt: skip
    solver, latents = adapter.solver(4, image_size=64), noise
    with torch.no_grad():
        condition, null = adapter.encode_text(PROMPTS), adapter.null_condition(2)
        for time in solver.timesteps:
            without, prompted = (adapter.predict(latents, time.expand(2), c) for c in (null, condition))
            latents = solver.step(without + 3 * (prompted - without), time, latents, return_dict=False)[0]
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)
    if height == width:
        decoded = stock.vae.decode(expected / 1.5 + 0.06).sample
        torch.testing.assert_close(adapter.decode_latents(latents), decoded, atol=1e-4, rtol=1e-3)


def test_latents_are_shifted_and_scaled(base: Path, stock: StableDiffusion3Pipeline):
    adapter, pixels = open_tiny(base), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = adapter.encode_images(pixels)
    posterior = stock.vae.encode(pixels).latent_dist
    torch.testing.assert_close(mean, (posterior.mean - 0.06) * 1.5)
    torch.testing.assert_close(std, posterior.std * 1.5)
    assert mean.shape[1:] == adapter.latent_shape(64)


def test_what_training_asks(base: Path):
    adapter = open_model(base)
    assert (adapter.objective, adapter.guidance, adapter.masks_attention) == ("flow", "classifier_free", False)
    assert (adapter.image_size, adapter.size_multiple) == (64, 16)
    assert adapter.encode_text(["a"]).segments == (CLIP, 256)
