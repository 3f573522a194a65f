"""Rows and embeddings for the tests of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aelif.artifacts import Embeddings, ImageRecord
from aelif.randomness import numpy_generator
from aelif.score import METRICS


def prompt_row(
    prompt_id: int, clean_id: int, prompt: str, prompt_set: str, family: str, **details: Any
) -> dict[str, Any]:
    """A row of `prompts.parquet`."""
    severity = 0.0 if prompt_set in ("clean", "class") else 0.1
    return {
        "prompt_id": prompt_id, "clean_id": clean_id, "prompt": prompt, "clean_prompt": prompt,
        "prompt_set": prompt_set, "family": family, "severity": severity, "draw": 0, "character_error_rate": 0.0,
        "tokens_changed": None, "embedding_cosine": None, "embedding_shift": None, "reason": "", "edits": [], **details,
    }  # fmt: skip


PROMPTS: list[dict[str, Any]] = [
    prompt_row(0, 0, "a photo of sks dog", "clean", "clean"),
    prompt_row(1, 1, "a picture of sks dog", "clean", "clean"),
    prompt_row(2, 0, "a poto of sks dog", "perturbed", "paper"),
    prompt_row(3, 0, "a photo sks dog", "perturbed", "word_drop"),
    prompt_row(4, 1, "a pictur of sks dog", "perturbed", "paper"),
]

STRESSED: list[dict[str, Any]] = [
    *(
        row | details
        for row, details in zip(
            PROMPTS,
            (
                {"embedding_shift": 0.0},
                {"embedding_shift": 0.0},
                {"character_error_rate": 0.05, "tokens_changed": 1, "embedding_cosine": 0.9, "embedding_shift": 0.1},
                {"character_error_rate": 0.2, "embedding_cosine": 0.5, "embedding_shift": 0.3, "severity": 0.2},
                {"character_error_rate": 0.15, "tokens_changed": 3, "embedding_cosine": 0.7, "embedding_shift": 0.6},
            ),
            strict=True,
        )
    ),
    prompt_row(5, 0, "a sks dog in the jungle", "out_of_distribution", "context", character_error_rate=0.5),
    prompt_row(6, 0, "a sks dog in the snow", "out_of_distribution", "context", character_error_rate=0.5),
    prompt_row(7, 7, "a photo of a dog", "class", "class"),
    *(
        prompt_row(8 + 2 * point + clean, clean, PROMPTS[clean]["prompt"], "stress", family, severity=severity,
                   embedding_shift=shift)
        for point, (family, severity, shift) in enumerate(
            [("aelif_mask", 0.5, 0.7), ("aelif_noise_conv", 0.1, 0.2), ("aelif_noise_conv", 0.3, 0.4)]
        )
        for clean in (0, 1)
    ),
    prompt_row(14, 0, "a photo of sks dog", "skipped", "tense", reason="it has no verb"),
    prompt_row(15, 1, "a picture of sks dog", "skipped", "paper", reason="it has nothing new"),
]  # fmt: skip
"""Prompts of every set, with realised severities."""

SCORED = [row for row in STRESSED if row["prompt_set"] != "skipped"]


def score_rows(
    value: Callable[[str, int, dict[str, Any]], float],
    *,
    variants: Sequence[str] = ("baseline", "aelif_mask:0.3"),
    seeds: Sequence[int] = (0, 1),
    prompts: Sequence[dict[str, Any]] = PROMPTS,
) -> list[dict[str, Any]]:
    """Rows whose distances are value(variant, seed, prompt); other metrics are constants, and dino is undefined."""
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
        for metric in METRICS
        if metric != "dino"
    ]


def made_up(variant: str, seed: int, prompt: dict[str, Any]) -> float:
    """A distance that depends on everything."""
    key = [len(variant), seed, prompt["prompt_id"]]
    hurt = {"clean": 0.0, "class": 0.1}.get(prompt["prompt_set"], 0.3)
    return float(0.5 + hurt + 0.05 * numpy_generator(3, "test/distance", *key).standard_normal())


def worst_rows(seeds: Sequence[int] = (0, 1), clean_ids: Sequence[int] = (0, 1)) -> list[dict[str, Any]]:
    """Rows of `worst.parquet` for two variants."""
    edit = {"kind": "delete", "start": 3, "before": "h", "after": ""}
    return [
        {
            "variant": variant, "seed": seed, "clean_id": clean_id, "clean_prompt": PROMPTS[clean_id]["prompt"],
            "prompt": "a poto of ks dog", "edits": [edit] * (1 + clean_id), "character_error_rate": 0.1,
            "found_distance": 9.0, "distance": 1 + 0.1 * seed + 0.2 * clean_id, "clean_distance": 0.4 + 0.1 * clean_id,
            "tried": 20 + seed, "best_so_far": [0.5, 9.0],
        }
        for variant in ("baseline", "aelif_mask:0.3")
        for seed in seeds
        for clean_id in clean_ids
    ]  # fmt: skip


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
