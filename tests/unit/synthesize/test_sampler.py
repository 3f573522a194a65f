from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline
from PIL import Image
from tests.tiny import write_photos, write_tiny_flux, write_tiny_sd, write_tiny_sd3, write_tiny_sdxl

from aelif.artifacts import read_image_records
from aelif.config import (
    AugmentationConfig,
    DataConfig,
    LoraConfig,
    OptimizerConfig,
    StressConfig,
    SynthesisConfig,
    TrainConfig,
    Trial,
)
from aelif.models.adapter import open_model
from aelif.models.pipeline import open_pipeline
from aelif.models.sampling import denoise, sample
from aelif.progress import StepProgress
from aelif.randomness import torch_generator
from aelif.synthesize import sampler
from aelif.synthesize.sampler import generate_images
from aelif.train.dreambooth import fine_tune

PROGRESS = StepProgress("synthesize", "test")
STRESS = StressConfig(magnitudes=(0.5,))
TEXTS = ["a photo of sks backpack", "a poto of sks backpack", "a photo of sks bakpack", "a photo of sks backpack"]


def prompt_row(index: int, text: str, *, clean_id: int | None = None, prompt_set: str = "clean", **stress) -> dict:
    clean_id = index if clean_id is None else clean_id
    return {"prompt_id": index, "clean_id": clean_id, "prompt": text, "prompt_set": prompt_set, **stress}


PROMPTS = [prompt_row(index, text) for index, text in enumerate(TEXTS)]
DATA = DataConfig(
    instance_images="photos", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("synthesize") / "base")


@pytest.fixture(scope="module")
def model(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthesize")
    photos = write_photos(folder / "photos", count=2, text="a photo of sks backpack")
    config = TrainConfig(steps=10, lora=LoraConfig(rank=4), prior_preservation=False,
                         optimizer=OptimizerConfig(learning_rate=1e-2))  # fmt: skip
    fine_tune(base=base, photos=photos, class_images=None, output=folder / "model", data=DATA, config=config,
              trial=Trial.parse("baseline/seed=0"), checkpoint_dir=None, progress=PROGRESS)  # fmt: skip
    return folder / "model"


def generate(base: Path, model: Path | None, output: Path, *, shard: int = 0, num_shards: int = 1, prompts=PROMPTS,
             stress: StressConfig = STRESS, **settings) -> dict[str, bytes]:  # fmt: skip
    config = SynthesisConfig(**{"steps": 3, "images_per_prompt": 3, "batch_size": 2, **settings})
    generate_images(base=base, model=model, prompts=prompts, output=output, config=config, stress=stress,
                    shard=shard, num_shards=num_shards, progress=PROGRESS)  # fmt: skip
    return {path.name: path.read_bytes() for path in sorted(output.glob("*.png"))}


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_agrees_with_the_stock_pipeline(tmp_path: Path, guidance, prediction):
    base = write_tiny_sdxl(tmp_path / "base", prediction=prediction)
    adapter, config = open_model(base), SynthesisConfig(steps=6, guidance_scale=guidance)
    condition = adapter.encode_text(TEXTS[:1])
    noise = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    ours = denoise(adapter, condition, noise, config=config, image_size=64)

    stock = StableDiffusionXLPipeline.from_pretrained(base)
    stock.scheduler = DPMSolverMultistepScheduler.from_config(stock.scheduler.config)
    stock.set_progress_bar_config(disable=True)
    theirs = stock(
        prompt=TEXTS[0], num_images_per_prompt=2, latents=noise, num_inference_steps=6, guidance_scale=guidance,
        height=64, width=64, output_type="latent",
    ).images  # fmt: skip
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize("write", [write_tiny_sd, write_tiny_sd3, write_tiny_flux])
def test_every_family_paints_what_its_stock_pipeline_paints(tmp_path: Path, write, guidance):
    base = write(tmp_path / "base")
    adapter, config = open_model(base, max_sequence_length=64), SynthesisConfig(steps=4, guidance_scale=guidance)
    stock = open_pipeline(base, None, dtype=torch.float32, device="cpu")
    if adapter.objective == "diffusion":
        stock.scheduler = DPMSolverMultistepScheduler.from_config(stock.scheduler.config)
    stock.set_progress_bar_config(disable=True)
    noise = torch.randn(1, *adapter.latent_shape(64), generator=torch.Generator().manual_seed(0))
    ours = denoise(adapter, adapter.encode_text(TEXTS[:1]), noise, config=config, image_size=64)
    limit = {} if adapter.objective == "diffusion" else {"max_sequence_length": 64}
    start = noise if adapter.family != "flux" else stock._pack_latents(noise, 1, *noise.shape[1:])
    theirs = stock(prompt=TEXTS[0], latents=start, num_inference_steps=4, guidance_scale=guidance, height=64, width=64,
                   output_type="latent", **limit).images  # fmt: skip
    if adapter.family == "flux":
        theirs = stock._unpack_latents(theirs, 64, 64, stock.vae_scale_factor)
    torch.testing.assert_close(ours, theirs, atol=3e-4, rtol=1e-3)


def test_guidance_takes_the_unconditional_row_that_was_kept(tmp_path: Path):
    adapter = open_model(write_tiny_sd(tmp_path / "base"))
    condition, config = adapter.encode_text(TEXTS[:1]), SynthesisConfig(steps=2)

    def paint():
        generators = [torch_generator(0, "x", index) for index in range(2)]
        return sample(adapter, condition, generators, config=config, image_size=64)

    first = paint()
    adapter.release("text")
    assert torch.equal(first, paint())
    assert "text_encoder" not in adapter._loaded
    adapter._null = adapter.encode_text(["a cat"])
    assert not torch.equal(first, paint())


def test_t5_reads_as_many_tokens_as_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "aelif.json").write_text('{"max_sequence_length": 33}')
    told = []
    monkeypatch.setattr(sampler, "open_model", lambda _, **options: told.append(options) or SimpleNamespace(
        load_trained=lambda _: None, prepare_sampling=lambda: None))  # fmt: skip
    sampler.open_generator(tmp_path, tmp_path / "model")
    sampler.open_generator(tmp_path, None)
    assert [options["max_sequence_length"] for options in told] == [33, 256]


def test_sharding_changes_no_byte(base: Path, model: Path, tmp_path: Path):
    prompts = [*PROMPTS, *stress_rows(4, 0.3, 0.9)]
    whole = generate(base, model, tmp_path / "whole", prompts=prompts, batch_size=5)
    assert len(whole) == 6 * 3
    for num_shards in (2, 3, 5):  # of five shards the last one has no batch
        parts: dict[str, bytes] = {}
        for shard in range(num_shards):
            part = generate(base, model, tmp_path / "shard", prompts=prompts, shard=shard, num_shards=num_shards,
                            batch_size=5)  # fmt: skip
            assert not part.keys() & parts.keys()
            parts |= part
        assert parts == whole


def test_batches_that_mix_prompts_paint_what_those_of_one_prompt_do(base: Path, model: Path, tmp_path: Path):
    prompts = [*PROMPTS, *stress_rows(4, 0.3, 0.9)]
    folders = [tmp_path / f"batches-of-{size}" for size in (3, 32)]
    for folder, size in zip(folders, (3, 32), strict=True):
        generate(base, model, folder, prompts=prompts, batch_size=size)
    for path in folders[0].glob("*.png"):
        alone, mixed = (np.asarray(Image.open(folder / path.name), dtype=int) for folder in folders)
        assert np.abs(alone - mixed).max() <= 1


def test_latents_depend_on_prompt_id_and_image_index_alone(base: Path, model: Path, tmp_path: Path):
    whole = generate(base, model, tmp_path / "whole")
    assert generate(base, model, tmp_path / "again") == whole
    assert whole["00000-0000.png"] != whole["00003-0000.png"], "the same words, another prompt id"
    assert len(set(whole.values())) == len(whole)
    other = generate(base, model, tmp_path / "seed", seed=1)
    assert not set(other.values()) & set(whole.values())


def test_trained_weights_and_prompts_matter(base: Path, model: Path, tmp_path: Path):
    plain, tuned = (generate(base, m, tmp_path / str(m is None), prompts=PROMPTS[:2]) for m in (None, model))
    assert plain.keys() == tuned.keys()
    assert all(plain[name] != tuned[name] for name in plain)


def test_image_folder(base: Path, model: Path, tmp_path: Path):
    generate(base, model, tmp_path / "images", prompts=list(reversed(PROMPTS)))
    records = read_image_records(tmp_path / "images")
    assert [(r.prompt_id, r.image_index) for r in records] == [(p, i) for p in range(4) for i in range(3)]
    assert records[3].text == TEXTS[1]
    assert Image.open(tmp_path / "images" / records[0].file_name).size == (64, 64)


def test_what_cannot_be_generated(base: Path, tmp_path: Path):
    with pytest.raises(ValueError, match="shard = 2: give one from 0 to 1"):
        generate(base, None, tmp_path / "x", shard=2, num_shards=2)
    with pytest.raises(ValueError, match="prompts: the table has none"):
        generate(base, None, tmp_path / "x", prompts=[])


def test_a_perturbed_prompt_starts_from_the_noise_of_its_clean_prompt(base: Path, tmp_path: Path):
    rows = [prompt_row(index, TEXTS[0], clean_id=clean) for index, clean in enumerate([0, 1, 0])]
    files = generate(base, None, tmp_path / "images", prompts=rows)
    assert files["00002-0001.png"] == files["00000-0001.png"]
    assert files["00001-0001.png"] != files["00000-0001.png"]


# ── Stress ─────────────────────────────────────────────────────────────────────────────────────


def stress_rows(first: int, *magnitudes: float, family: str = "aelif_noise_conv", text: str = TEXTS[0]) -> list[dict]:
    return [
        prompt_row(first + number, text, clean_id=0, prompt_set="stress", family=family, severity=magnitude)
        for number, magnitude in enumerate(magnitudes)
    ]


def test_stress_changes_its_own_rows_alone(base: Path, model: Path, tmp_path: Path):
    settings = {"batch_size": 3}
    plain = generate(base, model, tmp_path / "plain", **settings)
    files = generate(base, model, tmp_path / "stress", prompts=[*PROMPTS, *stress_rows(4, 1e-9, 0.4, 0.9)], **settings)
    assert {name: files[name] for name in plain} == plain
    images = [[files[f"{prompt:05d}-{index:04d}.png"] for index in range(3)] for prompt in (0, 4, 5, 6)]
    assert images[0] == images[1], "no token is hit"
    assert all(len(set(at)) == 3 for at in zip(*(images[row] for row in (0, 2, 3)), strict=True))


def test_stress_takes_its_settings(base: Path, tmp_path: Path):
    rows = stress_rows(0, 1.0, family="aelif_mask")
    words, all_tokens = (
        generate(base, None, tmp_path / eligible, prompts=rows,
                 stress=StressConfig(settings=AugmentationConfig(eligible=eligible)))
        for eligible in ("content", "all")
    )  # fmt: skip
    assert words != all_tokens


def test_stress_cannot_mask_attention_where_nobody_reads_a_mask(tmp_path: Path):
    base = write_tiny_sd3(tmp_path / "base")
    stress = StressConfig(settings=AugmentationConfig(mask_attention=True))
    with pytest.raises(ValueError, match=r"mask_attention = True: the denoiser of sd3 reads no attention mask; turn"):
        generate(base, None, tmp_path / "x", prompts=stress_rows(0, 0.5), stress=stress)
    assert not (tmp_path / "x").exists()


def test_a_file_that_cannot_be_written_fails_the_step(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space left; free some space"):
        generate(base, None, tmp_path / "x")
    assert not (tmp_path / "x").exists()
