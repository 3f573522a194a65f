"""What a run and a model say about their origin: pure functions from results to metrics and tags."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from aelif.artifacts import digest_of, sha256_of
from aelif.config import Trial

DISTANCE = "w1"
"""The metric of `scores.parquet` by which a variant's seeds are compared."""


def flatten(values: Mapping[str, Any], *, limit: int, prefix: str = "") -> tuple[dict[str, str], dict[str, str]]:
    """Turn nested settings into flat parameters, with dots between the names.

    Args:
        values: nested mappings; whole floats, which JSON makes of integers, are written as integers.
        limit: longest value; a longer one is cut, and its SHA-256 becomes the tag ``params.NAME.sha256``.
        prefix: stands before every name.

    Returns:
        Parameters and tags.
    """
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for key, value in values.items():
        name = prefix + re.sub(r"[^\w.\- ]", "_", str(key))
        if isinstance(value, Mapping):
            inner_params, inner_tags = flatten(value, limit=limit, prefix=f"{name}.")
            params, tags = params | inner_params, tags | inner_tags
            continue
        text = plain(value)
        if len(text) > limit:
            tags[f"params.{name}.sha256"] = digest_of(text)
        params[name] = shorten(text, limit=limit)
    return params, tags


def plain(value: Any) -> str:
    """Write a setting as a person would: ``300``, ``0.5``, ``true``, ``none``, or list items with commas."""
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def shorten(text: str, *, limit: int) -> str:
    """Return the text, its end cut off beyond `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def summary_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Return the summary's figures under flat names: ``aelif_mask/perturbed``, with ``/low`` and ``/high``.

    Those of the champion that was measured in the same run go under ``champion/``.

    Args:
        summary: `summary.json`; figures are ``{"value", "low", "high"}``, undefined ones null.
    """
    figures = {**summary["variants"], **{key: summary.get(key) for key in ("noise_floor", "seed_floor", "champion")}}
    return dict(_figures(figures, ""))


def duel_metrics(summary: Mapping[str, Any], trial: str) -> dict[str, float]:
    """Return how one trial compares with the champion: ``against_champion/improvement`` and its like; {} without one.

    Args:
        summary: `summary.json`.
        trial: a key of its ``duels``.
    """
    return dict(_figures(summary.get("duels", {}).get(trial) or {}, "against_champion"))


def _figures(node: Any, name: str) -> Iterable[tuple[str, float]]:
    """Yield every finite number below `node` with its path."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            part = re.sub(r"[^\w.\- :]", "_", str(key))
            below = name if key == "value" else f"{name}/{part}" if name else part
            yield from _figures(value, below)
    elif isinstance(node, (int, float)) and not isinstance(node, bool) and math.isfinite(node):
        yield name, float(node)


def trial_metrics(rows: Iterable[Mapping[str, Any]], trial: Trial) -> dict[str, float]:
    """Return one trial's means over prompts: ``perturbed/w1``, ``clean/clip_t``, ``stress/aelif_mask/0.3/w1``.

    Args:
        rows: `scores.parquet` (see `aelif.artifacts.score_schema`); undefined values are left out.
        trial: whose rows to take.
    """
    groups: dict[str, list[float]] = {}
    for row in rows:
        defined = row["value"] is not None and math.isfinite(row["value"])
        if defined and row["variant"] == str(trial.variant) and row["seed"] == trial.seed:
            groups.setdefault(f"{_group(row)}/{row['metric']}", []).append(row["value"])
    return {name: fmean(values) for name, values in sorted(groups.items())}


def _group(row: Mapping[str, Any]) -> str:
    """Return the prompt set; of stress, each point of a curve is a group."""
    return f"stress/{row['family']}/{row['severity']:g}" if row["prompt_set"] == "stress" else str(row["prompt_set"])


def best_trial(champion: str, trials: Iterable[Trial], rows: list[dict[str, Any]]) -> Trial:
    """Return the champion variant's trial with the lowest distance on perturbed prompts.

    Args:
        champion: key of the summary: ``"aelif_mask:0.3"``, or ``"aelif_mask"`` where that is unambiguous.
        trials: all of the run.
        rows: `scores.parquet`.

    Raises:
        ValueError: if no trial of that name has a distance.
    """
    trials = list(trials)
    own = [trial for trial in trials if champion in (str(trial.variant), trial.variant.augmentation)]
    distances = {trial: trial_metrics(rows, trial).get(f"perturbed/{DISTANCE}") for trial in own}
    known = [(distance, trial.seed, trial) for trial, distance in distances.items() if distance is not None]
    if not known:
        raise ValueError(f"champion = {champion!r}: no scored trial of that name among {', '.join(map(str, trials))}")
    return min(known, key=lambda entry: entry[:2])[2]


def weights_digest(folder: Path) -> str:
    """Return the hex SHA-256 of a model folder's weights: of the one file, or over names and digests of several.

    Raises:
        ValueError: if the folder holds no safetensors file.
    """
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder}: no .safetensors file; this is no model written by aelif")
    if len(files) == 1:
        return sha256_of(files[0])
    return digest_of([(file.relative_to(folder).as_posix(), sha256_of(file)) for file in files])


def evaluation_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the hex SHA-256 of the prompts that were scored."""
    return digest_of(sorted({(row["prompt_id"], row["prompt_set"], row["prompt"]) for row in rows}))


def model_tags(folder: Path, card: Mapping[str, Any], *, trial: Trial) -> dict[str, str]:
    """Return what identifies a trained model: variant, seed, weights, base model.

    Args:
        folder: the model.
        card: its `aelif.json`, {} where it has none.
        trial: what was trained.

    Raises:
        ValueError: if the folder has no weights, or others than the card says.
    """
    weights = weights_digest(folder)
    if card.get("weights_sha256", weights) != weights:
        raise ValueError(
            f"{folder}: weights have sha256 {weights}, training wrote {card['weights_sha256']}; train again"
        )
    return {
        "variant": str(trial.variant),
        "seed": str(trial.seed),
        "weights.sha256": weights,
        "base.digest": str(card.get("base", "")),
    }
