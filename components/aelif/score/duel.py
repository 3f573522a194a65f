"""Each trial against the registered champion, measured in the same run on the same prompts and initial noise.

A duel is the comparison of variants in small: the champion stands in the baseline's place, and every
trial is a variant of one seed, so that nothing but clean prompts, each with its errors, is drawn, the same for all.

Legend: L rows of resampled statistics, see `aelif.score.draws`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aelif.config import BASELINE, ScoreConfig, Variant
from aelif.score.bootstrap import divide, improvement_plain
from aelif.score.comparison import Comparison
from aelif.score.grid import Columns, ScoreGrid, read_grid

Rows = Sequence[Mapping[str, Any]]

_PROMPT = ("clean_id", "prompt_set", "family", "severity", "prompt", "num_images")
"""What must be the same for every prompt of the champion and the trials."""


def split_champion(rows: Rows) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the rows of the trials, and those of the champion, of a merged `scores.parquet`."""
    is_champion = {text: bool(Variant.parse(text).champion) for text in {row["variant"] for row in rows}}
    return (
        [row for row in rows if not is_champion[row["variant"]]],
        [row for row in rows if is_champion[row["variant"]]],
    )


def duels(rows: Rows, champion_rows: Rows, *, config: ScoreConfig) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the champion's figures, and those of each trial against it; (None, {}) without a champion.

    Stress is left out: it is no part of what people ask.

    Args:
        rows: rows of `scores.parquet` of all trials.
        champion_rows: those of one version of the champion; may be empty.
        config: resampling.

    Returns:
        ``{"version", "clean", "perturbed", "clip_t", "diversity", "families"}``, and trial → the same without
        version, with "improvement" and "clean_loss", and in each family "distance" and "loss". All are intervals,
        distances W1 in [0, 2], improvement and losses shares of the champion's distance.

    Raises:
        ValueError: if the champion was not scored on just the prompts and numbers of images of every trial.
    """
    if not champion_rows:
        return None, {}
    version = _only_version(champion_rows)
    trials = list(dict.fromkeys(_trial(row) for row in rows))
    own = {trial: [row for row in rows if _trial(row) == trial] for trial in trials}
    for trial, theirs in own.items():
        _check_same_prompts(trial, theirs, champion_rows)
    relabelled = [*_as_variant(BASELINE, champion_rows)]
    for trial in trials:
        relabelled += _as_variant(trial, own[trial])
    comparison = Comparison(read_grid(relabelled), config)
    held = _figures(comparison, BASELINE)
    families = {
        family: comparison.interval(comparison.mean(BASELINE, columns))
        for family, columns in comparison.grid.families.items()
    }
    champion = {"version": version, **held, "families": families}
    return champion, {trial: _duel(comparison, trial) for trial in trials}


def trial_means(grid: ScoreGrid) -> dict[str, dict[str, float | None]]:
    """Return trial → its clean and perturbed distance, prompt alignment and diversity, means over its prompts."""
    measured: tuple[tuple[str, str, Columns], ...] = (
        ("clean", "w1", grid.sets["clean"]),
        ("perturbed", "w1", grid.sets["perturbed"]),
        ("clip_t", "clip_t", grid.sets["clean"]),
        ("diversity", "diversity", grid.sets["clean"]),
    )
    return {
        f"{variant}/seed={seed}": {
            name: None if (mean := float(grid.values[metric][v, s, list(columns)].mean())) != mean else mean
            for name, metric, columns in measured
        }
        for s, seed in enumerate(grid.seeds)
        for v, variant in enumerate(grid.variants)
    }


def _figures(comparison: Comparison, variant: str) -> dict[str, Any]:
    sets = comparison.grid.sets
    return {
        "clean": comparison.interval(comparison.mean(variant, sets["clean"])),
        "perturbed": comparison.interval(comparison.mean(variant, sets["perturbed"])),
        "clip_t": comparison.interval(comparison.mean(variant, sets["clean"], "clip_t")),
        "diversity": comparison.interval(comparison.mean(variant, sets["clean"], "diversity")),
    }


def _duel(comparison: Comparison, trial: str) -> dict[str, Any]:
    base, own = comparison.distances(BASELINE), comparison.distances(trial)
    families = {}
    for family, columns in comparison.grid.families.items():
        held_L, distance_L = comparison.mean(BASELINE, columns), comparison.mean(trial, columns)
        families[family] = {
            "distance": comparison.interval(distance_L),
            "loss": comparison.interval(divide(distance_L - held_L, held_L)),
        }
    return {
        **_figures(comparison, trial),
        "improvement": comparison.interval(improvement_plain(base.perturbed, own.perturbed)),
        "clean_loss": comparison.interval(divide(own.clean - base.clean, base.clean)),
        "families": families,
    }


def _trial(row: Mapping[str, Any]) -> str:
    return f"{row['variant']}/seed={row['seed']}"


def _as_variant(name: str, rows: Rows) -> list[dict[str, Any]]:
    return [{**row, "variant": name, "seed": 0} for row in rows if row["prompt_set"] != "stress"]


def _only_version(rows: Rows) -> str:
    names = sorted({_trial(row) for row in rows})
    version = Variant.parse(rows[0]["variant"]).champion
    if len(names) != 1 or not version:
        raise ValueError(f"champion_scores: they are of {', '.join(names)}; give those of one champion@VERSION")
    return version


def _check_same_prompts(trial: str, rows: Rows, champion_rows: Rows) -> None:
    """Refuse to compare what was asked different prompts, or painted different numbers of images.

    Raises:
        ValueError: names the first prompt that differs.
    """
    own, held = (
        {row["prompt_id"]: tuple(row[name] for name in _PROMPT) for row in part if row["prompt_set"] != "stress"}
        for part in (rows, champion_rows)
    )
    for prompt_id in sorted(own.keys() | held.keys()):
        if own.get(prompt_id) != held.get(prompt_id):
            raise ValueError(
                f"champion_scores: prompt {prompt_id} is {_told(held.get(prompt_id))} for the champion, "
                f"{_told(own.get(prompt_id))} for {trial}: a champion is compared on the same prompts alone; "
                "evaluate it again in this run"
            )


def _told(prompt: tuple[Any, ...] | None) -> str:
    return "missing" if prompt is None else f"{prompt[-2]!r} ({prompt[1]}, {prompt[2]}, {prompt[-1]} images)"
