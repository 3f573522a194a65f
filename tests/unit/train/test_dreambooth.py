from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aelif.artifacts import digest_of_folder, sha256_of
from aelif.config import DataConfig, TrainConfig, Trial
from aelif.models.adapter import open_model
from aelif.progress import StepProgress
from aelif.train.batch import draw_batch
from aelif.train.cache import cache_class, cache_instance
from aelif.train.dreambooth import denoising_loss, fine_tune, learning_rate_at

SMALL = {"steps": 6, "rank": 2, "crops": 2, "checkpoint_every": 2}


class Interrupting(StepProgress):
    """Stops the training as Ctrl-C would, at the first report from step `at` on."""

    def __init__(self, at: int) -> None:
        super().__init__("train", "test")
        self.at = at

    def advance(self, done: int, total: int, unit: str) -> None:
        if done >= self.at:
            raise KeyboardInterrupt


@pytest.fixture
def train(base: Path, photos: Path, class_images: Path, data: DataConfig, tmp_path: Path):
    def train(
        name: str, trial: str = "aelif_noise_conv:0.3/seed=1", progress: StepProgress | None = None, *,
        checkpoints: Path | None = None, prior: Path | None = class_images, **settings,
    ):  # fmt: skip
        return fine_tune(
            base=base, photos=photos, class_images=prior, output=tmp_path / name, trial=Trial.parse(trial), data=data,
            config=TrainConfig(**{**SMALL, **settings}), checkpoint_dir=checkpoints,
            progress=progress or StepProgress("train", "test"),
        )  # fmt: skip

    return train


@pytest.mark.parametrize("method", ["lora", "full"])
def test_resumed_equals_uninterrupted_to_the_bit(train, tmp_path: Path, method):
    whole = train("whole", method=method)
    with pytest.raises(KeyboardInterrupt):
        train("parts", progress=Interrupting(6), checkpoints=tmp_path / "checkpoints", method=method)
    assert not (tmp_path / "parts").exists()
    resumed = train("parts", checkpoints=tmp_path / "checkpoints", method=method)
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
    weights = tmp_path / "model" / "pytorch_lora_weights.safetensors"
    assert content["weights_sha256"] == report.weights_sha256 == sha256_of(weights)
    assert (content["variant"], content["seed"], content["family"]) == ("aelif_noise_conv:0.3", 1, "sdxl")
    assert content["base"] == digest_of_folder(base)
    assert content["photos"] == digest_of_folder(photos)
    assert content["class_images"] == digest_of_folder(class_images)
    assert [line["step"] for line in content["losses"]] == list(range(1, 7))
    assert content["losses"][0]["loss"] == pytest.approx(report.losses[0], abs=1e-6)
    assert any(tensor.abs().max() > 0 for name, tensor in load_file(weights).items() if "lora_B" in name)


@pytest.mark.parametrize("variant", ["baseline", "aelif_mask:0.3"])
def test_training_learns(train, variant):
    # One photo, no prior: the loss at the same times falls.
    losses = train("m", f"{variant}/seed=0", steps=40, method="full", learning_rate=1e-2, prior_preservation=False,
                   prior=None, batch_size=4, loss_weighting="uniform").losses  # fmt: skip
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_loss_is_instance_mean_plus_weighted_class_mean(base, photos, class_images, data):
    config, trial = TrainConfig(batch_size=3, prior_weight=0.3), Trial.parse("baseline/seed=0")
    adapter = open_model(base)
    instance = cache_instance(adapter, photos, data=data, config=config, seed=0, progress=StepProgress("train", ""))
    batch = draw_batch(adapter, instance, cache_class(adapter, class_images, data=data), step=0, trial=trial,
                       config=config)  # fmt: skip
    with torch.no_grad():
        loss = denoising_loss(adapter, batch, snr_gamma=5.0, image_size=64)
        errors = []
        for row in range(6):
            one = slice(row, row + 1)
            noisy = adapter.add_noise(batch.latents[one], batch.noise[one], batch.times[one])
            condition = batch.condition.select(torch.tensor([row]))
            prediction = adapter.predict(noisy, batch.times[one], condition, image_size=64)
            weight = adapter.loss_weight(batch.times[one], snr_gamma=5.0)
            errors.append((weight * (prediction - batch.noise[one]).square().mean()).item())
    assert loss.item() == pytest.approx(sum(errors[:3]) / 3 + 0.3 * sum(errors[3:]) / 3, rel=1e-4)


def test_learning_rate():
    config = TrainConfig(steps=100, learning_rate=1.0)
    rates = [learning_rate_at(step, config) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1.0
    assert all(a >= b for a, b in pairwise(rates[5:]))
    assert rates[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 94 / 95)))
    assert 0 < rates[-1] < 1e-3
    assert learning_rate_at(0, TrainConfig(steps=1, learning_rate=1.0)) == 1.0


def test_what_is_not_finite_is_never_saved(train, tmp_path: Path):
    with pytest.raises(FloatingPointError, match=r"step \d+: loss .* from 000\d\.png, .*lower learning_rate"):
        train("broken", steps=40, learning_rate=1e30, method="full", checkpoints=tmp_path / "checkpoints",
              checkpoint_every=40)  # fmt: skip
    assert not (tmp_path / "broken").exists()
    assert not (tmp_path / "checkpoints").exists()


def test_prior_preservation_needs_class_images(train):
    with pytest.raises(ValueError, match="it needs class images"):
        train("x", prior=None)
    report = train("y", prior=None, prior_preservation=False)
    assert len(report.losses) == 6
