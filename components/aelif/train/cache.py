"""Latents and text conditions of every training sample, computed once and keyed by sample.

Shape legend: N samples, K views, C, H, W channels, height and width, U distinct prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aelif.artifacts import ImageRecord, read_image_records
from aelif.config import DataConfig, TrainConfig
from aelif.models.adapter import ModelAdapter, TextCondition
from aelif.progress import StepProgress
from aelif.randomness import numpy_generator

_ENCODE_BATCH = 16
_SHIFT = 1 / 16
"""Largest shift of a view, as a share of the image's side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """Cached samples of one kind: instance photos or class images."""

    files: tuple[str, ...]
    """N file names, for messages."""
    mean: Tensor
    """(N, K, C, H, W)."""
    std: Tensor
    """(N, K, C, H, W)."""
    condition: TextCondition
    """One row per distinct prompt."""
    prompt_rows: tuple[int, ...]
    """Row of each sample's prompt in `condition`."""


def cache_samples(
    adapter: ModelAdapter, folder: Path, prompts: Sequence[str], *, image_size: int, views: int, seed: int
) -> SampleSet:
    """Encode an image folder.

    Args:
        adapter: the base model; its autoencoder and text encoders are used.
        folder: image folder with `metadata.jsonl`.
        prompts: one per record.
        image_size: expected width and height in pixels.
        views: seeded, shifted and mirrored views per image; the first is the plain one.
        seed: of the views.

    Raises:
        ValueError: if an image is not of that size.
    """
    records = read_image_records(folder)
    pixels = [
        view
        for index, record in enumerate(records)
        for view in draw_views(_read_pixels(folder, record, image_size), views=views, seed=seed, index=index)
    ]
    moments = [adapter.encode_images(torch.stack(pixels[i : i + _ENCODE_BATCH]))
               for i in range(0, len(pixels), _ENCODE_BATCH)]  # fmt: skip
    mean, std = (torch.cat(part).unflatten(0, (len(records), views)) for part in zip(*moments, strict=True))
    distinct = sorted(set(prompts))
    return SampleSet(
        files=tuple(record.file_name for record in records),
        mean=mean,
        std=std,
        condition=adapter.encode_text(distinct),
        prompt_rows=tuple(distinct.index(prompt) for prompt in prompts),
    )


def cache_instance(
    adapter: ModelAdapter, photos: Path, *, data: DataConfig, config: TrainConfig, seed: int, progress: StepProgress
) -> SampleSet:
    """Cache the subject's photos, each with its caption, or the instance prompt where it has none.

    Raises:
        ValueError: if a caption lacks the identifier, or loses it where text encoders cut it.
    """
    records = read_image_records(photos)
    prompts = [record.text.strip() or data.instance_prompt for record in records]
    for record, prompt in zip(records, prompts, strict=True):
        _check_prompt(adapter, photos / record.file_name, prompt, data.identifier, progress)
    return cache_samples(adapter, photos, prompts, image_size=data.image_size, views=config.crops, seed=seed)


def cache_class(adapter: ModelAdapter, folder: Path, *, data: DataConfig) -> SampleSet:
    """Cache class images, plain, all with the class prompt."""
    prompts = [data.class_prompt] * len(read_image_records(folder))
    return cache_samples(adapter, folder, prompts, image_size=data.image_size, views=1, seed=0)


def draw_views(pixels_3HW: Tensor, *, views: int, seed: int, index: int) -> list[Tensor]:
    """Return the image itself, then views shifted by up to a sixteenth of its side and mirrored at random.

    Edges are filled by reflection.
    """
    size = pixels_3HW.shape[-1]
    reach = max(1, int(size * _SHIFT))
    padded = torch.nn.functional.pad(pixels_3HW.unsqueeze(0), (reach,) * 4, mode="reflect")[0]
    result = [pixels_3HW]
    for view in range(1, views):
        generator = numpy_generator(seed, "train/view", index, view)
        top, left = generator.integers(2 * reach + 1, size=2)
        crop = padded[:, top : top + size, left : left + size]
        result.append(crop.flip(-1) if generator.random() < 0.5 else crop)
    return result


def _read_pixels(folder: Path, record: ImageRecord, image_size: int) -> Tensor:
    """Return (3, H, W) float32 pixels in [-1, 1]."""
    path = folder / record.file_name
    with Image.open(path) as image:
        if image.size != (image_size, image_size):
            raise ValueError(f"{path}: {image.size[0]}×{image.size[1]} pixels, not {image_size}×{image_size} "
                             "(image_size); prepare the photos again")  # fmt: skip
        array = np.array(image.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1).float().div_(127.5).sub_(1)


def _check_prompt(adapter: ModelAdapter, path: Path, prompt: str, identifier: str, progress: StepProgress) -> None:
    """Refuse captions without the identifier; say where text encoders cut one."""
    if identifier.lower() not in prompt.lower():
        raise ValueError(f"{path}: its caption {prompt!r} lacks the identifier {identifier!r}; add it")
    kept = adapter.kept_text(prompt)
    squeezed = ["".join(text.lower().split()) for text in (identifier, kept, prompt)]
    if squeezed[0] not in squeezed[1]:
        raise ValueError(f"{path}: the identifier {identifier!r} stands behind the text encoders' limit; "
                         f"move it forward in {prompt!r}")  # fmt: skip
    if len(squeezed[1]) < len(squeezed[2]):
        progress.emit("warning", message=f"{path.name}: the caption was cut to {kept!r}")
