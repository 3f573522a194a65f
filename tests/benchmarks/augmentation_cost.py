"""What AELIF costs a training step: three trainings in one process, step by step in turn."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from workload import PHOTOS, WORKLOADS, data_config, train_config

if TYPE_CHECKING:
    from aelif.progress import StepProgress
    from aelif.train.loop import Training

VARIANTS = ("baseline", "aelif_mask:0.3", "aelif_noise_conv:0.3")
_WARM_UP = 5


def augmentation_cost(base: Path, scratch: Path, *, steps: int) -> dict[str, dict[str, float]]:
    """Return for each variant the median step and condition time in ms, and what it adds in per cent of a step.

    All is processor time. `added_percent` compares the conditions alone: what a variant does to a step
    happens there, and the denoiser's share, equal in all, is a hundred times as long and as noisy.
    `step_percent` is the median of the whole steps' paired differences.

    Args:
        base: diffusers folder of the base model.
        scratch: folder for the prepared photos.
        steps: measured steps of each variant.
    """
    from aelif.prepare.photos import prepare_photos
    from aelif.progress import step_work
    from aelif.train.loop import take_step

    with step_work("train") as progress:
        prepare_photos([PHOTOS], scratch / "photos", config=data_config(), progress=progress)
        trainings = {name: _start(base, scratch / "photos", name, _WARM_UP + steps, progress) for name in VARIANTS}
        steps_s: dict[str, list[float]] = {name: [] for name in VARIANTS}
        conditions_s: dict[str, list[float]] = {name: [] for name in VARIANTS}
        for step in range(_WARM_UP + steps):
            for name in VARIANTS[step % 3 :] + VARIANTS[: step % 3]:  # no variant always follows the same one
                began = time.process_time()
                take_step(trainings[name], step)
                steps_s[name].append(time.process_time() - began)
                conditions_s[name].append(_condition_s(trainings[name], step))
    return {name: _summary(name, steps_s, conditions_s) for name in VARIANTS}


def _summary(name: str, steps: dict[str, list[float]], conditions: dict[str, list[float]]) -> dict[str, float]:
    """Return one variant's figures, the first steps left out."""
    (own, clean), (own_conditions, clean_conditions) = (
        (times[name][_WARM_UP:], times["baseline"][_WARM_UP:]) for times in (steps, conditions)
    )
    paired = [after / before - 1 for after, before in zip(own, clean, strict=True)]
    return {
        "step_ms": 1e3 * median(own),
        "condition_ms": 1e3 * median(own_conditions),
        "added_percent": 100 * (median(own_conditions) - median(clean_conditions)) / median(clean),
        "step_percent": 100 * median(paired),
    }


def _start(base: Path, photos: Path, variant: str, steps: int, progress: StepProgress) -> Training:
    """Return a training before its first step."""
    from aelif.config import Trial
    from aelif.train.devices import open_accelerator
    from aelif.train.dreambooth import cache_inputs, open_trainee
    from aelif.train.job import TrainJob
    from aelif.train.loop import start_training

    config = train_config(WORKLOADS[0], steps=steps)
    trial = Trial.parse(f"{variant}/seed=0")
    job = TrainJob(base=base, photos=photos, class_images=None, trial=trial, data=data_config(), config=config)
    accelerator = open_accelerator(config)
    adapter = open_trainee(job, accelerator)
    samples = cache_inputs(adapter, job, accelerator=accelerator, progress=progress)
    return start_training(job, accelerator=accelerator, adapter=adapter, samples=samples)


def _condition_s(training: Training, step: int) -> float:
    """Return how long the step's prompts take, augmentation included."""
    from aelif.train.batch import draw_batch

    job = training.job
    loss = training.accelerator.unwrap_model(training.loss)
    batch = draw_batch(training.adapter, training.rows(step)[0], step=step, seed=job.trial.seed, config=job.config)
    began = time.process_time()
    loss.condition(batch.groups[0], step=step)
    return time.process_time() - began
