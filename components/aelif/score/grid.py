"""Scores as arrays: variant × seed × prompt, complete or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from aelif.artifacts import OF_CLASS
from aelif.config import HELD_OUT, TUNING
from aelif.score import METRICS

Columns = tuple[int, ...]
"""Columns of a group of prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreGrid:
    """All scores of a run. Legend: V variants, S seeds, P prompts."""

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    prompts: tuple[Mapping[str, Any], ...]
    """Per column, a row of the scores (prompt_id, clean_id, prompt, prompt_set, family, severity) with what the
    prompt table knows of it (realised severities), if that was given."""
    sets: Mapping[str, Columns]
    """Columns of "clean" and "perturbed", and, where there are any, of "tuning", "held_out" (families of errors),
    "out_of_distribution", "class" and "class_perturbed"."""
    families: Mapping[str, Columns]
    """Columns of each family of errors, and out of distribution."""
    severities: Mapping[float, Columns]
    """Columns of all errors of a nominal severity, in ascending order."""
    stress: Mapping[str, Mapping[float, Columns]]
    """Augmentation → magnitude → columns, in ascending order."""
    units: tuple[int, ...]
    """Per column, what it is drawn with: its clean prompt, numbered from 0, or from `num_clean` on itself alone."""
    num_clean: int
    """Number of clean prompts."""
    values: Mapping[str, np.ndarray]
    """Metric → (V, S, P) float64; NaN where undefined."""
    num_images: int
    """Images per prompt."""

    def mean_of(self, name: str, columns: Sequence[int]) -> float | None:
        """Return the mean of a column of the prompt table over some prompts; None where no prompt has one."""
        known = [value for column in columns if (value := self.prompts[column].get(name)) is not None]
        return fmean(known) if known else None


def read_grid(rows: Sequence[Mapping[str, Any]], table: Sequence[Mapping[str, Any]] = ()) -> ScoreGrid:
    """Return the rows of `scores.parquet` as arrays; variants in order of appearance, seeds and prompts sorted.

    Args:
        rows: scores of all trials.
        table: rows of `prompts.parquet`, whose realised severities are wanted.

    Raises:
        ValueError: if a distance is missing or not finite, there are no clean or no perturbed prompts, a clean
            prompt is missing, or the number of images per prompt is not the same everywhere.
    """
    variants = tuple(dict.fromkeys(row["variant"] for row in rows))
    seeds = tuple(sorted({row["seed"] for row in rows}))
    details = {row["prompt_id"]: row for row in table}
    by_id = {row["prompt_id"]: {**details.get(row["prompt_id"], {}), **row} for row in rows}
    prompts = tuple(by_id[prompt_id] for prompt_id in sorted(by_id))
    sets = _sets(prompts)
    units, num_clean = _units(prompts)
    places = [{name: index for index, name in enumerate(names)} for names in (variants, seeds, sorted(by_id))]
    values = {metric: np.full((len(variants), len(seeds), len(prompts)), np.nan) for metric in METRICS}
    for row in rows:
        key = (row["variant"], row["seed"], row["prompt_id"])
        values[row["metric"]][tuple(place[name] for place, name in zip(places, key, strict=True))] = row["value"]
    for v, s, p in np.argwhere(~np.isfinite(values["w1"])):
        raise ValueError(
            f"scores: {variants[v]} with seed {seeds[s]} lacks the distance of prompt "
            f"{prompts[p]['prompt_id']} ({prompts[p]['prompt']!r}); score every trial on every prompt"
        )
    errors = [column for column in range(len(prompts)) if prompts[column]["prompt_set"] == "perturbed"]
    shown = [*errors, *sets.get("out_of_distribution", ())]
    stressed = [column for column in range(len(prompts)) if prompts[column]["prompt_set"] == "stress"]
    by_augmentation = _grouped(stressed, lambda column: prompts[column]["family"])
    return ScoreGrid(
        variants=variants,
        seeds=seeds,
        prompts=prompts,
        sets=sets,
        families=_grouped(shown, lambda column: prompts[column]["family"]),
        severities=_ascending(errors, prompts),
        stress={name: _ascending(columns, prompts) for name, columns in by_augmentation.items()},
        units=units,
        num_clean=num_clean,
        values=values,
        num_images=_only_number_of_images(rows),
    )


def _sets(prompts: Sequence[Mapping[str, Any]]) -> dict[str, Columns]:
    sets = _grouped(range(len(prompts)), lambda column: prompts[column]["prompt_set"])
    for name in ("clean", "perturbed"):
        if name not in sets:
            raise ValueError(f"scores: there are no {name} prompts; score both sets")
    for name, families in (("tuning", TUNING), ("held_out", HELD_OUT)):
        members = tuple(column for column in sets["perturbed"] if prompts[column]["family"] in families)
        if members:
            sets[name] = members
    return {name: columns for name, columns in sets.items() if name != "stress"}


def _units(prompts: Sequence[Mapping[str, Any]]) -> tuple[tuple[int, ...], int]:
    """Return what each prompt is drawn with, and the number of clean prompts.

    Errors and stress belong to their clean prompt. Other contexts and class prompts stand for themselves; so
    do errors where there is but one clean prompt, which is then held fixed.
    """
    clean_ids = [prompt["prompt_id"] for prompt in prompts if prompt["prompt_set"] == "clean"]
    clustered = {"clean", "stress"} if len(clean_ids) == 1 else {"clean", "stress", "perturbed"}
    units: list[int] = []
    alone = len(clean_ids)
    for prompt in prompts:
        if prompt["prompt_set"] not in OF_CLASS and prompt["clean_id"] not in clean_ids:
            raise ValueError(
                f"scores: the clean prompt {prompt['clean_id']} of prompt {prompt['prompt_id']} "
                f"({prompt['prompt']!r}) is missing; score it as well"
            )
        if prompt["prompt_set"] in clustered:
            units.append(clean_ids.index(prompt["clean_id"]))
        else:
            units.append(alone)
            alone += 1
    return tuple(units), len(clean_ids)


def _grouped(columns: Sequence[int], key: Callable[[int], Any]) -> dict[Any, Columns]:
    groups: dict[Any, Columns] = {}
    for column in columns:
        groups[key(column)] = (*groups.get(key(column), ()), column)
    return groups


def _ascending(columns: Sequence[int], prompts: Sequence[Mapping[str, Any]]) -> dict[float, Columns]:
    return dict(sorted(_grouped(columns, lambda column: prompts[column]["severity"]).items()))


def _only_number_of_images(rows: Sequence[Mapping[str, Any]]) -> int:
    numbers = sorted({row["num_images"] for row in rows})
    if len(numbers) != 1:
        raise ValueError(f"scores: images per prompt = {numbers}: distances are comparable with one number only")
    return numbers[0]
