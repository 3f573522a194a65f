"""The study's numbers: distances, improvements and comparisons with their intervals (see protocol.md).

Legend: V variants, S cells (subject, seed), U clean prompts, L resampled statistics (see `aelif.score.draws`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aelif.config import BASELINE, Variant
from aelif.score.bootstrap import Distances, improvement_excess, improvement_plain
from aelif.score.draws import Draws, make_draws
from aelif.score.intervals import Interval, to_interval
from aelif.score.permutation import flip_test, flip_units, holm
from aelif_pipelines.study_plan import HELD_OUT_ERRORS, REWORDINGS, TUNED

RESAMPLES, CONFIDENCE = 10_000, 0.95
CLEAN_LIMIT = 1.05
"""Largest clean distance, as a multiple of the baseline's."""
SETS = {"errors": (*HELD_OUT_ERRORS, *TUNED), "rewordings": REWORDINGS}
"""Set of perturbed prompts → its families; a stage has asked either held-out or tuning ones."""
BY_WORD = ("subject intact", "name hit", "class word hit")
"""The errors parted by what they leave of the subject's words: both, the class word alone, or not even that."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One metric of one model family."""

    variants: tuple[str, ...]
    values: dict[str, np.ndarray]
    """"clean", "errors", each of `BY_WORD`, "rewordings" and every family of errors → (V, S, U) means;
    NaN where nothing was asked."""


def measure(rows: Sequence[Row], *, metric: str = "w1") -> Measured:
    """Return the means of each cell and clean prompt, and of all that was made of that prompt."""
    wanted = [row for row in rows if row["metric"] == metric and row["prompt_set"] in ("clean", "perturbed")]
    variants = tuple(dict.fromkeys(row["variant"] for row in wanted))
    cells = sorted({(row["part"], row["seed"]) for row in wanted})
    clean = sorted({row["clean_id"] for row in wanted})
    families = sorted({row["family"] for row in wanted} - {"clean"})
    places = [{name: i for i, name in enumerate(names)} for names in (variants, cells, clean)]
    sums = {
        name: np.zeros((2, len(variants), len(cells), len(clean))) for name in ("clean", *SETS, *BY_WORD, *families)
    }
    asked = {(row["part"], row["clean_id"]): row["prompt"] for row in wanted if row["prompt_set"] == "clean"}
    for row in wanted:
        key = (row["variant"], (row["part"], row["seed"]), row["clean_id"])
        place = tuple(places[axis][name] for axis, name in enumerate(key))
        for name in (row["family"], *_sets_of(row, asked[row["part"], row["clean_id"]])):
            sums[name][(0, *place)] += row["value"]
            sums[name][(1, *place)] += 1
    with np.errstate(invalid="ignore"):
        return Measured(variants=variants, values={name: total / count for name, (total, count) in sums.items()})


def _sets_of(row: Row, clean_prompt: str) -> list[str]:
    """Return the sets of perturbed prompts that a row belongs to; a clean prompt ends in "… IDENTIFIER CLASS"."""
    sets = [name for name, members in SETS.items() if row["family"] in members]
    if "errors" in sets:
        identifier, class_word = clean_prompt.split()[-2:]
        left = set(row["prompt"].split())
        sets.append(BY_WORD[2 if class_word not in left else 1 if identifier not in left else 0])
    return sets


def draw(measured: Measured) -> Draws:
    """Return the weights of cells and clean prompts in each resample, the same for every table of a metric."""
    _, cells, clean = measured.values["clean"].shape
    return make_draws(cells, list(range(clean)), clean, RESAMPLES)


def whole_prompts(table_VSU: np.ndarray) -> list[int]:
    """Return the clean prompts for which every cell of every variant has a value."""
    return [int(column) for column in np.flatnonzero(np.isfinite(table_VSU).all(axis=(0, 1)))]


def resample(table_VSU: np.ndarray, draws: Draws) -> np.ndarray:
    """Return (V, L) resampled means over cells and clean prompts; prompts that lack a cell's value are left out."""
    return draws.means(np.nan_to_num(table_VSU), whole_prompts(table_VSU))


def describe(measured: Measured, *, on: str = "errors") -> dict[str, dict[str, Any]]:
    """Return, for each variant, distances and improvements with their intervals, and p against the baseline (Holm)."""
    draws = draw(measured)
    clean_VL, wrong_VL = (resample(measured.values[name], draws) for name in ("clean", on))
    base = measured.variants.index(BASELINE)
    others = [v for v in range(len(measured.variants)) if v != base]
    p_values = dict(zip(others, compare(measured, [(v, base) for v in others], on=on), strict=True))

    def interval(statistic_L: np.ndarray) -> Interval:
        return to_interval(statistic_L, blocks=draws.blocks, confidence=CONFIDENCE)

    at_base = Distances(clean=clean_VL[base], perturbed=wrong_VL[base])
    return {
        name: {
            "clean": interval(clean_VL[v]),
            "perturbed": interval(wrong_VL[v]),
            "damage": interval(wrong_VL[v] - clean_VL[v]),
            "clean_ratio": interval(clean_VL[v] / clean_VL[base]),
            "plain": interval(improvement_plain(wrong_VL[base], wrong_VL[v])),
            "excess": interval(improvement_excess(at_base, Distances(clean=clean_VL[v], perturbed=wrong_VL[v]))),
            "p": p_values.get(v),
        }
        for v, name in enumerate(measured.variants)
    }


def duels(measured: Measured, winner: str, *, on: str = "errors") -> dict[str, dict[str, Any]]:
    """Return, for each other variant, the winner's distance minus its, with interval and p (Holm)."""
    others = [name for name in measured.variants if name != winner]
    return dict(zip(others, contrasts(measured, [(winner, name) for name in others], on=on), strict=True))


def contrasts(measured: Measured, pairs: Sequence[tuple[str, str]], *, on: str = "errors") -> list[dict[str, Any]]:
    """Return, for each pair of variants, the first's distance minus the second's, with interval and p (Holm)."""
    draws = draw(measured)
    distance_VL = resample(measured.values[on], draws)
    places = [(measured.variants.index(one), measured.variants.index(other)) for one, other in pairs]
    return [
        {"difference": to_interval(distance_VL[v] - distance_VL[w], blocks=draws.blocks, confidence=CONFIDENCE), "p": p}
        for (v, w), p in zip(places, compare(measured, places, on=on), strict=True)
    ]


def compare(measured: Measured, pairs: Sequence[tuple[int, int]], *, on: str) -> list[float]:
    """Return Holm's p of the paired sign-flip test of each pair of variants."""
    if not pairs:
        return []
    table_VSU = measured.values[on]
    kept_U = whole_prompts(table_VSU)
    ones, others = (list(side) for side in zip(*pairs, strict=True))
    differences = table_VSU[ones][:, :, kept_U] - table_VSU[others][:, :, kept_U]
    shares_VN, _ = flip_units(differences, list(range(len(kept_U))))
    return holm([test.p_value for test in flip_test(shares_VN, num_flips=RESAMPLES)])


def helps(variant: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether a variant helps by the protocol's rule, which asks for all families of models.

    Args:
        variant: not the baseline.
        first: model → variant → what `describe` says, by the scorer.
        second: the same by the second scorer, which has to give the same sign.
    """
    own, checks = ([models[variant] for models in scorer.values()] for scorer in (first, second))
    return all(
        one["plain"]["low"] is not None and one["plain"]["low"] > 0 and one["clean_ratio"]["value"] <= CLEAN_LIMIT
        for one in own
    ) and all(one["plain"]["value"] > 0 for one in checks)


def beats(
    winner: str, loser: str, *, described: Mapping[str, Any], first: Mapping[str, Any], second: Mapping[str, Any]
) -> bool:
    """Return whether the winner beats another variant by the protocol's rule, Holm's correction included.

    Args:
        winner: of the duels.
        loser: another variant.
        described: model → variant → what `describe` says, by the scorer.
        first: model → variant → what `duels` says, by the scorer.
        second: the same by the second scorer, which has to give the same sign.
    """
    return all(
        others[loser]["difference"]["high"] is not None
        and others[loser]["difference"]["high"] < 0
        and others[loser]["p"] < 1 - CONFIDENCE
        and described[model][winner]["clean_ratio"]["value"] <= CLEAN_LIMIT
        for model, others in first.items()
    ) and all(others[loser]["difference"]["value"] < 0 for others in second.values())


def choose(tables: Sequence[Measured]) -> dict[str, str]:
    """Return, for each augmentation, the setting that the protocol's rule chooses from the tuning stage.

    Args:
        tables: of each model family, with the same variants.
    """
    names = tables[0].variants
    base = names.index(BASELINE)
    clean_V = np.mean([_ratio(table.values["clean"], base) for table in tables], axis=0)
    wrong_V = np.mean([np.nanmean(table.values["errors"], axis=(1, 2)) for table in tables], axis=0)
    chosen = {}
    kinds = [Variant.parse(name).augmentation for name in names]
    for augmentation in dict.fromkeys(kind for kind in kinds if kind != BASELINE):
        own = [v for v, kind in enumerate(kinds) if kind == augmentation]
        kept = [v for v in own if clean_V[v] <= CLEAN_LIMIT]
        best = min(kept, key=lambda v: wrong_V[v]) if kept else min(own, key=lambda v: clean_V[v])
        chosen[augmentation] = names[best]
    return chosen


def _ratio(table_VSU: np.ndarray, base: int) -> np.ndarray:
    means_V = np.nanmean(table_VSU, axis=(1, 2))
    return np.asarray(means_V / means_V[base])
