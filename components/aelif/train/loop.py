"""The optimizer steps, from the last checkpoint on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Parameter

from aelif.average import WeightAverage
from aelif.checkpoint import checkpoint_extra, checkpoint_key, load_checkpoint, save_checkpoint
from aelif.models.adapter import ModelAdapter
from aelif.progress import StepProgress
from aelif.train.batch import Row, draw_batch, plan_rows
from aelif.train.cache import SampleSet
from aelif.train.checks import SKIPS, check_finite
from aelif.train.devices import seeded
from aelif.train.job import TrainJob
from aelif.train.loss import DenoisingLoss
from aelif.train.optimizer import make_optimizer, set_rates
from aelif.train.prompts import PromptBook
from aelif.train.schedule import rate_factor

CHECK_EVERY = 10
"""Steps between looks at the losses: each look makes an accelerator wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What is trained on."""

    instance: SampleSet
    prior: SampleSet | None
    book: PromptBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training in flight."""

    job: TrainJob
    accelerator: Accelerator
    adapter: ModelAdapter
    samples: Samples
    weights: dict[str, Parameter]
    loss: Any
    """`DenoisingLoss`, wrapped by accelerate."""
    optimizer: Any
    """Wrapped likewise."""
    average: WeightAverage
    losses: Tensor
    """Loss of every step, (T,); this process's own share of it."""
    norms: Tensor
    """Gradient norm of every step, (T,)."""

    @property
    def state(self) -> dict[str, Tensor]:
        """Everything that a checkpoint restores by name."""
        return {**self.weights, **self.average.tensors, "losses": self.losses, "norms": self.norms}

    def rows(self, step: int) -> list[list[Row]]:
        """Return the rows of a step, pass by pass and device by device."""
        samples, processes = self.samples, self.accelerator.num_processes
        return plan_rows(samples.instance, samples.prior, step=step, seed=self.job.trial.seed, config=self.job.config,
                         processes=processes)  # fmt: skip

    def files(self, step: int) -> list[str]:
        """Return the files that a step sees, on all devices."""
        return sorted({row.file for part in self.rows(step) for row in part})

    def mean_losses(self, done: int) -> Tensor:
        """Return the losses of the steps done, averaged over devices; all processes must call it."""
        losses_T = self.losses[:done]
        several = self.accelerator.num_processes > 1
        return self.accelerator.reduce(losses_T, reduction="mean") if several else losses_T


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a training's state is kept."""

    path: Path
    key: str
    """Digest of everything that the weights depend on; another training's checkpoint is not used."""

    def load(self, training: Training) -> int:
        """Restore the state and return the steps done; 0 where there is no checkpoint of this training."""
        if checkpoint_key(self.path) != self.key:
            return 0
        done = load_checkpoint(self.path, training.state, training.optimizer.optimizer)
        if training.accelerator.scaler is not None:
            training.accelerator.scaler.load_state_dict(checkpoint_extra(self.path)["scaler"])
        return done

    def save(self, training: Training, *, done: int) -> None:
        """Write the state after `done` steps."""
        scaler = training.accelerator.scaler
        extra = {"scaler": scaler.state_dict()} if scaler is not None else {}
        save_checkpoint(self.path, training.state, training.optimizer.optimizer, step=done, key=self.key, extra=extra)


def start_training(job: TrainJob, *, accelerator: Accelerator, adapter: ModelAdapter, samples: Samples) -> Training:
    """Return a training before its first step; releases what it will not use."""
    config = job.config
    weights = adapter.prepare_training(config, seed=job.trial.seed)
    adapter.release("autoencoder", *(("text",) if samples.book.cached is not None else ()))
    loss = DenoisingLoss(adapter, samples.book, trial=job.trial, config=config).train()
    optimizer = make_optimizer(weights, config, device=accelerator.device)
    average = WeightAverage(weights, decay=config.ema_decay)
    prepared_loss, prepared_optimizer = accelerator.prepare(loss, optimizer)
    losses_T, norms_T = torch.zeros(2, config.steps, device=accelerator.device).unbind()
    return Training(
        job=job, accelerator=accelerator, adapter=adapter, samples=samples, weights=weights, loss=prepared_loss,
        optimizer=prepared_optimizer, average=average, losses=losses_T, norms=norms_T,
    )  # fmt: skip


def run_steps(
    training: Training,
    *,
    start: int,
    checkpoint: Checkpoint | None,
    progress: StepProgress,
    validate: Callable[[int], None],
) -> None:
    """Take the optimizer steps from `start` on.

    Args:
        training: what is trained.
        start: steps that a checkpoint had done.
        checkpoint: where the state goes every `checkpoint_every` steps.
        progress: told the steps.
        validate: called after every `validate_every` steps with the number of steps done.

    Raises:
        FloatingPointError: if a loss, gradient or weight is not finite; before it is stored.
    """
    config, accelerator = training.job.config, training.accelerator
    told = start
    for step in range(start, config.steps):
        take_step(training, step)
        done = step + 1
        saving = checkpoint is not None and done % config.checkpoint_every == 0
        validating = config.validate_every > 0 and done % config.validate_every == 0
        if saving or validating or done % CHECK_EVERY == 0 or done == config.steps:
            losses_T = training.mean_losses(done)
            check_finite(
                losses_T, training.norms[:done], training.weights.values(), files_of=training.files,
                skips=SKIPS if accelerator.scaler is not None else 0, learning_rate=config.optimizer.learning_rate,
            )  # fmt: skip
            training.losses[:done] = losses_T
            progress.advance(done, config.steps, "steps")
            if accelerator.is_main_process:
                progress.measure(measures(training, first=told, done=done))
            told = done
        if validating and accelerator.is_main_process:
            validate(done)
        if saving and checkpoint is not None and accelerator.is_main_process:
            checkpoint.save(training, done=done)


def measures(training: Training, *, first: int, done: int) -> dict[int, dict[str, float]]:
    """Return loss, gradient norm and learning rate of the steps after `first`, by the number of steps then done."""
    config, peak = training.job.config, training.optimizer.param_groups[0]["initial_lr"]
    rates = [peak * rate_factor(step, steps=config.steps, config=config.optimizer) for step in range(first, done)]
    losses, norms = training.losses[first:done].tolist(), training.norms[first:done].tolist()
    names = ("train/loss", "train/grad_norm", "train/learning_rate")
    rows = zip(losses, norms, rates, strict=True)
    return {first + number + 1: dict(zip(names, row, strict=True)) for number, row in enumerate(rows)}


def take_step(training: Training, step: int) -> None:
    """Take one optimizer step: all passes of this device, then clipping, weights and their average."""
    job, accelerator = training.job, training.accelerator
    config, seed = job.config, job.trial.seed
    set_rates(training.optimizer, step, config)
    for rows in training.rows(step)[accelerator.process_index :: accelerator.num_processes]:
        batch = draw_batch(training.adapter, rows, step=step, seed=seed, config=config)
        with accelerator.accumulate(training.loss), seeded(seed, "train/dropout", step, rows[0].slot,
                                                           device=accelerator.device):  # fmt: skip
            loss = training.loss(batch)
            accelerator.backward(loss)
        training.losses[step] += loss.detach() / config.gradient_accumulation
    training.norms[step] = accelerator.clip_grad_norm_(training.weights.values(), config.optimizer.max_grad_norm)
    training.optimizer.step()
    training.optimizer.zero_grad()
    training.average.update(step)
