from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from aelif.config import DataConfig, TrainConfig, Trial
from aelif.models.adapter import open_model
from aelif.progress import StepProgress
from aelif.train.batch import draw_batch, pick_samples
from aelif.train.cache import cache_class, cache_instance


@pytest.fixture(scope="module")
def draw(base: Path, photos: Path, class_images: Path):
    adapter = open_model(base)
    data = DataConfig(
        instance_images="photos", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
    )
    progress = StepProgress("train", "test")
    instance = cache_instance(adapter, photos, data=data, config=TrainConfig(), seed=0, progress=progress)
    prior = cache_class(adapter, class_images, data=data)

    def draw(trial: str = "baseline/seed=0", step: int = 0, *, with_prior: bool = True, **settings):
        return draw_batch(
            adapter, instance, prior if with_prior else None, step=step, trial=Trial.parse(trial),
            config=TrainConfig(**settings),
        )  # fmt: skip

    draw.instance, draw.prior = instance, prior
    return draw


@pytest.mark.parametrize(("count", "size"), [(3, 2), (5, 5), (4, 7), (1, 2)])
def test_every_epoch_shows_every_sample_once(count, size):
    picks = [p for step in range(count * 3) for p in pick_samples(count, size=size, step=step, seed=0, purpose="x")]
    for epoch in range(len(picks) // count):
        assert sorted(picks[epoch * count : (epoch + 1) * count]) == list(range(count))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rows_pair_latents_with_their_own_prompt(draw, size):
    instance, prior = draw.instance, draw.prior
    for step in range(4):
        batch = draw(step=step, batch_size=size)
        for row, file in enumerate(batch.files):
            samples = instance if row < size else prior
            index = samples.files.index(file)
            embeds = samples.condition.prompt_embeds[samples.prompt_rows[index]]
            assert torch.equal(batch.condition.prompt_embeds[row], embeds)
            views = samples.mean[index] - batch.latents[row]
            assert views.abs().amax(dim=(1, 2, 3)).min() < 6 * samples.std[index].max()


def test_variants_of_a_seed_are_paired(draw):
    plain, mask, noise = (draw(f"{v}/seed=3", step=7) for v in ("baseline", "aelif_mask:0.3", "aelif_noise_conv:0.3"))
    for other in (mask, noise):
        assert other.files == plain.files
        for name in ("latents", "noise", "times", "weights"):
            assert torch.equal(getattr(other, name), getattr(plain, name))
        assert not torch.equal(other.condition.prompt_embeds, plain.condition.prompt_embeds)
    assert not torch.equal(draw("baseline/seed=4", step=7).noise, plain.noise)
    assert not torch.equal(draw("baseline/seed=3", step=8).noise, plain.noise)


def test_class_rows_are_augmented_only_if_asked_for(draw):
    clean = draw().condition.prompt_embeds
    both = draw("aelif_mask:0.5/seed=0").condition.prompt_embeds
    half = draw("aelif_mask:0.5/seed=0", augment_class=False).condition.prompt_embeds
    assert torch.equal(half[:2], both[:2])
    assert torch.equal(half[2:], clean[2:])
    assert not torch.equal(both[2:], clean[2:])


def test_weights(draw):
    assert draw(batch_size=2, prior_weight=0.5).weights.tolist() == [0.5, 0.5, 0.25, 0.25]
    assert draw(batch_size=2, with_prior=False).weights.tolist() == [0.5, 0.5]


def test_times_cover_the_schedule(draw):
    times = torch.cat([draw(step=step, batch_size=16).times for step in range(20)])
    quarters = Counter((times // 250).tolist())
    assert len(quarters) == 4
    assert min(quarters.values()) > 100
