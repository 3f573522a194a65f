"""Images of prompts, from latents that depend on (seed, clean prompt, image) alone.

A batch never mixes prompts: what is computed beside an image cannot change its last bits, so
that any sharding gives the same files. Shape legend as in `aelif.models.adapter`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from aelif.artifacts import ImageRecord, new_folder, read_json, write_image_records
from aelif.config import SynthesisConfig
from aelif.models.adapter import ModelAdapter, open_model
from aelif.models.condition import TextCondition
from aelif.models.sampling import sample
from aelif.progress import StepProgress
from aelif.randomness import torch_generator

_ENCODE_BATCH = 64


def generate_images(
    *,
    base: Path,
    model: Path | None,
    prompts: Sequence[Mapping[str, Any]],
    output: Path,
    config: SynthesisConfig,
    shard: int,
    num_shards: int,
    progress: StepProgress,
) -> list[ImageRecord]:
    """Generate `images_per_prompt` images of every prompt of one shard and write an image folder.

    Args:
        base: diffusers folder of the base model.
        model: folder that training wrote; None: the base model itself.
        prompts: rows with ``prompt_id``, ``clean_id`` and ``prompt`` (`aelif.artifacts.prompt_schema`).
        output: the image folder to write: PNG files and `metadata.jsonl`.
        config: steps, guidance, seed, images per prompt; at most `batch_size` images at once.
        shard: which part of the prompts, `prompt_id` modulo `num_shards`.
        num_shards: parts in all.
        progress: told the images.

    Raises:
        ValueError: if the shard does not exist or has no prompt.
    """
    if not 0 <= shard < num_shards:
        raise ValueError(f"shard = {shard}: give one from 0 to {num_shards - 1}")
    rows = sorted((row for row in prompts if row["prompt_id"] % num_shards == shard), key=lambda row: row["prompt_id"])
    if not rows:
        raise ValueError(
            f"shard = {shard} of {num_shards}: none of {len(prompts)} prompts falls on it; use fewer shards"
        )
    adapter = open_generator(base, model)
    image_size = int(read_json(model / "aelif.json")["image_size"]) if model else adapter.image_size
    conditions = encode_prompts(adapter, [row["prompt"] for row in rows])
    records: list[ImageRecord] = []
    with new_folder(output) as folder:
        for row in rows:
            condition = conditions[row["prompt"]]
            records += _generate_prompt(adapter, row, condition, folder, config=config, image_size=image_size)
            progress.advance(len(records), len(rows) * config.images_per_prompt, "images")
        write_image_records(folder, records)
    return records


def _generate_prompt(
    adapter: ModelAdapter,
    row: Mapping[str, Any],
    condition: TextCondition,
    folder: Path,
    *,
    config: SynthesisConfig,
    image_size: int,
) -> list[ImageRecord]:
    """Write the images of one prompt into `folder`, in batches of their own, and return their records.

    A perturbed prompt starts from the noise of its clean prompt: what differs is the error's doing.
    """
    records, prompt_id, origin = [], row["prompt_id"], row.get("clean_id", row["prompt_id"])
    for first in range(0, config.images_per_prompt, config.batch_size):
        indices = range(first, min(first + config.batch_size, config.images_per_prompt))
        generators = [torch_generator(config.seed, "synthesize/latents", origin, index) for index in indices]
        pixels = sample(adapter, condition, generators, config=config, image_size=image_size)
        for index, image in zip(indices, pixels, strict=True):
            name = f"{prompt_id:05d}-{index:04d}.png"
            Image.fromarray(image.numpy()).save(folder / name)
            records.append(ImageRecord(file_name=name, text=row["prompt"], prompt_id=prompt_id, image_index=index))
    return records


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
    """Return the one-row condition of every distinct prompt; the text encoders are freed afterwards."""
    conditions = {prompt: adapter.encode_text([prompt]) for prompt in dict.fromkeys(prompts)}
    adapter.null_condition(1)  # kept for guidance
    adapter.release("text")
    return conditions
