"""Scores as arrays: variant × seed × prompt, complete or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aelif.score import METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreGrid:
    """All scores of a run. Legend: V variants, S seeds, P prompts."""

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    prompts: tuple[Mapping[str, Any], ...]
    """Per column, a row of the table: prompt_id, clean_id, prompt, prompt_set, family, severity."""
    groups: Mapping[str, list[int]]
    """Columns of "clean", of "perturbed", and of each family."""
    clusters: tuple[int, ...]
    """Per column, the number of its clean prompt, from 0."""
    values: Mapping[str, np.ndarray]
    """Metric → (V, S, P) float64; NaN where undefined."""
    num_images: int
    """Images per prompt."""


def read_grid(rows: Sequence[Mapping[str, Any]]) -> ScoreGrid:
    """Return the rows of `scores.parquet` as arrays; variants in order of appearance, seeds and prompts sorted.

    Raises:
        ValueError: if a distance is missing or not finite, one prompt set is empty, or the
            number of images per prompt is not the same everywhere.
    """
    variants = tuple(dict.fromkeys(row["variant"] for row in rows))
    seeds = tuple(sorted({row["seed"] for row in rows}))
    by_id = {row["prompt_id"]: row for row in rows}
    prompts = tuple(by_id[prompt_id] for prompt_id in sorted(by_id))
    clean_ids = sorted({prompt["clean_id"] for prompt in prompts})
    column = {row["prompt_id"]: index for index, row in enumerate(prompts)}
    values = {metric: np.full((len(variants), len(seeds), len(prompts)), np.nan) for metric in METRICS}
    for row in rows:
        place = variants.index(row["variant"]), seeds.index(row["seed"]), column[row["prompt_id"]]
        values[row["metric"]][place] = row["value"]
    for v, s, p in np.argwhere(~np.isfinite(values["w1"])):
        raise ValueError(
            f"scores: {variants[v]} with seed {seeds[s]} lacks the distance of prompt "
            f"{prompts[p]['prompt_id']} ({prompts[p]['prompt']!r}); score every trial on every prompt"
        )
    return ScoreGrid(
        variants=variants,
        seeds=seeds,
        prompts=prompts,
        groups=_groups(prompts),
        clusters=tuple(clean_ids.index(prompt["clean_id"]) for prompt in prompts),
        values=values,
        num_images=_only_number_of_images(rows),
    )


def _groups(prompts: Sequence[Mapping[str, Any]]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {"clean": [], "perturbed": []}
    for index, prompt in enumerate(prompts):
        groups[prompt["prompt_set"]].append(index)
        if prompt["prompt_set"] == "perturbed":
            groups.setdefault(prompt["family"], []).append(index)
    for name in ("clean", "perturbed"):
        if not groups[name]:
            raise ValueError(f"scores: there are no {name} prompts; score both sets")
    return groups


def _only_number_of_images(rows: Sequence[Mapping[str, Any]]) -> int:
    numbers = sorted({row["num_images"] for row in rows})
    if len(numbers) != 1:
        raise ValueError(f"scores: images per prompt = {numbers}: distances are comparable with one number only")
    return numbers[0]
