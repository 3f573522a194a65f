"""Images of a few prompts in the course of a training; painting them changes nothing in it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from aelif.artifacts import new_folder
from aelif.config import SynthesisConfig
from aelif.models.adapter import ModelAdapter
from aelif.models.condition import TextCondition
from aelif.models.sampling import sample
from aelif.progress import StepProgress
from aelif.randomness import torch_generator
from aelif.train.devices import seeded
from aelif.train.job import TrainJob
from aelif.train.loop import Training

IMAGES = 2
"""Images of each prompt, from the same noise every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What is painted, and where it is kept until the model folder is written."""

    kept: Path
    """Folder beside the checkpoint: images outlive an interruption as it does."""
    prompts: tuple[str, ...]
    """None where `validate_every` is 0."""
    conditions: tuple[TextCondition, ...]
    """Each prompt's, encoded beforehand; none where text encoders are trained."""

    @classmethod
    def prepare(cls, adapter: ModelAdapter, job: TrainJob, *, kept: Path) -> Validation:
        """Encode the prompts while the text encoders are there."""
        prompts = validation_prompts(job)
        conditions = []
        if prompts and not job.config.lora.text_encoders:
            with torch.no_grad():
                conditions = [adapter.encode_text([prompt]) for prompt in prompts]
        return cls(kept=kept, prompts=prompts, conditions=tuple(conditions))

    def paint(self, training: Training, *, done: int, progress: StepProgress) -> None:
        """Paint all prompts with the weights that would be saved now, and say where the images lie."""
        config, device = SynthesisConfig(), training.accelerator.device
        size, seed = training.job.data.image_size, training.job.trial.seed
        training.loss.eval()
        with (
            new_folder(self.kept / f"step-{done:06d}") as folder,
            training.average.in_place(),
            training.accelerator.autocast(),
            seeded(seed, "train/validation", done, device=device),
        ):
            for index, condition in enumerate(self._conditions(training.adapter)):
                generators = [torch_generator(seed, "train/validation/latents", index, image)
                              for image in range(IMAGES)]  # fmt: skip
                pixels = sample(training.adapter, condition, generators, config=config, image_size=size)
                for image, pixels_HW3 in enumerate(pixels):
                    Image.fromarray(pixels_HW3.numpy()).save(folder / f"{index:02d}-{image:02d}.png")
        training.loss.train()
        training.adapter.release("autoencoder")
        progress.emit("validation", step=done, prompts=list(self.prompts), folder=str(self.kept / f"step-{done:06d}"))

    def _conditions(self, adapter: ModelAdapter) -> list[TextCondition]:
        if self.conditions:
            return list(self.conditions)
        with torch.no_grad():
            return [adapter.encode_text([prompt]) for prompt in self.prompts]

    def clear(self) -> None:
        """Remove what an interrupted training left without a checkpoint to go on from."""
        shutil.rmtree(self.kept, ignore_errors=True)

    def move_to(self, folder: Path) -> None:
        """Move the images into the model folder."""
        if self.kept.exists():
            shutil.move(self.kept, folder)


def validation_prompts(job: TrainJob) -> tuple[str, ...]:
    """Return the prompts that are painted: the settings', the instance prompt where they name none, or none at all."""
    if not job.config.validate_every:
        return ()
    return job.config.validation_prompts or (job.data.instance_prompt,)
