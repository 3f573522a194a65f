"""Score one trial: every metric for every prompt.

Legend: P prompts, N images of each, M training photos, D and E widths of CLIP's and the DINO model's embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aelif.artifacts import Embeddings, ImageRecord
from aelif.config import Trial
from aelif.score import METRICS
from aelif.score.copies import near_copy_cosine, near_copy_share
from aelif.score.diversity import mean_cosine, mean_pairwise_distance, vendi_score
from aelif.score.sliced import sliced_wasserstein_many
from aelif.score.wasserstein import wasserstein_many

OWN_WORDS = ("out_of_distribution", "class")
"""Prompt sets without a clean prompt beside them: their own prompt is the clean one."""


def images_by_prompt(embeddings: Embeddings) -> dict[int, np.ndarray]:
    """Return prompt_id → (N, D) image embeddings, in the order of the images' numbers."""
    return {prompt_id: embeddings.images[rows] for prompt_id, rows in rows_by_prompt(embeddings.records).items()}


def rows_by_prompt(records: Sequence[ImageRecord]) -> dict[int, list[int]]:
    """Return prompt_id → rows of its images, in the order of the images' numbers; prompts in order of their ids."""
    order = sorted(range(len(records)), key=lambda row: (records[row].prompt_id, records[row].image_index))
    rows: dict[int, list[int]] = {}
    for row in order:
        rows.setdefault(records[row].prompt_id, []).append(row)
    return rows


def score_trial(
    reference: Embeddings, generated: Embeddings, prompts: Sequence[Mapping[str, Any]], trial: Trial
) -> list[dict[str, Any]]:
    """Return the rows of `scores.parquet` of one trial: `METRICS` per prompt.

    Small samples bias a Wasserstein distance upwards; every prompt must have the same number of
    images, so that the bias is the same for all.

    Args:
        reference: embeddings of the training images.
        generated: embeddings of the trial's images, with the text embeddings of their prompts.
        prompts: rows of `prompts.parquet` that images were made of (`read_prompts`).
        trial: variant and training seed.

    Raises:
        ValueError: if there are no prompts or photos, a prompt lacks images or the embedding it is compared
            with, prompts differ in their number of images or have fewer than two, or the two sets were
            embedded by different models.
    """
    rows_of = rows_by_prompt(generated.records)
    _check_models(reference, generated, trial)
    _check_prompts(generated, prompts, rows_of, trial)
    rows_PN = np.array([rows_of[prompt["prompt_id"]] for prompt in prompts])
    texts_PD = np.stack([generated.texts[compared_words(prompt)] for prompt in prompts])
    values = _measure(generated, rows_PN, reference, texts_PD)
    return [
        _row(prompt, trial, metric, float(values[metric][index]), rows_PN.shape[1])
        for index, prompt in enumerate(prompts)
        for metric in METRICS
        if not math.isnan(values[metric][index])
    ]


def compared_words(prompt: Mapping[str, Any]) -> str:
    """Return the words that a prompt's images should match (CLIP-T), whatever errors the prompt has."""
    return str(prompt["prompt"] if prompt["prompt_set"] in OWN_WORDS else prompt["clean_prompt"])


def _measure(
    generated: Embeddings, rows_PN: np.ndarray, reference: Embeddings, texts_PD: np.ndarray
) -> dict[str, np.ndarray]:
    """Return metric → (P,) values; NaN where undefined."""
    images_PND, photos_MD = generated.images[rows_PN], reference.images
    threshold = near_copy_cosine(photos_MD)
    if generated.dino is None or reference.dino is None:
        dino_P = np.full(len(rows_PN), np.nan)
    else:
        dino_P = np.array([mean_cosine(images_NE, reference.dino) for images_NE in generated.dino[rows_PN]])
    return {
        "w1": wasserstein_many(images_PND, photos_MD, order=1),
        "w2": wasserstein_many(images_PND, photos_MD, order=2),
        "sliced_w2": sliced_wasserstein_many(images_PND, photos_MD),
        "clip_t": np.array([mean_cosine(x_ND, t_D[None]) for x_ND, t_D in zip(images_PND, texts_PD, strict=True)]),
        "clip_i": np.array([mean_cosine(x_ND, photos_MD) for x_ND in images_PND]),
        "diversity": np.array([mean_pairwise_distance(x_ND) for x_ND in images_PND]),
        "vendi": np.array([vendi_score(x_ND) for x_ND in images_PND]),
        "near_copies": np.array([near_copy_share(x_ND, photos_MD, threshold=threshold) for x_ND in images_PND]),
        "dino": dino_P,
    }


def _row(prompt: Mapping[str, Any], trial: Trial, metric: str, value: float, num_images: int) -> dict[str, Any]:
    return {
        "variant": str(trial.variant),
        "seed": trial.seed,
        **{name: prompt[name] for name in ("prompt_id", "clean_id", "prompt_set", "family", "severity", "prompt")},
        "metric": metric,
        "value": value,
        "num_images": num_images,
    }


def _check_models(reference: Embeddings, generated: Embeddings, trial: Trial) -> None:
    if not len(reference.images):
        raise ValueError(f"{trial}: there are no training images to compare with; give data.instance_images")
    for kind, photos, images in (
        ("scorer", reference.scorer, generated.scorer),
        ("dino", reference.dino_scorer, generated.dino_scorer),
    ):
        if photos != images:
            raise ValueError(
                f"{trial}: embedded by different models: {kind} {images[:12] or 'none'} for the images, "
                f"{photos[:12] or 'none'} for the photos; embed both with one scorer"
            )
    if reference.images.shape[1] != generated.images.shape[1]:
        raise ValueError(
            f"{trial}: embeddings are {generated.images.shape[1]} wide, the training images' "
            f"{reference.images.shape[1]}; embed both with one scorer"
        )


def _check_prompts(
    generated: Embeddings, prompts: Sequence[Mapping[str, Any]], rows_of: Mapping[int, Sequence[int]], trial: Trial
) -> None:
    if not prompts:
        raise ValueError(f"{trial}: there are no prompts to score; give prompts.templates")
    for prompt in prompts:
        words = compared_words(prompt)
        if prompt["prompt_id"] not in rows_of:
            raise ValueError(
                f"{trial}: prompt {prompt['prompt_id']} ({prompt['prompt']!r}) has no images; synthesize it"
            )
        if words not in generated.texts:
            raise ValueError(f"{trial}: the clean prompt {words!r} was not embedded; embed it as well")
    sizes = sorted({len(rows_of[prompt["prompt_id"]]) for prompt in prompts})
    if len(sizes) > 1:
        raise ValueError(f"{trial}: images per prompt = {sizes}: every prompt needs the same number")
    if sizes[0] < 2:
        raise ValueError(
            f"{trial}: images_per_prompt = {sizes[0]}: diversity and the spread of distances need at least 2; "
            "set synthesis.images_per_prompt"
        )
