"""Saved weights in a fresh stock pipeline give the trainer's images, and not the base model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from tests.tiny import write_tiny_flux, write_tiny_sd, write_tiny_sd3, write_tiny_sdxl

from aelif.artifacts import read_json
from aelif.config import LoraConfig, SynthesisConfig, TrainConfig
from aelif.models.adapter import open_model
from aelif.models.flux import pack, unpack
from aelif.models.latent_diffusion import LatentDiffusion
from aelif.models.pipeline import open_pipeline
from aelif.models.sampling import denoise

PROMPT = "a photo of sks backpack"
STEPS, GUIDANCE, TOKENS = 2, 3.0, 12
WRITERS = {"sd": write_tiny_sd, "sdxl": write_tiny_sdxl, "sd3": write_tiny_sd3, "flux": write_tiny_flux}
EVERYTHING = {"targets": "all", "rank": 3, "alpha": 7.0, "dora": True, "text_encoders": True}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: write(tmp_path_factory.mktemp(family) / "base") for family, write in WRITERS.items()}


def open_tiny(base: Path) -> LatentDiffusion:
    return open_model(base, max_sequence_length=TOKENS)


def initial_noise(adapter: LatentDiffusion) -> torch.Tensor:
    return torch.randn(1, *adapter.latent_shape(64), generator=torch.Generator().manual_seed(3))


def our_latents(adapter: LatentDiffusion) -> torch.Tensor:
    config = SynthesisConfig(steps=STEPS, guidance_scale=GUIDANCE)
    with torch.no_grad():
        condition = adapter.encode_text([PROMPT])
    return denoise(adapter, condition, initial_noise(adapter), config=config, image_size=64)


def stock_latents(base: Path, model: Path | None, adapter: LatentDiffusion) -> torch.Tensor:
    pipeline = open_pipeline(base, model, dtype=torch.float32, device="cpu")
    pipeline.set_progress_bar_config(disable=True)
    noise, options = initial_noise(adapter), {}
    if adapter.denoiser == "unet":
        config = read_json(base / "scheduler" / "scheduler_config.json")
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(config)
    else:
        options["max_sequence_length"] = TOKENS
    latents = pipeline(
        PROMPT, height=64, width=64, num_inference_steps=STEPS, guidance_scale=GUIDANCE, output_type="latent",
        latents=pack(noise) if adapter.family == "flux" else noise, **options,
    ).images  # fmt: skip
    return unpack(latents, 8, 8) if adapter.family == "flux" else latents


CASES = [
    ("sd", "lora", {}),
    ("sd", "lora", {"rank": 4, "alpha": 10.0}),
    ("sd", "lora", {"dora": True, "alpha": 5.0}),
    ("sd", "lora", {"dropout": 0.5}),
    ("sd", "lora", {"text_encoders": True, "alpha": 3.0}),
    ("sd", "lora", {"targets": "attention+mlp"}),
    ("sd", "lora", {"targets": "all"}),
    ("sd", "full", {}),
    *[(family, "lora", EVERYTHING) for family in WRITERS],
    *[(family, "lora", {"targets": "attention+mlp", "dropout": 0.5}) for family in ("sdxl", "sd3", "flux")],
    *[(family, "full", {"text_encoders": True}) for family in ("sdxl", "sd3", "flux")],
]


@pytest.mark.parametrize(("family", "method", "lora"), CASES)
def test_stock_pipelines_read_what_was_trained(bases: dict[str, Path], tmp_path: Path, family, method, lora):
    base = bases[family]
    trained, plain = open_tiny(base), our_latents(open_tiny(base))
    weights = trained.prepare_training(TrainConfig(method=method, lora=LoraConfig(**lora)), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in weights.values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    assert all(module.training for module in trained.trained_modules().values())
    for module in trained.trained_modules().values():
        module.eval()
    live = our_latents(trained)
    assert (live - plain).abs().max() > 1e-2
    trained.save_trained(tmp_path)
    torch.testing.assert_close(stock_latents(base, tmp_path, trained), live, atol=1e-5, rtol=1e-4)
    fresh = open_tiny(base)
    fresh.load_trained(tmp_path)
    fresh.prepare_sampling()
    torch.testing.assert_close(our_latents(fresh), live, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", WRITERS)
def test_nothing_of_ours_is_inside(bases: dict[str, Path], family: str):
    adapter = open_tiny(bases[family])
    pipeline = open_pipeline(bases[family], None, dtype=torch.bfloat16, device="cpu")
    assert type(pipeline).__name__ == read_json(bases[family] / "model_index.json")["_class_name"]
    modules = [part for part in pipeline.components.values() if part is not None]
    assert {type(part).__module__.partition(".")[0] for part in modules} <= {"diffusers", "transformers"}
    assert pipeline.components.get("safety_checker") is None
    assert getattr(pipeline, "watermark", None) is None
    assert pipeline.dtype == torch.bfloat16
    torch.testing.assert_close(stock_latents(bases[family], None, adapter), our_latents(adapter), atol=1e-5, rtol=1e-4)


def test_what_holds_no_weights_is_refused(bases: dict[str, Path], tmp_path: Path):
    with pytest.raises(ValueError, match=r"neither pytorch_lora_weights\.safetensors nor unet/.*for sd$"):
        open_pipeline(bases["sd"], tmp_path, dtype=torch.float32, device="cpu")
