"""The loss of a pass, as a module: what accelerate wraps for devices and precisions.

Shape legend as in `aelif.train.batch`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aelif.augment.apply import augment
from aelif.config import TrainConfig, Trial
from aelif.models.adapter import ModelAdapter
from aelif.models.condition import TextCondition
from aelif.randomness import torch_generator
from aelif.train.batch import Batch, Group
from aelif.train.prompts import PromptBook, RowPool


class DenoisingLoss(nn.Module):
    """Weighted squared error of the denoiser, from prompts that the variant's augmentation has been at."""

    def __init__(self, adapter: ModelAdapter, book: PromptBook, *, trial: Trial, config: TrainConfig) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(adapter.trained_modules())
        self._adapter, self._book, self._trial, self._config = adapter, book, trial, config

    def forward(self, batch: Batch) -> Tensor:
        """Return the mean over instance rows plus `prior_weight` times the mean over class rows, as a scalar.

        A row's loss is its squared error averaged over the latents, times the weight of its noise level.
        """
        losses = [self._rows(group, self.condition(group, step=batch.step)) for group in batch.groups]
        return torch.cat(losses).sum()

    def _rows(self, group: Group, condition: TextCondition) -> Tensor:
        """Return each row's weighted loss, (B,)."""
        adapter, config = self._adapter, self._config
        noisy_BCHW = adapter.add_noise(group.latents, group.noise, group.times)
        prediction_BCHW = adapter.predict(noisy_BCHW, group.times, condition)
        target_BCHW = adapter.target(group.latents, group.noise, group.times)
        error_B = (prediction_BCHW - target_BCHW).square().mean(dim=(1, 2, 3))
        level_B = adapter.loss_weight(group.times, weighting=config.loss_weighting, snr_gamma=config.snr_gamma)
        return group.weights * level_B * error_B

    def condition(self, group: Group, *, step: int) -> TextCondition:
        """Return the rows' prompts: augmented, class rows as the settings say, and some dropped for the null prompt."""
        config, seed = self._config, self._trial.seed
        rows = [self._book.row_of(prompt) for prompt in group.prompts]
        pool = RowPool(book=self._book, rows=rows)
        touched = augment(
            self._book.conditions(rows), variant=self._trial.variant, config=config.augmentation, seed=seed, step=step,
            slots=group.slots, instance=[row.instance for row in group.rows], times=group.times,
            done=step / config.steps, pool=pool,
        )  # fmt: skip
        if config.caption_dropout:
            touched = touched.where(self._flags(self._kept(group, step)), pool.null())
        return touched

    def _kept(self, group: Group, step: int) -> list[bool]:
        """Return which rows keep their prompt under caption dropout."""
        share, seed = self._config.caption_dropout, self._trial.seed
        draws = [torch.rand((), generator=torch_generator(seed, "train/caption_dropout", step, slot)).item()
                 for slot in group.slots]  # fmt: skip
        return [draw >= share for draw in draws]

    def _flags(self, flags: list[bool]) -> Tensor:
        return torch.tensor(flags).to(self._book.device, non_blocking=True)
