from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.tiny import write_tiny_flux, write_tiny_sd, write_tiny_sd3
from tests.unit.train.conftest import Interrupting

from aelif.artifacts import ImageRecord, digest_of_folder, sha256_of, write_image_records
from aelif.config import DataConfig, LoraConfig
from aelif.models.adapter import open_model
from aelif.models.pipeline import open_pipeline
from aelif.train import dreambooth

LORA_FILE = "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "lora"},
        {"method": "full", "ema_decay": 0.9, "gradient_accumulation": 2},
        {"optimizer": "prodigy", "lora": LoraConfig(rank=2, dropout=0.3, text_encoders=True), "validate_every": 3},
    ],
    ids=["lora", "full-ema-accumulation", "prodigy-dropout-text"],
)
def test_resumed_equals_uninterrupted_to_the_bit(train, tmp_path: Path, changes):
    whole = train("whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        train("parts", progress=Interrupting(6), checkpoints=tmp_path / "checkpoints", **changes)
    assert not (tmp_path / "parts").exists()
    torch.rand(3)  # the global generator's state is of no account
    resumed = train("parts", checkpoints=tmp_path / "checkpoints", **changes)
    assert resumed.resumed_from == 4
    assert resumed.losses == whole.losses
    assert digest_of_folder(tmp_path / "parts") == digest_of_folder(tmp_path / "whole")
    assert not any((tmp_path / "checkpoints").iterdir()), "a finished training leaves no checkpoint"


def test_a_checkpoint_of_other_settings_is_not_used(train, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        train("a", progress=Interrupting(6), checkpoints=tmp_path / "checkpoints")
    other = train("b", checkpoints=tmp_path / "checkpoints", learning_rate=1e-3)
    assert other.resumed_from == 0
    same = train("a", checkpoints=tmp_path / "checkpoints")
    assert same.resumed_from == 4, "trials share the folder"


def test_model_folder(train, tmp_path: Path, base: Path, photos: Path, class_images: Path):
    report = train("model")
    content = json.loads((tmp_path / "model" / "aelif.json").read_text())
    weights = tmp_path / "model" / LORA_FILE
    assert content["weights_sha256"] == report.weights_sha256 == sha256_of(weights)
    assert (content["variant"], content["seed"], content["family"]) == ("aelif_noise_conv:0.3", 1, "sdxl")
    assert (content["image_size"], content["max_sequence_length"]) == (64, 256)
    assert content["base"] == digest_of_folder(base)
    assert content["photos"] == digest_of_folder(photos)
    assert content["class_images"] == digest_of_folder(class_images)
    assert [line["step"] for line in content["losses"]] == list(range(1, 7))
    assert content["losses"][0]["loss"] == pytest.approx(report.losses[0], abs=1e-6)
    assert any(tensor.abs().max() > 0 for name, tensor in load_file(weights).items() if "lora_B" in name)


@pytest.mark.parametrize("variant", ["baseline", "aelif_mask:0.3"])
def test_training_learns(train, variant):
    # No prior: the loss falls, whatever is drawn.
    losses = train("m", f"{variant}/seed=0", steps=40, method="full", learning_rate=1e-2, prior_preservation=False,
                   prior=None, batch_size=4, loss_weighting="uniform").losses  # fmt: skip
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_accumulation_is_but_a_way_to_cut_the_step(train, tmp_path: Path):
    whole = train("whole", batch_size=4)
    cut = train("cut", batch_size=1, gradient_accumulation=4)
    assert cut.losses == pytest.approx(whole.losses, rel=1e-5)
    one, other = (load_file(tmp_path / name / LORA_FILE) for name in ("whole", "cut"))
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, atol=1e-5, rtol=1e-3)


def test_checkpointing_activations_changes_nothing_but_memory(train):
    plain, checkpointed = train("a"), train("b", gradient_checkpointing=True)
    assert checkpointed.losses == pytest.approx(plain.losses, rel=1e-5)


def test_half_precision_trains_float32_weights(train, tmp_path: Path):
    full, half = train("a"), train("b", mixed_precision="bf16")
    assert half.losses == pytest.approx(full.losses, rel=0.03)
    assert half.losses != full.losses
    assert {tensor.dtype for tensor in load_file(tmp_path / "b" / LORA_FILE).values()} == {torch.float32}
    assert train("c").losses == full.losses, "accelerate's global state is no obstacle"


def test_ema_is_saved_in_the_weights_stead(train, tmp_path: Path):
    raw, averaged = train("raw"), train("averaged", ema_decay=0.5)
    assert raw.losses == averaged.losses
    assert raw.weights_sha256 != averaged.weights_sha256


def test_the_global_generator_is_neither_read_nor_changed(train):
    changes = {"lora": LoraConfig(rank=2, dropout=0.3), "validate_every": 3}
    torch.manual_seed(1)
    first = train("a", **changes)
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    second = train("b", **changes)
    assert second == first
    assert torch.equal(torch.rand(3), expected)


def test_several_subjects_of_several_shapes(train, two_subjects: DataConfig, tmp_path: Path):
    def write(name: str, rows: list[tuple[tuple[int, int], str, int]]) -> Path:
        (tmp_path / name).mkdir()
        records = []
        for index, (size, text, subject) in enumerate(rows):
            noise = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{index}.png")
            records.append(ImageRecord(file_name=f"{index}.png", text=text, subject=subject))
        write_image_records(tmp_path / name, records)
        return tmp_path / name

    photos = write("photos", [((64, 64), "", 0), ((80, 48), "a sks backpack at night", 0), ((48, 80), "", 1)])
    prior = write("class", [((64, 64), subject.class_prompt, 0) for subject in two_subjects.subjects])
    report = train("model", "string_augmentation:0.5+aelif_mask:0to0.4/seed=0", folder=photos, prior=prior,
                   subjects=replace(two_subjects, aspect_buckets=True), batch_size=3,
                   caption_dropout=0.2)  # fmt: skip
    assert all(math.isfinite(loss) for loss in report.losses)
    content = json.loads((tmp_path / "model" / "aelif.json").read_text())
    assert content["more_subjects"] == [{"instance_prompt": "a photo of zwx cat", "class_prompt": "a photo of a cat"}]
    assert content["aspect_buckets"] is True


def test_what_is_not_finite_is_never_saved(train, tmp_path: Path):
    with pytest.raises(FloatingPointError, match=r"step \d+: loss .* from 000\d\.png, .*lower learning_rate"):
        train("broken", steps=40, learning_rate=1e30, method="full", checkpoints=tmp_path / "checkpoints",
              checkpoint_every=40)  # fmt: skip
    assert not (tmp_path / "broken").exists()
    assert not (tmp_path / "checkpoints").exists()


def test_weights_broken_by_the_last_step_are_not_saved_either(train, tmp_path: Path):
    # The loss and the gradient of the only step are fine; its weights are not.
    with pytest.raises(FloatingPointError, match="weights are no longer finite after step 1"):
        train("broken", steps=1, learning_rate=1e38, method="full", checkpoints=tmp_path / "checkpoints",
              checkpoint_every=1)  # fmt: skip
    assert not (tmp_path / "checkpoints").exists()


def test_prior_preservation_needs_class_images(train):
    with pytest.raises(ValueError, match="it needs class images"):
        train("x", prior=None)
    report = train("y", prior=None, prior_preservation=False)
    assert len(report.losses) == 6


WRITERS = {"sd": write_tiny_sd, "sdxl": None, "sd3": write_tiny_sd3, "flux": write_tiny_flux}


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_saved_is_what_was_trained(
    train, base: Path, tmp_path: Path, family, method, monkeypatch: pytest.MonkeyPatch
):
    """Peers save adapters that do nothing elsewhere: a fresh stock pipeline must predict what the trainer predicts."""
    writer, opened = WRITERS[family], []
    folder = writer(tmp_path / "base") if writer else base

    def recording(*arguments, **options):
        opened.append(open_model(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(dreambooth, "open_model", recording)
    train("model", model=folder, method=method, learning_rate=1e-2, lora=LoraConfig(rank=2, alpha=8))
    live = opened[0]
    (denoiser,) = live.trained_modules().values()
    stock = open_pipeline(folder, tmp_path / "model", dtype=torch.float32, device="cpu")
    stored = getattr(stock, live.denoiser)
    reloaded, untrained = open_model(folder), open_model(folder)
    reloaded.load_trained(tmp_path / "model")

    condition = untrained.encode_text(["a photo of sks backpack"])
    noisy = torch.randn(1, *live.latent_shape(64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = live.predict(noisy, torch.tensor([500]), condition)
        again = reloaded.predict(noisy, torch.tensor([500]), condition)
        before = untrained.predict(noisy, torch.tensor([500]), condition)
        untrained._loaded[live.denoiser] = stored.eval()  # the stock pipeline's denoiser under the same call
        stock_prediction = untrained.predict(noisy, torch.tensor([500]), condition)
    assert denoiser is not stored
    torch.testing.assert_close(again, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(stock_prediction, expected, atol=1e-4, rtol=1e-4)
    assert (before - expected).abs().max() > 1e-3
