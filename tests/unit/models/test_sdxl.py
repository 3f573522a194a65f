"""The SDXL adapter against the stock pipeline, on a tiny random model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from tests.tiny import write_tiny_sdxl

from aelif.models.adapter import TokenKind, concatenate, open_model

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
        return adapter.predict(noisy, torch.tensor([300] * len(noisy)), condition, image_size=64)


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
    tokens = adapter._tokens("", PROMPTS)["attention_mask"].sum(dim=1)
    condition = adapter.encode_text(PROMPTS)
    assert condition.eligible_positions("content").sum(dim=1).tolist() == (tokens - 2).tolist()
    assert condition.eligible_positions("content+eos").sum(dim=1).tolist() == (tokens - 1).tolist()
    assert condition.eligible_positions("all").sum(dim=1).tolist() == [77, 77]


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


@pytest.mark.parametrize("method", ["lora", "full"])
def test_saved_weights_reload_in_a_fresh_adapter_and_in_the_stock_pipeline(base: Path, tmp_path: Path, method):
    trained = open_model(base)
    condition = trained.encode_text(PROMPTS)
    before = predict(trained, condition)
    generator = torch.Generator().manual_seed(1)
    for parameter in trained.prepare_training(method=method, rank=4, seed=0).values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    after = predict(trained, condition)
    assert not torch.allclose(before, after, atol=1e-3)
    trained.save_trained(tmp_path, method=method)

    fresh = open_model(base)
    fresh.load_trained(tmp_path)
    fresh.prepare_sampling()
    torch.testing.assert_close(predict(fresh, condition), after, atol=1e-5, rtol=1e-4)

    pipeline = StableDiffusionXLPipeline.from_pretrained(base)
    if method == "lora":
        pipeline.load_lora_weights(tmp_path)
    else:
        pipeline.unet = type(pipeline.unet).from_pretrained(tmp_path / "unet")
    fresh._loaded["unet"] = pipeline.unet
    torch.testing.assert_close(predict(fresh, condition), after, atol=1e-5, rtol=1e-4)


def test_lora_starts_as_the_base_model_seeded_and_leaves_the_global_generator_alone(base: Path):
    adapter, state = open_model(base), torch.random.get_rng_state()
    condition = adapter.encode_text(PROMPTS)
    before = predict(adapter, condition)
    weights = adapter.prepare_training(method="lora", rank=4, seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(predict(adapter, condition), before)
    assert all("lora_" in name for name in weights)
    again = open_model(base).prepare_training(method="lora", rank=4, seed=5)
    other = open_model(base).prepare_training(method="lora", rank=4, seed=6)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not all(torch.equal(weights[name], other[name]) for name in weights)


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
    with pytest.raises(ValueError, match="did you mean 'StableDiffusionXLPipeline'"):
        open_model(tmp_path)
    with pytest.raises(ValueError, match=r"neither pytorch_lora_weights\.safetensors nor unet/"):
        open_model(base).load_trained(tmp_path)
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "vae" / "diffusion_pytorch_model.safetensors").rename(folder / "vae" / "model.bin")
    with pytest.raises(ValueError, match=r"no \.safetensors"):
        open_model(folder).encode_images(torch.zeros(1, 3, 64, 64))


def test_lora_of_another_base_is_refused(base: Path, tmp_path: Path):
    from safetensors.torch import save_file

    file = tmp_path / "pytorch_lora_weights.safetensors"
    save_file({"unet.nowhere.to_q.lora_A.weight": torch.ones(1, 2)}, file)
    with pytest.raises(ValueError, match=r"no layer 'nowhere\.to_q'"):
        open_model(base).load_trained(tmp_path)
    save_file({"text_encoder.x.lora_A.weight": torch.ones(1, 2)}, file)
    with pytest.raises(ValueError, match="no LoRA weights for 'unet'"):
        open_model(base).load_trained(tmp_path)
