"""DreamBooth (Ruiz et al., arXiv 2208.12242) on cached latents and text conditions.

Everything random is a function of (seed, purpose, step, slot): an interrupted training that
resumes ends with the very bits of an uninterrupted one, and variants of one seed see the same
samples, noise and times.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from aelif.artifacts import digest_of, new_folder, sha256_of, write_json
from aelif.config import DataConfig, TrainConfig, Trial, require
from aelif.models.adapter import ModelAdapter, open_model
from aelif.models.fit import check_fit
from aelif.progress import StepProgress
from aelif.train.cache import cache_class, cache_instance
from aelif.train.devices import check_same_start, frozen_dtype, open_accelerator
from aelif.train.job import TrainJob
from aelif.train.loop import Checkpoint, Samples, Training, run_steps, start_training
from aelif.train.optimizer import import_optimizer
from aelif.train.preflight import preflight
from aelif.train.prompts import open_book, report_idle
from aelif.train.validation import Validation


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a training did."""

    losses: tuple[float, ...]
    """Loss of every step."""
    resumed_from: int
    """Steps found in a checkpoint; 0 without one."""
    weights_sha256: str


def fine_tune(
    *,
    base: Path,
    photos: Path,
    class_images: Path | None,
    output: Path,
    trial: Trial,
    data: DataConfig,
    config: TrainConfig,
    checkpoint_dir: Path | None,
    progress: StepProgress,
) -> TrainReport:
    """Train one variant with one seed and write the model folder.

    The folder holds `pytorch_lora_weights.safetensors` (LoRA) or the denoiser's folder (full), as
    stock diffusers loads them, `aelif.json`: variant, seed, settings, digests, losses; and
    `validation/step-…/`, images of the validation prompts.

    Args:
        base: diffusers folder of the base model.
        photos: image folder of the subjects, captions in its records.
        class_images: image folder of the class prompts; needed with prior preservation, unused without.
        output: the folder to write.
        trial: variant and seed.
        data: prompts and image size.
        config: training settings.
        checkpoint_dir: where checkpoints go, any number of trials beside one another; None: no checkpoints.
        progress: told the steps.

    Raises:
        ValueError: for photos or settings that do not fit.
        FloatingPointError: if a loss, gradient or weight is not finite; names the step and its files.
        MemoryError: if the training does not fit the device; names settings that do.
    """
    require(not config.prior_preservation or class_images is not None, "prior_preservation", True,
            "it needs class images; give them or turn it off")  # fmt: skip
    prior = class_images if config.prior_preservation else None
    job = TrainJob(base=base, photos=photos, class_images=prior, trial=trial, data=data, config=config)
    accelerator = open_accelerator(config)
    adapter = open_trainee(job, accelerator)
    check_fit(adapter, data=data, config=config)
    import_optimizer(config.optimizer, device=accelerator.device)
    samples = cache_inputs(adapter, job, accelerator=accelerator, progress=progress)
    origin = {**job.origin(), "family": adapter.family}
    checkpoint = _checkpoint(origin, accelerator, checkpoint_dir)
    kept = checkpoint.path.with_suffix("") if checkpoint else output.with_name(f"{output.name}.validation")
    validation = Validation.prepare(adapter, job, kept=kept)
    training = start_training(job, accelerator=accelerator, adapter=adapter, samples=samples)
    start = checkpoint.load(training) if checkpoint else 0
    check_same_start(start, accelerator)
    if start == 0 and accelerator.is_main_process:
        validation.clear()
    preflight(training, remaining=config.steps - start, reopen=lambda other: open_trainee(other, accelerator),
              progress=progress)  # fmt: skip
    run_steps(training, start=start, checkpoint=checkpoint, progress=progress,
              validate=lambda done: validation.paint(training, done=done, progress=progress))  # fmt: skip
    losses = tuple(training.mean_losses(config.steps).tolist())
    sha256 = _write_model(training, output, origin=origin, losses=losses, validation=validation)
    if checkpoint and accelerator.is_main_process:
        checkpoint.path.unlink(missing_ok=True)
    return TrainReport(losses=losses, resumed_from=start, weights_sha256=sha256)


def open_trainee(job: TrainJob, accelerator: Accelerator) -> ModelAdapter:
    """Return the base model on the accelerator's device, in the dtype that its frozen weights need."""
    return open_model(
        job.base, device=accelerator.device, dtype=frozen_dtype(accelerator, job.config),
        max_sequence_length=job.data.max_sequence_length,
    )  # fmt: skip


def cache_inputs(adapter: ModelAdapter, job: TrainJob, *, accelerator: Accelerator, progress: StepProgress) -> Samples:
    """Return latents of all images, and conditions of all prompts unless text encoders are trained."""
    data, config, seed = job.data, job.config, job.trial.seed
    instance = cache_instance(adapter, job.photos, data=data, config=config, seed=seed, progress=progress)
    prior = cache_class(adapter, job.class_images, data=data, progress=progress) if job.class_images else None
    book = open_book(
        adapter, [*instance.prompts, *(prior.prompts if prior else ())], variant=job.trial.variant,
        augmentation=config.augmentation, seed=seed, device=accelerator.device,
        trains_text=config.lora.text_encoders, subjects=data.subjects,
    )  # fmt: skip
    report_idle(book, instance.prompts, variant=job.trial.variant, augmentation=config.augmentation, progress=progress)
    return Samples(instance=instance, prior=prior, book=book)


def _checkpoint(origin: dict[str, Any], accelerator: Accelerator, folder: Path | None) -> Checkpoint | None:
    """Return where this training's state is kept: named by all that the weights depend on."""
    if folder is None:
        return None
    machine = {"device": accelerator.device.type, "precision": accelerator.mixed_precision,
               "processes": accelerator.num_processes}  # fmt: skip
    key = digest_of({**origin, **machine})
    return Checkpoint(path=folder / f"{key[:24]}.safetensors", key=key)


def _write_model(
    training: Training, output: Path, *, origin: dict[str, Any], losses: tuple[float, ...], validation: Validation
) -> str:
    """Write weights, images and `aelif.json`, by one process for all, and return the weights' SHA-256."""
    if training.accelerator.is_main_process:
        curve = [{"step": step + 1, "loss": round(loss, 6)} for step, loss in enumerate(losses)]
        with new_folder(output) as folder:
            with training.average.in_place():
                sha256 = sha256_of(training.adapter.save_trained(folder))
            validation.move_to(folder / "validation")
            write_json(folder / "aelif.json", {"schema": 1, **origin, "weights_sha256": sha256, "losses": curve})
    training.accelerator.wait_for_everyone()
    return sha256 if training.accelerator.is_main_process else ""
