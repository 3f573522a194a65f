"""The loss, row by row: golden values for what peers get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.tiny import write_tiny_sdxl
from tests.unit.train.conftest import settings

from aelif.config import AUGMENTATIONS, AugmentationConfig, DataConfig, LoraConfig, Trial
from aelif.models.adapter import open_model
from aelif.progress import StepProgress
from aelif.train.batch import draw_batch, plan_rows
from aelif.train.cache import cache_class, cache_instance
from aelif.train.loss import DenoisingLoss
from aelif.train.prompts import open_book

PROGRESS = StepProgress("train", "test")


class Case:
    """A model with its caches; `loss` and `batch` for any settings."""

    def __init__(self, base: Path, photos: Path, class_images: Path, data: DataConfig) -> None:
        self.adapter = open_model(base)
        self.instance = cache_instance(self.adapter, photos, data=data, config=settings(), seed=0, progress=PROGRESS)
        self.prior = cache_class(self.adapter, class_images, data=data, progress=PROGRESS)

    def loss(self, trial: str = "baseline/seed=0", **changes) -> DenoisingLoss:
        config, parsed = settings(**changes), Trial.parse(trial)
        book = open_book(self.adapter, [*self.instance.prompts, *self.prior.prompts], variant=parsed.variant,
                         augmentation=config.augmentation, seed=0, device=torch.device("cpu"),
                         trains_text=config.lora.text_encoders)  # fmt: skip
        return DenoisingLoss(self.adapter, book, trial=parsed, config=config)

    def batch(self, step: int = 0, **changes):
        config = settings(**changes)
        (rows,) = plan_rows(self.instance, self.prior, step=step, seed=0, config=config, processes=1)
        return draw_batch(self.adapter, rows, step=step, seed=0, config=config)


@pytest.fixture(scope="module")
def case(base: Path, photos: Path, class_images: Path, data: DataConfig) -> Case:
    return Case(base, photos, class_images, data)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_min_snr_with_prior_is_weighted_row_by_row(
    photos: Path, class_images: Path, data: DataConfig, tmp_path: Path, prediction, size
):
    """Peers: weights (2B,) meet a loss (B,) with prior preservation; v-prediction's formula differs between scripts."""
    case = Case(write_tiny_sdxl(tmp_path / "base", prediction=prediction), photos, class_images, data)
    batch = case.batch(step=5, batch_size=size, prior_weight=0.3)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = (1 - betas).cumprod(0)
    expected = []
    (group,) = batch.groups
    for row, (z, noise, t) in enumerate(zip(group.latents, group.noise, group.times, strict=True)):
        a = alphas[t].item()
        snr = a / (1 - a)
        weight = min(snr, 5.0) / (snr if prediction == "epsilon" else snr + 1)
        target = noise if prediction == "epsilon" else a**0.5 * noise - (1 - a) ** 0.5 * z
        noisy = (a**0.5 * z + (1 - a) ** 0.5 * noise).unsqueeze(0)
        with torch.no_grad():
            condition = case.adapter.encode_text([data.instance_prompt if row < size else data.class_prompt])
            predicted = case.adapter.predict(noisy, t.unsqueeze(0), condition)[0]
        expected.append(weight * (predicted - target).square().mean().item())
    with torch.no_grad():
        loss = case.loss(batch_size=size, prior_weight=0.3)(batch).item()
    assert loss == pytest.approx(sum(expected[:size]) / size + 0.3 * sum(expected[size:]) / size, rel=1e-4)


def conditions(case: Case, trial: str, step: int = 0, size: int = 2, **changes) -> torch.Tensor:
    (group,) = case.batch(step=step, batch_size=size, **changes).groups
    return case.loss(trial, batch_size=size, **changes).condition(group, step=step).prompt_embeds


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_row_is_told_its_own_prompt(case: Case, data: DataConfig, size):
    """Peers: [i, c, i, c] prompts beside [i, i, c, c] images from two instance images on."""
    prompts = [data.instance_prompt] * size + [data.class_prompt] * size
    expected = case.adapter.encode_text(prompts).prompt_embeds
    assert (expected[0] - expected[-1]).abs().max() > 0.1
    torch.testing.assert_close(conditions(case, "baseline/seed=0", size=size), expected)


def test_variants_touch_the_prompts_alone(case: Case):
    plain = conditions(case, "baseline/seed=0")
    for name, scale in AUGMENTATIONS.items():
        assert not torch.equal(conditions(case, f"{name}:{scale.maximum:g}/seed=0"), plain)
    # Samples, noise and times do not even know the variant: `batch` is never told it.


def test_class_rows_are_augmented_only_if_asked_for(case: Case):
    clean, both = (conditions(case, f"{variant}/seed=0") for variant in ("baseline", "aelif_mask:0.5"))
    half = conditions(case, "aelif_mask:0.5/seed=0", augmentation=AugmentationConfig(class_prompts=False))
    assert torch.equal(half[:2], both[:2])
    assert torch.equal(half[2:], clean[2:])
    assert not torch.equal(both[2:], clean[2:])


def test_dropped_captions_are_null_whatever_the_variant(case: Case):
    share, count, dropped = 0.3, 0, {}
    for trial in ("baseline/seed=0", "aelif_mask:0.5/seed=0"):
        flags = []
        for step in range(12):
            rows = conditions(case, trial, step=step, size=8, caption_dropout=share)
            flags += (rows == 0).all(dim=(1, 2)).tolist()
        dropped[trial], count = flags, len(flags)
    first, second = dropped.values()
    assert first == second, "every variant loses the same prompts"
    assert sum(first) / count == pytest.approx(share, abs=0.1)


def test_augmentation_does_not_depend_on_how_a_step_is_cut(case: Case):
    whole = conditions(case, "aelif_mask:0.5/seed=0", size=2)
    config = settings(batch_size=1, gradient_accumulation=2)
    for part, rows in enumerate(plan_rows(case.instance, case.prior, step=0, seed=0, config=config, processes=1)):
        (group,) = draw_batch(case.adapter, rows, step=0, seed=0, config=config).groups
        embeds = case.loss("aelif_mask:0.5/seed=0").condition(group, step=0).prompt_embeds
        assert torch.equal(embeds, whole[[part, 2 + part]])


def test_gradients_reach_text_encoders_through_the_augmentation(
    base: Path, photos: Path, class_images: Path, data: DataConfig
):
    case = Case(base, photos, class_images, data)
    changes = {"lora": LoraConfig(rank=2, text_encoders=True)}
    weights = case.adapter.prepare_training(settings(**changes), seed=0)
    case.loss("aelif_noise_conv:0.3+string_augmentation:0.5/seed=0", **changes)(case.batch(**changes)).backward()
    encoders = {name.split(".")[0] for name, p in weights.items() if p.grad is not None and p.grad.abs().max() > 0}
    assert encoders == {"unet", "text_encoder", "text_encoder_2"}
