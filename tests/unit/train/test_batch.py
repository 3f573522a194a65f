from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.train.conftest import settings

from aelif.config import DataConfig
from aelif.models.adapter import open_model
from aelif.progress import StepProgress
from aelif.train.batch import draw_batch, pick_samples, plan_rows
from aelif.train.cache import SampleSet, cache_class, cache_instance


@pytest.fixture(scope="module")
def caches(base: Path, photos: Path, class_images: Path, data: DataConfig):
    adapter, progress = open_model(base), StepProgress("train", "test")
    instance = cache_instance(adapter, photos, data=data, config=settings(crops=4), seed=0, progress=progress)
    return adapter, instance, cache_class(adapter, class_images, data=data, progress=progress)


@pytest.mark.parametrize(("count", "size"), [(3, 2), (5, 5), (4, 7), (1, 2), (9, 2)])
def test_every_epoch_shows_every_sample_once(count, size):
    picks = [p for step in range(count * 3) for p in pick_samples(count, size=size, step=step, seed=0, purpose="x")]
    for epoch in range(len(picks) // count):
        assert sorted(picks[epoch * count : (epoch + 1) * count]) == list(range(count))


def draw(caches, parts=None, *, step=0, seed=0, processes=1, with_prior=True, **changes):
    """Return the batches of some parts of a step."""
    adapter, instance, prior = caches
    config = settings(**changes)
    plan = plan_rows(instance, prior if with_prior else None, step=step, seed=seed, config=config, processes=processes)
    return [draw_batch(adapter, rows, step=step, seed=seed, config=config) for rows in plan[parts or slice(None)]]


def _narrow(samples: SampleSet) -> SampleSet:
    """Return the samples with all but no posterior noise, which would hide whose latents they are."""
    scale = torch.tensor([1.0, 1e-4]).view(2, 1, 1, 1, 1)
    return replace(samples, moments=tuple(moments * scale for moments in samples.moments))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_rows_pair_latents_with_their_own_prompt(caches, size):
    """Peers' bugs: latents cached by loader position, and class prompts on instance images from B = 2 on."""
    adapter, instance, prior = caches[0], *map(_narrow, caches[1:])
    for step in range(4):
        (batch,) = draw((adapter, instance, prior), step=step, batch_size=size)
        (group,) = batch.groups
        for row, latents, prompt in zip(group.rows, group.latents, group.prompts, strict=True):
            samples = instance if row.slot < size else prior
            index = samples.files.index(row.file)
            assert prompt == ("a photo of sks backpack" if samples is instance else "a photo of a backpack")
            distances = [(samples.moments[i][0] - latents).abs().amax(dim=(1, 2, 3)).min().item()
                         for i in range(len(samples.files))]  # fmt: skip
            assert distances.index(min(distances)) == index


@pytest.mark.parametrize(("accumulation", "processes"), [(4, 1), (1, 4), (2, 2)])
def test_cutting_a_step_changes_no_row(caches, accumulation, processes):
    def rows(batches):
        return {
            row.slot: (row.file, group.latents[i], group.noise[i], group.times[i])
            for batch in batches for group in batch.groups for i, row in enumerate(group.rows)
        }  # fmt: skip

    whole = rows(draw(caches, step=3, batch_size=4))
    cut = rows(draw(caches, step=3, batch_size=1, gradient_accumulation=accumulation, processes=processes))
    assert whole.keys() == cut.keys() == set(range(8))
    for slot, (file, *tensors) in whole.items():
        assert cut[slot][0] == file
        assert all(torch.equal(a, b) for a, b in zip(tensors, cut[slot][1:], strict=True))


def test_rows_differ_between_steps_seeds_and_slots(caches):
    first = draw(caches, step=7, batch_size=4)[0].groups[0].noise
    assert len({tuple(row.flatten()[:4].tolist()) for row in first}) == 8
    for other in (draw(caches, step=8, batch_size=4), draw(caches, step=7, seed=1, batch_size=4)):
        assert not any(torch.equal(a, b) for a, b in zip(first, other[0].groups[0].noise, strict=True))


def test_weights(caches):
    assert draw(caches, batch_size=2, prior_weight=0.5)[0].groups[0].weights.tolist() == [0.5, 0.5, 0.25, 0.25]
    assert draw(caches, batch_size=2, with_prior=False)[0].groups[0].weights.tolist() == [0.5, 0.5]
    cut = draw(caches, batch_size=1, gradient_accumulation=2, prior_weight=0.5)
    assert [batch.groups[0].weights.tolist() for batch in cut] == [[1.0, 0.5]] * 2, "accelerate averages the passes"


def test_times_cover_the_schedule(caches):
    times = torch.cat([draw(caches, step=step, batch_size=16)[0].groups[0].times for step in range(20)])
    quarters = Counter((times // 250).tolist())
    assert len(quarters) == 4
    assert min(quarters.values()) > 100


@given(
    sizes=st.lists(st.sampled_from([(4, 8, 8), (4, 6, 10), (4, 10, 6)]), min_size=1, max_size=6), size=st.integers(1, 6)
)
def test_rows_of_different_shapes_form_groups(sizes, size):
    class Adapter:
        def draw_times(self, count, generator, *, sampling):
            return torch.randint(1000, (count,), generator=generator)

    moments = tuple(torch.full((2, 2, *shape), float(i)) for i, shape in enumerate(sizes))
    names = tuple(f"{i}.png" for i in range(len(sizes)))
    samples, config = SampleSet(files=names, prompts=names, moments=moments), settings(batch_size=size)
    (rows,) = plan_rows(samples, None, step=0, seed=0, config=config, processes=1)
    batch = draw_batch(Adapter(), rows, step=0, seed=0, config=config)
    assert sorted(slot for group in batch.groups for slot in group.slots) == list(range(size))
    assert len({tuple(group.latents.shape[1:]) for group in batch.groups}) == len(batch.groups)
    for group in batch.groups:
        assert all(samples.shape(row.sample) == tuple(group.latents.shape[1:]) for row in group.rows)
