"""Score one trial: every metric for every prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aelif.artifacts import Embeddings
from aelif.config import Trial
from aelif.score import METRICS
from aelif.score.diversity import mean_cosine, mean_pairwise_distance
from aelif.score.wasserstein import sliced_wasserstein, wasserstein


def images_by_prompt(embeddings: Embeddings) -> dict[int, np.ndarray]:
    """Return prompt_id → (n, D) image embeddings, in the order of the images' numbers."""
    order = sorted(
        range(len(embeddings.records)),
        key=lambda row: (embeddings.records[row].prompt_id, embeddings.records[row].image_index),
    )
    rows: dict[int, list[int]] = {}
    for row in order:
        rows.setdefault(embeddings.records[row].prompt_id, []).append(row)
    return {prompt_id: embeddings.images[members] for prompt_id, members in rows.items()}


def score_trial(
    reference: Embeddings, generated: Embeddings, prompts: Sequence[Mapping[str, Any]], trial: Trial
) -> list[dict[str, Any]]:
    """Return the rows of `scores.parquet` of one trial: `METRICS` per prompt.

    Small samples bias a Wasserstein distance upwards; every prompt must have the same number of
    images, so that the bias is the same for all.

    Args:
        reference: embeddings of the training images.
        generated: embeddings of the trial's images, with the text embeddings of their prompts.
        prompts: rows of `prompts.parquet`.
        trial: variant and training seed.

    Raises:
        ValueError: if a prompt lacks images or its clean prompt's embedding, prompts differ in
            their number of images, or the two sets were embedded by different scorers.
    """
    groups = images_by_prompt(generated)
    _check(reference, generated, prompts, groups, trial)
    rows: list[dict[str, Any]] = []
    for prompt in prompts:
        images_ND = groups[prompt["prompt_id"]]
        values = _measure(images_ND, reference.images, generated.texts[prompt["clean_prompt"]])
        defined = [metric for metric in METRICS if not math.isnan(values[metric])]
        rows.extend(_row(prompt, trial, metric, values[metric], len(images_ND)) for metric in defined)
    return rows


def _measure(images_ND: np.ndarray, reference_MD: np.ndarray, clean_text_D: np.ndarray) -> dict[str, float]:
    """Return metric → value for one prompt's images; NaN where undefined."""
    return {
        "w1": wasserstein(images_ND, reference_MD, order=1),
        "w2": wasserstein(images_ND, reference_MD, order=2),
        "sliced_w2": sliced_wasserstein(images_ND, reference_MD),
        "clip_t": mean_cosine(images_ND, clean_text_D[None]),
        "clip_i": mean_cosine(images_ND, reference_MD),
        "diversity": mean_pairwise_distance(images_ND),
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


def _check(
    reference: Embeddings,
    generated: Embeddings,
    prompts: Sequence[Mapping[str, Any]],
    groups: Mapping[int, np.ndarray],
    trial: Trial,
) -> None:
    if reference.images.shape[1] != generated.images.shape[1]:
        raise ValueError(
            f"{trial}: embeddings are {generated.images.shape[1]} wide, the training images' "
            f"{reference.images.shape[1]}; embed both with one scorer"
        )
    for prompt in prompts:
        if prompt["prompt_id"] not in groups:
            raise ValueError(
                f"{trial}: prompt {prompt['prompt_id']} ({prompt['prompt']!r}) has no images; synthesize it"
            )
        if prompt["clean_prompt"] not in generated.texts:
            raise ValueError(f"{trial}: the clean prompt {prompt['clean_prompt']!r} was not embedded; embed it as well")
    sizes = {len(groups[prompt["prompt_id"]]) for prompt in prompts}
    if len(sizes) > 1:
        raise ValueError(f"{trial}: images per prompt = {sorted(sizes)}: every prompt needs the same number")
