"""Latents of every training sample, computed once and keyed by sample.

Shape legend: K views of a sample, C, H, W channels, height and width of latents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aelif.artifacts import ImageRecord, read_image_records
from aelif.config import DataConfig, TrainConfig
from aelif.models.adapter import ModelAdapter
from aelif.progress import StepProgress
from aelif.randomness import numpy_generator
from aelif.train.prompts import check_caption, report_cut

_ENCODE_BATCH, _ENCODE_PIXELS = 16, 1024 * 1024
"""Images, and pixels, encoded at once: more would not fit beside a denoiser."""
_SHIFT = 1 / 16
"""Largest shift of a view, as a share of the image's shorter side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """Cached samples of one kind: instance photos or class images."""

    files: tuple[str, ...]
    """File names, for messages."""
    prompts: tuple[str, ...]
    """Each sample's own."""
    moments: tuple[Tensor, ...]
    """Each sample's latents, (2, K, C, H, W): mean and standard deviation of every view; sizes may differ."""

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return (C, H, W) of a sample's latents."""
        return cast(tuple[int, int, int], tuple(self.moments[index].shape[2:]))


def cache_samples(
    adapter: ModelAdapter,
    folder: Path,
    prompts: Sequence[str],
    *,
    image_size: int,
    aspect_buckets: bool = False,
    views: int = 1,
    flip: bool = False,
    seed: int = 0,
) -> SampleSet:
    """Encode an image folder.

    Args:
        adapter: the base model; its autoencoder is used.
        folder: image folder with `metadata.jsonl`.
        prompts: one per record.
        image_size: width and height in pixels.
        aspect_buckets: whether sizes may differ, in multiples of what the model takes.
        views: seeded, shifted views per image; the first is the plain one.
        flip: whether views are mirrored at random.
        seed: of the views.

    Raises:
        ValueError: if an image is of another size; names the file.
    """
    records = read_image_records(folder)
    pixels = [_read_pixels(folder / record.file_name, image_size=image_size, aspect_buckets=aspect_buckets,
                           multiple=adapter.size_multiple) for record in records]  # fmt: skip
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, image in enumerate(pixels):
        by_size[tuple(image.shape)].append(index)
    moments: list[Tensor | None] = [None] * len(records)
    for members in by_size.values():
        stack = [view for index in members
                 for view in draw_views(pixels[index], views=views, flip=flip, seed=seed, index=index)]  # fmt: skip
        for index, encoded in zip(members, _encode(adapter, stack).unflatten(1, (-1, views)).unbind(1), strict=True):
            moments[index] = encoded
    return SampleSet(
        files=tuple(record.file_name for record in records),
        prompts=tuple(prompts),
        moments=tuple(cast(list[Tensor], moments)),
    )


def _encode(adapter: ModelAdapter, pixels: Sequence[Tensor]) -> Tensor:
    """Return mean and standard deviation (2, N, C, H, W) of N images of one size."""
    size = max(1, min(_ENCODE_BATCH, _ENCODE_PIXELS // pixels[0][0].numel()))
    parts = [torch.stack(adapter.encode_images(torch.stack(list(pixels[i : i + size]))))
             for i in range(0, len(pixels), size)]  # fmt: skip
    return torch.cat(parts, dim=1)


def cache_instance(
    adapter: ModelAdapter, photos: Path, *, data: DataConfig, config: TrainConfig, seed: int, progress: StepProgress
) -> SampleSet:
    """Cache the photos, each with its caption, or its subject's instance prompt where it has none.

    Raises:
        ValueError: if there are no photos, or a caption lacks the identifier, or loses it where text encoders cut it.
    """
    records = read_image_records(photos)
    if not records:
        raise ValueError(f"{photos}: no photos; give at least one (instance_images)")
    prompts = [_caption(record, data) for record in records]
    identifiers = [subject.identifier for subject in data.subjects]
    for record, prompt in zip(records, prompts, strict=True):
        check_caption(adapter, photos / record.file_name, prompt, identifiers, progress)
    return cache_samples(
        adapter, photos, prompts, image_size=data.image_size, aspect_buckets=data.aspect_buckets,
        views=config.crops, flip=config.flip, seed=seed,
    )  # fmt: skip


def _caption(record: ImageRecord, data: DataConfig) -> str:
    """Return the record's text, or its subject's instance prompt."""
    return record.text.strip() or data.subjects[record.subject].instance_prompt


def cache_class(adapter: ModelAdapter, folder: Path, *, data: DataConfig, progress: StepProgress) -> SampleSet:
    """Cache class images, plain, each with the class prompt that it was generated from.

    Raises:
        ValueError: if there are none, or one was generated from another prompt than the subjects' class prompts.
    """
    records = read_image_records(folder)
    if not records:
        raise ValueError(f"{folder}: no class images; generate them again, or turn prior_preservation off")
    known = data.class_prompts
    for record in records:
        if record.text not in known:
            raise ValueError(f"{folder / record.file_name}: it was made from {record.text!r}, not from class_prompt "
                             f"({', '.join(map(repr, known))}); generate the class images again")  # fmt: skip
    for prompt in known:
        report_cut(adapter.kept_text(prompt), prompt, "class_prompt", progress)
    return cache_samples(adapter, folder, [record.text for record in records], image_size=data.image_size)


def draw_views(pixels_3HW: Tensor, *, views: int, flip: bool, seed: int, index: int) -> list[Tensor]:
    """Return the image itself, then views shifted by up to a sixteenth of its side and mirrored at random.

    Edges are filled by reflection.
    """
    height, width = pixels_3HW.shape[-2:]
    reach = max(1, int(min(height, width) * _SHIFT))
    padded = torch.nn.functional.pad(pixels_3HW.unsqueeze(0), (reach,) * 4, mode="reflect")[0]
    result = [pixels_3HW]
    for view in range(1, views):
        generator = numpy_generator(seed, "train/view", index, view)
        top, left = generator.integers(2 * reach + 1, size=2)
        crop = padded[:, top : top + height, left : left + width]
        result.append(crop.flip(-1) if flip and generator.random() < 0.5 else crop)
    return result


def _read_pixels(path: Path, *, image_size: int, aspect_buckets: bool, multiple: int) -> Tensor:
    """Return (3, H, W) float32 pixels in [-1, 1].

    Raises:
        ValueError: if the image is not square of that size or, with buckets, its sides no multiples.
    """
    with Image.open(path) as image:
        width, height = image.size
        if aspect_buckets and (width % multiple or height % multiple):
            raise ValueError(f"{path}: {width}×{height} pixels; the base model needs multiples of {multiple}; "
                             "prepare the photos again")  # fmt: skip
        if not aspect_buckets and image.size != (image_size, image_size):
            raise ValueError(f"{path}: {width}×{height} pixels, not {image_size}×{image_size} "
                             "(image_size); prepare the photos again")  # fmt: skip
        array = np.array(image.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1).float().div_(127.5).sub_(1)
