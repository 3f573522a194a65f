"""Class images for prior preservation: what the base model paints for the class prompt."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from aelif.artifacts import ImageRecord, new_folder, write_image_records
from aelif.config import DataConfig, SynthesisConfig, TrainConfig
from aelif.progress import StepProgress
from aelif.randomness import torch_generator
from aelif.synthesize.sampler import encode_prompts, open_generator, sample

ATTEMPTS = 5
"""Draws of one image before giving up."""
_BLANK_STD = 2.0


def generate_class_images(
    *,
    base: Path,
    data: DataConfig,
    train: TrainConfig,
    synthesis: SynthesisConfig,
    seed: int,
    output: Path,
    progress: StepProgress,
) -> list[ImageRecord]:
    """Generate `train.class_images` images of the class prompt and write an image folder.

    Blank images, which a safety filter or a numerical failure leaves, are drawn again.

    Args:
        base: diffusers folder of the base model.
        data: class prompt and image size.
        train: how many.
        synthesis: steps, guidance, batch size.
        seed: of the initial latents.
        output: the image folder to write.
        progress: told the images.

    Raises:
        ValueError: if an image stays blank in every attempt.
    """
    adapter = open_generator(base, None)
    condition = encode_prompts(adapter, [data.class_prompt])[data.class_prompt]
    records: list[ImageRecord] = []
    with new_folder(output) as folder:
        for first in range(0, train.class_images, synthesis.batch_size):
            pending = list(range(first, min(first + synthesis.batch_size, train.class_images)))
            for attempt in range(ATTEMPTS):
                generators = [torch_generator(seed, "synthesize/class", index, attempt) for index in pending]
                pixels = sample(adapter, condition, generators, config=synthesis, image_size=data.image_size)
                blank = [is_blank(image) for image in pixels]
                for index, image, rejected in zip(pending, pixels, blank, strict=True):
                    if not rejected:
                        name = f"{index:05d}.png"
                        Image.fromarray(image.numpy()).save(folder / name)
                        records.append(ImageRecord(file_name=name, text=data.class_prompt, image_index=index))
                pending = [index for index, rejected in zip(pending, blank, strict=True) if rejected]
                progress.advance(len(records), train.class_images, "images")
                if not pending:
                    break
            else:
                raise ValueError(
                    f"class_prompt = {data.class_prompt!r}: {base.name} paints blank images in {ATTEMPTS} attempts; "
                    "check the base model, or turn prior_preservation off"
                )
        records.sort(key=lambda record: record.image_index)
        write_image_records(folder, records)
    return records


def is_blank(image_HW3: Tensor) -> bool:
    """Return whether an image (H, W, 3) uint8 is one colour, or all but that."""
    return bool(image_HW3.to(torch.float32).std(dim=(0, 1)).max() < _BLANK_STD)
