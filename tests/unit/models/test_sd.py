"""The SD 1.5 / 2.x adapter against the stock pipeline, on tiny random models of noise and of velocity."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from tests.tiny import write_tiny_sd

from aelif.artifacts import read_json
from aelif.config import LoraConfig, SynthesisConfig, TrainConfig
from aelif.models.adapter import open_model
from aelif.models.condition import TokenKind
from aelif.models.miniature.tokenizer import write_tokenizer
from aelif.models.sampling import denoise
from aelif.models.sd import StableDiffusion

PROMPTS = ["a photo of sks backpack", "a poto of sks bakpack on the red beach"]


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd(tmp_path_factory.mktemp("sd") / "base", prediction=request.param)


@pytest.fixture(scope="module")
def stock(base: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(base, safety_checker=None, feature_extractor=None)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        read_json(base / "scheduler" / "scheduler_config.json")
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_text_is_encoded_as_the_stock_pipeline_does(base: Path, stock: StableDiffusionPipeline):
    adapter = open_model(base)
    assert isinstance(adapter, StableDiffusion)
    condition, null = adapter.encode_text(PROMPTS), adapter.null_condition(2)
    embeds, null_embeds = stock.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=True)
    torch.testing.assert_close(condition.prompt_embeds, embeds)
    torch.testing.assert_close(null.prompt_embeds, null_embeds)
    assert condition.pooled is None
    assert condition.segments == (77,)
    assert adapter.encode_text(["a photo"]).token_kinds[0, :5].tolist() == [
        TokenKind.BOS, TokenKind.CONTENT, TokenKind.CONTENT, TokenKind.EOS, TokenKind.PAD
    ]  # fmt: skip


def test_encoders_of_sd2_pad_with_another_token(base: Path, tmp_path: Path):
    folder = shutil.copytree(base, tmp_path / "base")
    shutil.rmtree(folder / "tokenizer")
    write_tokenizer(folder / "tokenizer", max_tokens=77, pad_token="!")
    adapter = open_model(folder)
    assert adapter.encode_text(["a photo"]).token_kinds[0, 3:5].tolist() == [TokenKind.EOS, TokenKind.PAD]
    assert adapter.kept_text("A photo!").replace(" ", "") == "aphoto!"
    assert adapter.kept_text("") == ""
    plain = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, feature_extractor=None)
    embeds, _ = plain.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=False)
    torch.testing.assert_close(adapter.encode_text(PROMPTS).prompt_embeds, embeds)


@pytest.mark.parametrize("width", [64, 96])
def test_images_are_the_stock_pipelines(base: Path, stock: StableDiffusionPipeline, width: int):
    adapter = open_model(base)
    noise = torch.randn(2, 4, 8, width // 8, generator=torch.Generator().manual_seed(0))
    expected = stock(
        PROMPTS[0], height=64, width=width, num_inference_steps=4, guidance_scale=5.0, latents=noise.clone(),
        num_images_per_prompt=2, output_type="latent",
    ).images  # fmt: skip
    config = SynthesisConfig(steps=4, guidance_scale=5.0)
    latents = denoise(adapter, adapter.encode_text([PROMPTS[0]]), noise, config=config, image_size=64)
    torch.testing.assert_close(latents, expected, atol=1e-4, rtol=1e-4)
    if width == 64:
        pixels = stock.vae.decode(expected / stock.vae.config.scaling_factor).sample
        torch.testing.assert_close(adapter.decode_latents(latents), pixels, atol=1e-4, rtol=1e-3)


def test_what_is_predicted_is_what_the_folder_says(base: Path):
    adapter = open_model(base)
    latents, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    target = adapter.target(latents, noise, torch.tensor([500]))
    velocity = read_json(base / "scheduler" / "scheduler_config.json")["prediction_type"] == "v_prediction"
    assert torch.equal(target, noise) != velocity
    assert (adapter.image_size, adapter.size_multiple, adapter.latent_shape(64)) == (64, 8, (4, 8, 8))


def test_masked_tokens_have_no_say(base: Path):
    adapter = open_model(base)
    condition = adapter.encode_text([PROMPTS[0]])
    mask = torch.ones(1, 77, dtype=torch.bool)
    mask[:, 3] = False
    shifted = condition.prompt_embeds.clone()
    shifted[:, 3] += 5
    noisy, times = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    variants = [
        adapter.predict(noisy, times, type(condition)(
            prompt_embeds=embeds, pooled=None, token_kinds=condition.token_kinds, segments=(77,), attention_mask=given,
        ))
        for embeds, given in ((condition.prompt_embeds, None), (condition.prompt_embeds, mask), (shifted, mask))
    ]  # fmt: skip
    assert not torch.allclose(variants[0], variants[1], atol=1e-5)
    torch.testing.assert_close(variants[1], variants[2])


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_what_is_trained_and_nothing_else(base: Path, method: str, checkpointing: bool):
    adapter = open_model(base)
    config = TrainConfig(method=method, gradient_checkpointing=checkpointing, lora=LoraConfig(text_encoders=True))
    weights = adapter.prepare_training(config, seed=0)
    noisy, times = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([10, 900])
    adapter.predict(noisy, times, adapter.encode_text(PROMPTS)).square().mean().backward()
    for name, parameter in weights.items():
        is_moved = parameter.grad is not None and bool(parameter.grad.any())
        assert is_moved == (".lora_A." not in name), name  # B is zero at first, and shields A
    frozen = [p for part in ("unet", "text_encoder") for p in adapter._part(part).parameters() if not p.requires_grad]
    assert all(parameter.grad is None for parameter in frozen)
    assert {name.partition(".")[0] for name in weights} == {"unet", "text_encoder"}


def test_flow_matchings_settings_are_refused(base: Path):
    adapter = open_model(base)
    with pytest.raises(ValueError, match=r"time_sampling = 'mode'.*give 'uniform' for sd"):
        adapter.draw_times(2, torch.Generator(), sampling="mode")
    with pytest.raises(ValueError, match=r"loss_weighting = 'cosmap'.*'min_snr' or 'uniform' for sd"):
        adapter.loss_weight(torch.tensor([1]), weighting="cosmap", snr_gamma=5.0)


def test_tokenizers_of_two_files_are_read(base: Path, tmp_path: Path):
    """SD 1.5 on the hub has `vocab.json` and `merges.txt`, and no `tokenizer.json`."""
    folder = shutil.copytree(base, tmp_path / "base")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    expected = open_model(base).encode_text(PROMPTS).prompt_embeds
    torch.testing.assert_close(open_model(folder).encode_text(PROMPTS).prompt_embeds, expected)
