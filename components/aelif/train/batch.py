"""The batch of a training step: a function of (seed, step), the same for every variant.

Each row is a record of its own: sample, view, noise, time, prompt and weight. A row's numbers
depend on (seed, step, slot) alone, its slot being its place among the rows of the whole optimizer
step; how these are cut into passes and devices changes none of them. Shape legend: B rows,
C, H, W as in latents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aelif.config import TrainConfig
from aelif.models.adapter import ModelAdapter
from aelif.randomness import numpy_generator, torch_generator
from aelif.train.cache import SampleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Which sample stands at a slot, and what its loss counts."""

    samples: SampleSet
    sample: int
    slot: int
    weight: float
    instance: bool
    """Whether it shows a subject, rather than its class."""

    @property
    def file(self) -> str:
        """The sample's file name."""
        return self.samples.files[self.sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows of one latent shape, which the denoiser takes together."""

    rows: tuple[Row, ...]
    latents: Tensor
    """(B, C, H, W)."""
    noise: Tensor
    """(B, C, H, W)."""
    times: Tensor
    """(B,)."""
    weights: Tensor
    """(B,)."""

    @property
    def prompts(self) -> list[str]:
        """Each row's own prompt."""
        return [row.samples.prompts[row.sample] for row in self.rows]

    @property
    def slots(self) -> list[int]:
        """Each row's slot."""
        return [row.slot for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one device takes in one pass."""

    step: int
    """Optimizer step, from 0."""
    groups: tuple[Group, ...]


def pick_samples(count: int, *, size: int, step: int, seed: int, purpose: str) -> list[int]:
    """Return the indices of `size` of `count` samples: every epoch is a fresh permutation, none skipped."""
    first, last = step * size, (step + 1) * size - 1
    orders = {epoch: numpy_generator(seed, purpose, epoch).permutation(count)
              for epoch in range(first // count, last // count + 1)}  # fmt: skip
    return [int(orders[position // count][position % count]) for position in range(first, last + 1)]


def plan_rows(
    instance: SampleSet, prior: SampleSet | None, *, step: int, seed: int, config: TrainConfig, processes: int
) -> list[list[Row]]:
    """Return the rows of a step, pass by pass and device by device: part p·processes + d is pass p on device d.

    Each part has `batch_size` instance rows, then as many class rows. Weights are 1/n for each of
    the n instance rows of a part and `prior_weight`/n for its class rows; the parts' losses are averaged.
    """
    size, parts = config.batch_size, config.gradient_accumulation * processes
    total = size * parts
    picks = pick_samples(len(instance.files), size=total, step=step, seed=seed, purpose="train/instance")
    rows = [Row(samples=instance, sample=pick, slot=slot, weight=1 / size, instance=True)
            for slot, pick in enumerate(picks)]  # fmt: skip
    if prior is None:
        return [rows[part * size : (part + 1) * size] for part in range(parts)]
    picks = pick_samples(len(prior.files), size=total, step=step, seed=seed, purpose="train/class")
    others = [Row(samples=prior, sample=pick, slot=total + slot, weight=config.prior_weight / size, instance=False)
              for slot, pick in enumerate(picks)]  # fmt: skip
    cuts = [slice(part * size, (part + 1) * size) for part in range(parts)]
    return [rows[cut] + others[cut] for cut in cuts]


def draw_batch(adapter: ModelAdapter, rows: Sequence[Row], *, step: int, seed: int, config: TrainConfig) -> Batch:
    """Return latents, noise and times of some rows of a step, grouped by the latents' shape."""
    by_shape: dict[tuple[int, int, int], list[Row]] = defaultdict(list)
    for row in rows:
        by_shape[row.samples.shape(row.sample)].append(row)
    groups = [_draw_group(adapter, by_shape[shape], step=step, seed=seed, config=config) for shape in sorted(by_shape)]
    return Batch(step=step, groups=tuple(groups))


def _draw_group(adapter: ModelAdapter, rows: Sequence[Row], *, step: int, seed: int, config: TrainConfig) -> Group:
    """Return the rows of one shape, each drawn from generators of its own."""
    shape, device = rows[0].samples.shape(rows[0].sample), rows[0].samples.moments[0].device
    moments, randoms, times = [], [], []
    for row in rows:
        generator = torch_generator(seed, "train/noise", step, row.slot)
        times.append(adapter.draw_times(1, generator, sampling=config.time_sampling))
        randoms.append(torch.randn(2, *shape, generator=generator))
        views = row.samples.moments[row.sample]
        count = views.shape[1]
        view = int(torch.randint(count, (), generator=torch_generator(seed, "train/view", step, row.slot))) \
            if count > 1 else 0  # fmt: skip
        moments.append(views[:, view])
    mean_BCHW, std_BCHW = torch.stack(moments, dim=1)
    posterior_BCHW, noise_BCHW = torch.stack(randoms, dim=1).to(device)
    return Group(
        rows=tuple(rows),
        latents=mean_BCHW + std_BCHW * posterior_BCHW,
        noise=noise_BCHW,
        times=torch.cat(times),
        weights=torch.tensor([row.weight for row in rows]).to(device),
    )
