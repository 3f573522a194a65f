"""Rows and embeddings for the tests of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aelif.artifacts import Embeddings, ImageRecord
from aelif.randomness import numpy_generator

PROMPTS: list[dict[str, Any]] = [
    {"prompt_id": 0, "clean_id": 0, "prompt": "a photo of sks dog", "family": "clean"},
    {"prompt_id": 1, "clean_id": 1, "prompt": "a picture of sks dog", "family": "clean"},
    {"prompt_id": 2, "clean_id": 0, "prompt": "a poto of sks dog", "family": "paper"},
    {"prompt_id": 3, "clean_id": 0, "prompt": "a photo sks dog", "family": "word_drop"},
    {"prompt_id": 4, "clean_id": 1, "prompt": "a pictur of sks dog", "family": "paper"},
]
for _row in PROMPTS:
    _row["prompt_set"] = "clean" if _row["family"] == "clean" else "perturbed"
    _row["severity"] = 0.0 if _row["family"] == "clean" else 0.1
    _row["clean_prompt"] = PROMPTS[_row["clean_id"]]["prompt"]


def score_rows(
    value: Callable[[str, int, dict[str, Any]], float],
    *,
    variants: Sequence[str] = ("baseline", "aelif_mask:0.3"),
    seeds: Sequence[int] = (0, 1),
    prompts: Sequence[dict[str, Any]] = PROMPTS,
) -> list[dict[str, Any]]:
    """Rows whose distances are value(variant, seed, prompt); other metrics are constants."""
    columns = ("prompt_id", "clean_id", "prompt_set", "family", "severity", "prompt")
    return [
        {
            "variant": variant,
            "seed": seed,
            **{column: prompt[column] for column in columns},
            "metric": metric,
            "value": value(variant, seed, prompt) if metric == "w1" else 0.25,
            "num_images": 4,
        }
        for seed in seeds
        for variant in variants
        for prompt in prompts
        for metric in ("w1", "w2", "clip_t", "clip_i", "diversity")
    ]


def unit_vectors(count: int, *key: int, width: int = 6) -> np.ndarray:
    """(count, width) random float32 rows of unit length."""
    rows = numpy_generator(7, "test/unit", *key).standard_normal((count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def trial_embeddings(seed: int, *, images: int = 4, prompts: Sequence[dict[str, Any]] = PROMPTS) -> Embeddings:
    """Embeddings of one trial, with its images in mixed order."""
    records = [
        ImageRecord(file_name=f"{p['prompt_id']}-{i}.png", text=p["prompt"], prompt_id=p["prompt_id"], image_index=i)
        for i in range(images)
        for p in prompts
    ]
    texts = {p["prompt"]: unit_vectors(1, 99, p["prompt_id"])[0] for p in prompts}
    return Embeddings(images=unit_vectors(len(records), 1, seed), records=records, texts=texts)


def photo_embeddings(count: int = 3) -> Embeddings:
    records = [ImageRecord(file_name=f"{i}.png", text="a photo of sks dog") for i in range(count)]
    return Embeddings(images=unit_vectors(count, 2), records=records, texts={})
