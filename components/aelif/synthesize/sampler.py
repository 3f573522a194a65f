"""Images of prompts, from latents that depend on (seed, clean prompt, image) alone.

All images of a run form one sequence, cut into batches that mix prompts. What is computed beside an
image can change its last bits, so shards take whole batches: any sharding gives the same files.
Shape legend as in `aelif.models.adapter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from aelif.artifacts import ImageRecord, new_folder, read_json, write_image_records
from aelif.augment.stress import stress_condition
from aelif.config import StressConfig, SynthesisConfig
from aelif.models.adapter import ModelAdapter, open_model
from aelif.models.condition import TextCondition, concatenate
from aelif.models.sampling import sample
from aelif.progress import StepProgress
from aelif.randomness import torch_generator
from aelif.synthesize.batches import PlannedImage, batches_of_shard

_WRITERS = 2
"""Threads that compress images while the next batch is computed."""
_COMPRESS_LEVEL = 1
"""Of PNG: a third of the usual level's time for a quarter more bytes."""


def generate_images(
    *,
    base: Path,
    model: Path | None,
    prompts: Sequence[Mapping[str, Any]],
    output: Path,
    config: SynthesisConfig,
    stress: StressConfig,
    shard: int,
    num_shards: int,
    progress: StepProgress,
) -> list[ImageRecord]:
    """Generate one shard's share of `images_per_prompt` images of every prompt and write an image folder.

    Args:
        base: diffusers folder of the base model.
        model: folder that training wrote; None: the base model itself.
        prompts: rows of `aelif.artifacts.read_prompts`; those of the set ``stress`` are augmented behind
            the text encoders.
        output: the image folder to write: PNG files and `metadata.jsonl`.
        config: steps, guidance, seed, images per prompt; at most `batch_size` images at once.
        stress: settings of the stress rows' augmentations.
        shard: which part of the batches, their number modulo `num_shards`.
        num_shards: parts in all.
        progress: told the images.

    Raises:
        ValueError: if there are no prompts, the shard does not exist, or stress is to mask attention and the
            denoiser reads no mask.
    """
    batches = batches_of_shard(prompts, config, shard=shard, num_shards=num_shards)
    if not batches:
        with new_folder(output) as folder:
            write_image_records(folder, [])
        return []
    adapter = open_generator(base, model)
    _check_stress(adapter, prompts, stress)
    image_size = int(read_json(model / "aelif.json")["image_size"]) if model else adapter.image_size
    with new_folder(output) as folder:
        return write_images(adapter, batches, folder, config=config, stress=stress, image_size=image_size,
                            progress=progress)  # fmt: skip


def write_images(
    adapter: ModelAdapter,
    batches: Sequence[Sequence[PlannedImage]],
    folder: Path,
    *,
    config: SynthesisConfig,
    stress: StressConfig,
    image_size: int,
    progress: StepProgress,
) -> list[ImageRecord]:
    """Generate the planned images with an opened model, batch by batch, and write them and `metadata.jsonl`.

    Files are written while the next batch is computed.
    """
    conditions = encode_prompts(adapter, [image.row["prompt"] for batch in batches for image in batch])
    records: list[ImageRecord] = []
    total = sum(map(len, batches))
    with ThreadPoolExecutor(_WRITERS) as writers:
        writing: list[Future[None]] = []
        for batch in batches:
            pixels_BHW3 = _paint(adapter, batch, conditions, config=config, stress=stress, image_size=image_size)
            _wait(writing)  # at most one batch waits in memory
            paths = [folder / image.file_name for image in batch]
            writing = [writers.submit(_save, *pair) for pair in zip(paths, pixels_BHW3, strict=True)]
            records += [image.record() for image in batch]
            progress.advance(len(records), total, "images")
        _wait(writing)
    write_image_records(folder, records)
    return records


def _paint(
    adapter: ModelAdapter,
    batch: Sequence[PlannedImage],
    conditions: Mapping[str, TextCondition],
    *,
    config: SynthesisConfig,
    stress: StressConfig,
    image_size: int,
) -> Tensor:
    """Return the images of one batch, (B, H, W, 3) uint8.

    A perturbed prompt starts from the noise of its clean prompt: what differs is the error's doing.
    """
    parts = []
    for _, group in groupby(batch, key=lambda image: image.row["prompt_id"]):
        images = list(group)
        row, indices = images[0].row, [image.index for image in images]
        condition = conditions[row["prompt"]]
        if row["prompt_set"] == "stress":
            part = stress_condition(condition, row=row, image_indices=indices, config=stress, seed=config.seed)
        else:
            part = condition.repeat(len(images))
        parts.append(part)
    generators = [torch_generator(config.seed, "synthesize/latents", image.row["clean_id"], image.index)
                  for image in batch]  # fmt: skip
    return sample(adapter, concatenate(parts), generators, config=config, image_size=image_size)


def _save(path: Path, pixels_HW3: Tensor) -> None:
    Image.fromarray(pixels_HW3.numpy()).save(path, compress_level=_COMPRESS_LEVEL)


def _wait(writing: Sequence[Future[None]]) -> None:
    """Wait until all files are written; raises what went wrong."""
    for file in writing:
        file.result()


def _check_stress(adapter: ModelAdapter, prompts: Sequence[Mapping[str, Any]], stress: StressConfig) -> None:
    """Refuse what the denoiser would not heed."""
    stressed = any(row["prompt_set"] == "stress" for row in prompts)
    if stressed and stress.settings.mask_attention and not adapter.masks_attention:
        raise ValueError(f"stress.settings.mask_attention = True: the denoiser of {adapter.family} reads no "
                         "attention mask; turn it off")  # fmt: skip


def open_generator(base: Path, model: Path | None) -> ModelAdapter:
    """Return the base model with the trained weights in it, on the accelerator where there is one.

    T5 reads as many tokens as it did in training.
    """
    card = read_json(model / "aelif.json") if model else {}
    adapter = open_base(base, max_sequence_length=int(card.get("max_sequence_length", 256)))
    if model is not None:
        adapter.load_trained(model)
    adapter.prepare_sampling()
    return adapter


def open_base(base: Path, *, max_sequence_length: int) -> ModelAdapter:
    """Return the base model for sampling: in half precision on the accelerator, where there is one."""
    cuda = torch.cuda.is_available()
    return open_model(
        base, device="cuda" if cuda else "cpu", dtype=torch.float16 if cuda else torch.float32,
        max_sequence_length=max_sequence_length,
    )  # fmt: skip


def encode_prompts(adapter: ModelAdapter, prompts: Sequence[str]) -> dict[str, TextCondition]:
    """Return the one-row condition of every distinct prompt; the text encoders are freed afterwards.

    Prompts are encoded one by one: beside others their last bits might differ.
    """
    conditions = {prompt: adapter.encode_text([prompt]) for prompt in dict.fromkeys(prompts)}
    adapter.null_condition(1)  # kept for guidance
    adapter.release("text")
    return conditions
