"""The SDXL adapter against the stock pipeline, on a tiny random model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from tests.tiny import write_tiny_sdxl

from aelif.artifacts import read_json
from aelif.config import SynthesisConfig
from aelif.models.adapter import open_model
from aelif.models.condition import TokenKind, concatenate
from aelif.models.sampling import denoise

PROMPTS = ["a photo of sks backpack", "a poto of sks bakpack on the red beach"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "base")


@pytest.fixture(scope="module")
def stock(base: Path) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline.from_pretrained(base)


def predict(adapter, condition, seed: int = 0) -> torch.Tensor:
    noisy = torch.randn(len(condition.prompt_embeds), 16, 8, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return adapter.predict(noisy, torch.tensor([300] * len(noisy)), condition)


def test_text_is_encoded_as_the_stock_pipeline_does(base: Path, stock: StableDiffusionXLPipeline):
    condition = open_model(base).encode_text(PROMPTS)
    embeds, null, pooled, null_pooled = stock.encode_prompt(PROMPTS, do_classifier_free_guidance=True)
    torch.testing.assert_close(condition.prompt_embeds, embeds)
    torch.testing.assert_close(condition.pooled, pooled)
    ours = open_model(base).null_condition(2)
    assert torch.equal(ours.prompt_embeds, null)
    assert torch.equal(ours.pooled, null_pooled)


def test_empty_prompt_where_zeros_are_not_asked_for(tmp_path: Path):
    adapter = open_model(write_tiny_sdxl(tmp_path / "base", force_zeros=False))
    torch.testing.assert_close(adapter.null_condition(3).prompt_embeds[2:], adapter.encode_text([""]).prompt_embeds)


def test_token_kinds(base: Path):
    adapter = open_model(base)
    kinds = adapter.encode_text([""]).token_kinds[0]
    assert kinds[:3].tolist() == [TokenKind.BOS, TokenKind.EOS, TokenKind.PAD]
    tokens = adapter._clip_tokens("", PROMPTS)[1].sum(dim=1)
    condition = adapter.encode_text(PROMPTS)
    assert condition.eligible_positions("content").sum(dim=1).tolist() == (tokens - 2).tolist()
    assert condition.eligible_positions("content+eos").sum(dim=1).tolist() == (tokens - 1).tolist()
    assert condition.eligible_positions("all").sum(dim=1).tolist() == [77, 77]
    assert condition.eligible_positions("not_bos").sum(dim=1).tolist() == [76, 76]


def test_long_prompts_are_cut_and_said_so(base: Path):
    adapter = open_model(base)
    assert adapter.kept_text("A Photo of sks backpack") == "a photo of sks backpack"
    assert "sks" not in adapter.kept_text("a photo of " * 40 + "sks backpack")
    assert adapter.encode_text(["a photo of " * 40]).token_kinds[0, -1] == TokenKind.EOS


def test_images_to_latents_and_back(base: Path, stock: StableDiffusionXLPipeline):
    adapter, pixels = open_model(base), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mean, std = adapter.encode_images(pixels)
    posterior = stock.vae.encode(pixels).latent_dist
    torch.testing.assert_close(mean, posterior.mean * 0.7)
    torch.testing.assert_close(std, posterior.std * 0.7)
    assert mean.shape[1:] == adapter.latent_shape(64)
    torch.testing.assert_close(adapter.decode_latents(mean), stock.vae.decode(posterior.mean).sample)


def test_channelwise_latent_statistics(base: Path, tmp_path: Path):
    folder = shutil.copytree(base, tmp_path / "base")
    config = json.loads((folder / "vae" / "config.json").read_text())
    statistics = {"latents_mean": [1.0] * 16, "latents_std": [2.0] * 16}
    (folder / "vae" / "config.json").write_text(json.dumps({**config, **statistics}))
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    plain, _ = open_model(base).encode_images(pixels)
    shifted, _ = open_model(folder).encode_images(pixels)
    torch.testing.assert_close(shifted, (plain / 0.7 - 1) * 0.7 / 2)
    decoded, expected = open_model(folder).decode_latents(shifted), open_model(base).decode_latents(plain)
    torch.testing.assert_close(decoded, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("width", [64, 96])
def test_images_are_the_stock_pipelines(base: Path, width: int):
    adapter, pipeline = open_model(base), StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
    config = read_json(base / "scheduler" / "scheduler_config.json")
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config)
    noise = torch.randn(2, 16, 8, width // 8, generator=torch.Generator().manual_seed(0))
    expected = pipeline(
        PROMPTS[0], height=64, width=width, num_inference_steps=4, guidance_scale=5.0, latents=noise.clone(),
        num_images_per_prompt=2, output_type="latent",
    ).images  # fmt: skip
    synthesis = SynthesisConfig(steps=4, guidance_scale=5.0)
    latents = denoise(adapter, adapter.encode_text([PROMPTS[0]]), noise, config=synthesis, image_size=64)
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)


def test_half_precision_files(base: Path, tmp_path: Path):
    folder = shutil.copytree(base, tmp_path / "base")
    for name in ("unet", "vae"):
        module = getattr(StableDiffusionXLPipeline.from_pretrained(base), name).half()
        (folder / name / "diffusion_pytorch_model.safetensors").unlink()
        module.save_pretrained(folder / name, variant="fp16")
    adapter = open_model(folder)
    condition = adapter.encode_text(PROMPTS)
    assert predict(adapter, condition).dtype == torch.float32
    torch.testing.assert_close(predict(adapter, condition), predict(open_model(base), condition), atol=2e-2, rtol=2e-2)


def test_select_and_concatenate(base: Path):
    condition = open_model(base).encode_text(PROMPTS)
    swapped = condition.select(torch.tensor([1, 0]))
    assert torch.equal(swapped.pooled, condition.pooled.flip(0))
    assert torch.equal(concatenate([swapped, condition]).prompt_embeds[2:], condition.prompt_embeds)


def test_what_is_no_model_is_refused(base: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"no model_index\.json"):
        open_model(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipelineXL"}')
    with pytest.raises(ValueError, match=r"'StableDiffusionPipelineXL' is not supported; known: .*FluxPipeline"):
        open_model(tmp_path)
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").rename(folder / "vae" / "model.bin")
    with pytest.raises(ValueError, match=r"no \.safetensors file, but model\.bin; .*safe_serialization"):
        open_model(folder).encode_images(torch.zeros(1, 3, 64, 64))
