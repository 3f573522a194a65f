"""Class images for prior preservation: what the base model paints for each class prompt.

They are painted into a folder named by everything that they depend on; a step that was interrupted
goes on from there, and a later one that asks for more paints only the rest. A batch appears whole or
not at all, as it is computed: the same image in a smaller batch may differ in its last bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from torch import Tensor

from aelif.artifacts import (
    ImageRecord,
    digest_of,
    digest_of_folder,
    link_file,
    new_folder,
    read_json,
    write_image_records,
    write_json,
)
from aelif.config import DataConfig, SynthesisConfig, TrainConfig
from aelif.models.adapter import ModelAdapter
from aelif.models.condition import TextCondition
from aelif.models.fit import check_fit
from aelif.models.sampling import sample
from aelif.progress import StepProgress
from aelif.randomness import torch_generator
from aelif.synthesize.sampler import encode_prompts, open_base

ATTEMPTS = 5
"""Draws of one image before giving up."""
_BLANK_STD = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClassSet:
    """The images of one class prompt, in the folder that keeps them."""

    prompt: str
    folder: Path
    count: int
    """Images wanted; the folder may hold more, from an earlier run."""

    def kept(self) -> dict[int, Path]:
        """Return the images that are there, by their index; those of an unfinished batch are not."""
        batches = (path for path in sorted(self.folder.iterdir()) if re.fullmatch(r"\d+-\d+", path.name))
        return {int(path.stem): path for batch in batches for path in sorted(batch.glob("*.png"))}

    def missing(self) -> list[int]:
        """Return the indices of the images yet to paint."""
        kept = self.kept()
        return [index for index in range(self.count) if index not in kept]


def generate_class_images(
    *,
    base: Path,
    data: DataConfig,
    train: TrainConfig,
    synthesis: SynthesisConfig,
    seed: int,
    output: Path,
    progress: StepProgress,
    checkpoint_dir: Path | None = None,
) -> list[ImageRecord]:
    """Generate `train.class_images` images of every distinct class prompt and write an image folder.

    Blank images, which a safety filter or a numerical failure leaves, are drawn again. Without prior
    preservation there is nothing to paint, and the folder has no image.

    Args:
        base: diffusers folder of the base model.
        data: subjects and image size.
        train: how many.
        synthesis: steps, guidance, batch size.
        seed: of the initial latents.
        output: the image folder to write; the records' texts are the class prompts.
        progress: told the images.
        checkpoint_dir: images are kept in its `class-images/<digest>/`; None: nowhere but in `output`.

    Raises:
        ValueError: if an image stays blank in every attempt, or the model cannot be trained with these settings.
    """
    prompts = data.class_prompts if train.prior_preservation else ()
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".class-images-") as scratch:
        root = (checkpoint_dir or Path(scratch)) / "class-images"
        keys = [_key(base, prompt, data=data, synthesis=synthesis, seed=seed) for prompt in prompts]
        sets = [_open_set(root, key, count=train.class_images) for key in keys]
        _paint_missing(sets, base=base, data=data, train=train, synthesis=synthesis, seed=seed, progress=progress)
        with new_folder(output) as folder:
            records = list(_collect(sets, folder, image_size=data.image_size))
            write_image_records(folder, records)
    return records


def _key(base: Path, prompt: str, *, data: DataConfig, synthesis: SynthesisConfig, seed: int) -> dict[str, object]:
    """Return everything that the images of a class prompt depend on.

    The batch size and the device are part of it: what is computed beside an image can change its last bits.
    """
    source = base / "source.json"
    return {
        "base": read_json(source)["digest"] if source.exists() else digest_of_folder(base),
        "prompt": prompt,
        "seed": seed,
        "steps": synthesis.steps,
        "guidance_scale": synthesis.guidance_scale,
        "batch_size": synthesis.batch_size,
        "image_size": data.image_size,
        "max_sequence_length": data.max_sequence_length,
        "device": _device(),
    }


def _open_set(root: Path, key: dict[str, object], *, count: int) -> _ClassSet:
    """Return the set of this key, in its folder, where `key.json` says what it is."""
    folder = root / digest_of(key)[:32]
    if not (folder / "key.json").exists():
        write_json(folder / "key.json", key)
    return _ClassSet(prompt=str(key["prompt"]), folder=folder, count=count)


def _collect(sets: Sequence[_ClassSet], folder: Path, *, image_size: int) -> Iterator[ImageRecord]:
    """Put the images of all sets into `folder` under names of their own and yield their records."""
    for number, images in enumerate(sets):
        kept = images.kept()
        for index in range(images.count):
            name = f"{number * images.count + index:05d}.png"
            link_file(kept[index], folder / name)
            yield ImageRecord(
                file_name=name, text=images.prompt, image_index=index, width=image_size, height=image_size
            )


# ── Painting ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class _Painter:
    """The base model, and how it paints."""

    adapter: ModelAdapter
    synthesis: SynthesisConfig
    image_size: int
    seed: int

    def paint_batch(self, images: _ClassSet, condition: TextCondition, indices: Sequence[int]) -> None:
        """Paint these images of a set, blank ones again, and keep them.

        Raises:
            ValueError: if one stays blank.
        """
        pending = list(indices)
        with new_folder(images.folder / f"{indices[0]:05d}-{indices[-1]:05d}") as batch:
            for attempt in range(ATTEMPTS):
                generators = [torch_generator(self.seed, "synthesize/class", index, attempt) for index in pending]
                pixels_BHW3 = sample(
                    self.adapter,
                    condition,
                    generators,
                    config=self.synthesis,
                    image_size=self.image_size,
                )
                painted = dict(zip(pending, pixels_BHW3, strict=True))
                pending = [index for index, pixels_HW3 in painted.items() if is_blank(pixels_HW3)]
                for index in painted.keys() - pending:
                    Image.fromarray(painted[index].numpy()).save(batch / f"{index:05d}.png")
                if not pending:
                    return
            raise ValueError(
                f"class_prompt = {images.prompt!r}: the base model paints blank images in {ATTEMPTS} attempts; "
                "check it, or turn prior_preservation off"
            )


def _paint_missing(
    sets: Sequence[_ClassSet],
    *,
    base: Path,
    data: DataConfig,
    train: TrainConfig,
    synthesis: SynthesisConfig,
    seed: int,
    progress: StepProgress,
) -> None:
    """Paint what the sets lack; the model is opened only if that is anything."""
    unfinished = [images for images in sets if images.missing()]
    total = sum(images.count for images in sets)
    done = total - sum(len(images.missing()) for images in unfinished)
    if not unfinished:
        return
    adapter = open_base(base, max_sequence_length=data.max_sequence_length)
    check_fit(adapter, data=data, config=train)  # training would refuse them later, after the painting
    adapter.prepare_sampling()
    conditions = encode_prompts(adapter, [images.prompt for images in unfinished])
    painter = _Painter(adapter=adapter, synthesis=synthesis, image_size=data.image_size, seed=seed)
    for images in unfinished:
        for indices in _batches(images, synthesis.batch_size):
            painter.paint_batch(images, conditions[images.prompt], indices)
            done += len(indices)
            progress.advance(done, total, "images")


def _batches(images: _ClassSet, batch_size: int) -> Iterator[list[int]]:
    """Yield the missing indices of each batch of the whole set: a resumed step batches as an unbroken one."""
    missing = images.missing()
    for first in range(0, images.count, batch_size):
        if batch := [index for index in missing if first <= index < first + batch_size]:
            yield batch


def is_blank(image_HW3: Tensor) -> bool:
    """Return whether an image (H, W, 3) uint8 is one colour, or all but that."""
    return bool(image_HW3.to(torch.float32).std(dim=(0, 1)).max() < _BLANK_STD)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
