"""The batch of a training step: a function of (seed, step), the same for every variant.

Each row is a record of its own (latents, prompt, weight), so that nothing depends on how the
instance and class halves lie in the batch. Shape legend: B rows, C, H, W as in latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aelif.augment.apply import augment
from aelif.config import TrainConfig, Trial
from aelif.models.adapter import ModelAdapter, TextCondition, concatenate
from aelif.randomness import numpy_generator, torch_generator
from aelif.train.cache import SampleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of one step: instance samples first, then class samples."""

    latents: Tensor
    """(B, C, H, W)."""
    noise: Tensor
    """(B, C, H, W)."""
    times: Tensor
    """(B,)."""
    condition: TextCondition
    weights: Tensor
    """(B,): 1/n for each of n instance rows, `prior_weight`/n for each of n class rows."""
    files: tuple[str, ...]


def pick_samples(count: int, *, size: int, step: int, seed: int, purpose: str) -> list[int]:
    """Return the indices of `size` of `count` samples: every epoch is a fresh permutation, none skipped."""
    picks = []
    for position in range(step * size, (step + 1) * size):
        epoch, place = divmod(position, count)
        picks.append(int(numpy_generator(seed, purpose, epoch).permutation(count)[place]))
    return picks


def draw_batch(
    adapter: ModelAdapter, instance: SampleSet, prior: SampleSet | None, *, step: int, trial: Trial, config: TrainConfig
) -> Batch:
    """Return the rows of a step, with the variant's augmentation applied to their text conditions.

    Samples, views, noise and times depend on the trial's seed and the step alone; the variant
    touches nothing but the embeddings.
    """
    seed, size = trial.seed, config.batch_size
    halves = [_draw_rows(instance, step=step, seed=seed, size=size, purpose="train/instance")]
    weights = [1 / size] * size
    if prior is not None:
        halves.append(_draw_rows(prior, step=step, seed=seed, size=size, purpose="train/class"))
        weights += [config.prior_weight / size] * size
    mean_BCHW, std_BCHW = torch.cat([half.mean for half in halves]), torch.cat([half.std for half in halves])
    generator, device = torch_generator(seed, "train/noise", step), mean_BCHW.device
    times_B = adapter.draw_times(len(mean_BCHW), generator)
    posterior_BCHW, noise_BCHW = torch.randn(2, *mean_BCHW.shape, generator=generator).to(device)
    return Batch(
        latents=mean_BCHW + std_BCHW * posterior_BCHW,
        noise=noise_BCHW,
        times=times_B,
        condition=_augmented([half.condition for half in halves], step=step, trial=trial, config=config),
        weights=torch.tensor(weights, device=device),
        files=tuple(name for half in halves for name in half.files),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    mean: Tensor
    std: Tensor
    condition: TextCondition
    files: tuple[str, ...]


def _draw_rows(samples: SampleSet, *, step: int, seed: int, size: int, purpose: str) -> _Rows:
    """Return the step's samples, each in one of its views."""
    picks = pick_samples(len(samples.files), size=size, step=step, seed=seed, purpose=purpose)
    views = numpy_generator(seed, f"{purpose}/view", step).integers(samples.mean.shape[1], size=size)
    rows = torch.tensor([samples.prompt_rows[pick] for pick in picks], device=samples.mean.device)
    return _Rows(
        mean=samples.mean[picks, views],
        std=samples.std[picks, views],
        condition=samples.condition.select(rows),
        files=tuple(samples.files[pick] for pick in picks),
    )


def _augmented(parts: Sequence[TextCondition], *, step: int, trial: Trial, config: TrainConfig) -> TextCondition:
    """Augment the instance rows, and the class rows too where the settings say so."""
    generator, pooled_generator = (torch_generator(trial.seed, f"train/augment/{what}", step)
                                   for what in ("tokens", "pooled"))  # fmt: skip
    share = len(parts) if config.augment_class else 1
    touched = augment(
        concatenate(parts[:share]), variant=trial.variant, config=config,
        generator=generator, pooled_generator=pooled_generator,
    )  # fmt: skip
    return concatenate([touched, *parts[share:]])
