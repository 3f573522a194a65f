"""The FLUX.1 adapter against the stock pipeline, on tiny random models like dev and like schnell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tiny import write_tiny_flux

from aelif.models.adapter import open_model
from aelif.models.condition import TokenKind
from aelif.models.flux import Flux, image_positions, pack, unpack

PROMPTS = ["a photo of sks backpack", "a poto of sks bakpack on the red beach"]
T5 = 20


@pytest.fixture(scope="module", params=[True, False], ids=["dev", "schnell"])
def embeds_guidance(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module")
def base(embeds_guidance: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_flux(tmp_path_factory.mktemp("flux") / "base", guidance=embeds_guidance)


@pytest.fixture(scope="module")
def stock(base: Path) -> FluxPipeline:
    pipeline = FluxPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def open_tiny(base: Path) -> Flux:
    return open_model(base, max_sequence_length=T5)


@given(rows=st.integers(1, 3), channels=st.integers(1, 4), height=st.integers(1, 4), width=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_packing_is_the_stock_pipelines(rows: int, channels: int, height: int, width: int):
    height, width = 2 * height, 2 * width
    latents = torch.randn(rows, channels, height, width, generator=torch.Generator().manual_seed(0))
    packed = pack(latents)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, rows, channels, height, width))
    assert torch.equal(unpack(packed, height, width), latents)
    device = torch.device("cpu")
    positions = FluxPipeline._prepare_latent_image_ids(rows, height // 2, width // 2, device, torch.float32)
    assert torch.equal(image_positions(height, width, device=device), positions)


def test_text_is_encoded_as_the_stock_pipeline_does(base: Path, stock: FluxPipeline):
    condition = open_tiny(base).encode_text(PROMPTS)
    embeds, pooled, _ = stock.encode_prompt(PROMPTS, max_sequence_length=T5)
    torch.testing.assert_close(condition.prompt_embeds, embeds)
    torch.testing.assert_close(condition.pooled, pooled)
    assert condition.segments == (T5,)
    null = open_tiny(base).null_condition(3)
    torch.testing.assert_close(null.prompt_embeds[2:], stock.encode_prompt("", max_sequence_length=T5)[0])


def test_token_kinds_and_kept_text_are_t5s(base: Path):
    adapter = open_tiny(base)
    kinds = adapter.encode_text(["a photo", ""]).token_kinds
    assert kinds[:, :3].tolist() == [[TokenKind.CONTENT, TokenKind.CONTENT, TokenKind.EOS], [TokenKind.EOS, 0, 0]]
    assert adapter.kept_text("a photo of SKS backpack") == "a photo of SKS backpack"
    assert adapter.kept_text("") == ""
    assert "sks" not in adapter.kept_text("a photo of the red dog on " * 4 + "sks")


def sample(adapter: Flux, noise: torch.Tensor, *, guidance_scale: float) -> torch.Tensor:
    solver, latents = adapter.solver(4, image_size=64), noise
    with torch.no_grad():
        condition = adapter.encode_text(PROMPTS)
        for time in solver.timesteps:
            velocity = adapter.predict(latents, time.expand(2), condition, guidance_scale=guidance_scale)
            latents = solver.step(velocity, time, latents, return_dict=False)[0]
    return latents


def sample_stock(pipeline: FluxPipeline, noise: torch.Tensor) -> torch.Tensor:
    height, width = (8 * side for side in noise.shape[-2:])
    packed = pipeline(
        PROMPTS, latents=pack(noise), height=height, width=width, num_inference_steps=4, guidance_scale=3.0,
        max_sequence_length=T5, output_type="latent",
    ).images  # fmt: skip
    return pipeline._unpack_latents(packed, height, width, 8)


def test_images_are_the_stock_pipelines(base: Path, stock: FluxPipeline):
    noise = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    ours = sample(open_tiny(base), noise, guidance_scale=3.0)
    torch.testing.assert_close(ours, sample_stock(stock, noise), atol=1e-4, rtol=1e-4)


def test_oblong_images_of_schnell(tmp_path: Path):
    # Of schnell alone: dev's noise schedule depends on the size, and solvers are for squares.
    base = write_tiny_flux(tmp_path / "base", guidance=False)
    pipeline = FluxPipeline.from_pretrained(base)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(2, 16, 8, 12, generator=torch.Generator().manual_seed(0))
    ours = sample(open_tiny(base), noise, guidance_scale=1.0)
    torch.testing.assert_close(ours, sample_stock(pipeline, noise), atol=1e-4, rtol=1e-4)


def test_oblong_latents_are_packed_as_by_the_stock_pipeline(base: Path, stock: FluxPipeline, embeds_guidance: bool):
    adapter, noisy = open_tiny(base), torch.randn(2, 16, 12, 6, generator=torch.Generator().manual_seed(0))
    condition, times = adapter.encode_text(PROMPTS), torch.tensor([100.0, 900.0])
    with torch.no_grad():
        packed = stock.transformer(
            hidden_states=stock._pack_latents(noisy, 2, 16, 12, 6), timestep=times / 1000,
            guidance=torch.ones(2) if embeds_guidance else None, encoder_hidden_states=condition.prompt_embeds,
            pooled_projections=condition.pooled, txt_ids=torch.zeros(T5, 3),
            img_ids=stock._prepare_latent_image_ids(2, 6, 3, "cpu", torch.float32),
        ).sample  # fmt: skip
        prediction = adapter.predict(noisy, times, condition)
    torch.testing.assert_close(prediction, stock._unpack_latents(packed, 96, 48, 8))


def test_guidance_is_read_by_dev_alone(base: Path, embeds_guidance: bool):
    adapter, noise = open_tiny(base), torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    low, high = (sample(adapter, noise, guidance_scale=scale) for scale in (1.0, 5.0))
    assert torch.equal(low, high) != embeds_guidance


def test_what_training_asks(base: Path):
    adapter = open_model(base)
    assert (adapter.objective, adapter.guidance, adapter.masks_attention) == ("flow", "embedded", False)
    assert (adapter.image_size, adapter.size_multiple) == (1024, 16)
    assert adapter.latent_shape(64) == (16, 8, 8)
    assert adapter.encode_text(["a"]).segments == (256,)
