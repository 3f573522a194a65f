"""A made-up summary (schema 2) that agrees with made-up scores; intervals are as wide as it pleases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import mean
from typing import Any

from aelif.config import HELD_OUT, TUNING

NOTHING = {"value": None, "low": None, "high": None}

Row = dict[str, Any]


def interval(value: float, half_width: float = 0.031) -> dict[str, float]:
    return {"value": value, "low": value - half_width, "high": value + 1.2 * half_width}


def make_summary(scores: list[Row], prompts: list[Row], seeds: tuple[int, ...]) -> dict[str, Any]:
    """Return the summary of all variants in `scores`, the first one being the baseline."""
    texts = list(dict.fromkeys(row["variant"] for row in scores))
    stems = [text.partition(":")[0] for text in texts]
    names = {text: stem if stems.count(stem) == 1 else text for text, stem in zip(texts, stems, strict=True)}
    by_variant = {text: [row for row in scores if row["variant"] == text] for text in texts}
    entries = {names[text]: _entry(text, rows, by_variant["baseline"], prompts) for text, rows in by_variant.items()}
    return {
        "schema": 2, "variants": entries, "noise_floor": interval(0.512), "seed_floor": interval(0.343, 0.01),
        "seeds": list(seeds), "num_resamples": 10_000, "confidence": 0.95, "num_images_per_prompt": 4,
        "num_reference": 5, "notes": ["1 prompt of family synonym could not be made."],
        "skipped": [
            {key: row[key] for key in ("family", "severity", "prompt", "reason")}
            for row in prompts if row["prompt_set"] == "skipped"
        ],
        "near_copy_cosine": 0.961, "interval_method": "Expanded percentiles of a bootstrap, made up for this example.",
    }  # fmt: skip


def _entry(text: str, rows: list[Row], base: list[Row], prompts: list[Row]) -> dict[str, Any]:
    def value(metric: str, accept: Callable[[Row], bool], of: list[Row] = rows) -> float:
        return mean(row["value"] for row in of if row["metric"] == metric and accept(row))

    is_baseline = text == "baseline"
    in_set = {
        "clean": lambda row: row["prompt_set"] == "clean",
        "perturbed": lambda row: row["prompt_set"] == "perturbed",
        "tuning": lambda row: row["prompt_set"] == "perturbed" and row["family"] in TUNING,
        "held_out": lambda row: row["prompt_set"] == "perturbed" and row["family"] in HELD_OUT,
        "out_of_distribution": lambda row: row["prompt_set"] == "out_of_distribution",
        "class": lambda row: row["prompt_set"] == "class",
    }
    clean, base_clean = value("w1", in_set["clean"]), value("w1", in_set["clean"], base)

    def gains(accept: Callable[[Row], bool], *, with_excess: bool) -> dict[str, Any]:
        own, other = value("w1", accept), value("w1", accept, base)
        plain = {"improvement_plain": interval(1 - own / other)}
        return plain | (
            {"improvement_excess": interval(1 - (own - clean) / (other - base_clean), 0.21)} if with_excess else {}
        )

    sets = {
        name: {"distance": interval(value("w1", accept)), "clip_t": interval(value("clip_t", accept), 0.02)}
        | ({} if is_baseline else gains(accept, with_excess=name in ("tuning", "held_out")))
        for name, accept in in_set.items() if name not in ("clean", "perturbed")
    }  # fmt: skip
    perturbed = value("w1", in_set["perturbed"])
    damage = perturbed - clean
    entry = {
        "variant": text, "clean": interval(clean), "perturbed": interval(perturbed),
        "excess_damage": interval(damage), "sets": sets, "leakage": interval(value("clip_i", in_set["class"])),
        "leakage_perturbed": NOTHING,
        **{name: interval(value(name, in_set["clean"])) for name in ("w2", "clip_t", "clip_i", "diversity", "vendi")},
        "sliced_w2": NOTHING, "dino": NOTHING, "near_copies": interval(0.0 if is_baseline else 0.042, 0.0),
        "families": _families(rows, base, prompts, clean, is_baseline=is_baseline),
        "curve": _curve(rows, prompts), "stress": _stress(rows, prompts),
        "split": {"string_damage": interval(damage), "denoiser_damage": interval(0.62 * damage),
                  "text_encoder_damage": interval(0.38 * damage), "denoiser_share": interval(0.62, 0.1)},
        "worst_case": {"distance": interval(perturbed + 0.2), "damage": interval(damage + 0.19),
                       "mean_perturbed": interval(perturbed + 0.01), "tried": 40, "max_edits": 2},
        "cross_checks": {
            name: {"w1": {**NOTHING, "value": level}, "cmmd": interval(1000 * level),
                   "kid": interval(level / 300, 1e-4), "frechet": {**NOTHING, "value": level**2}}
            for name, level in (("clean", clean - 0.05), ("perturbed", perturbed - 0.05))
        },
        "test": None, "prompts": list(_prompts(rows, base, is_baseline=is_baseline)),
    }  # fmt: skip
    if is_baseline:
        return entry
    entry["test"] = {"statistic": perturbed - value("w1", in_set["perturbed"], base), "p_value": 0.0061,
                     "p_adjusted": 0.0122, "unit": "seed and prompt", "num_flips": 10_000}  # fmt: skip
    return entry | gains(in_set["perturbed"], with_excess=True)


def _families(rows: list[Row], base: list[Row], prompts: list[Row], clean: float, *, is_baseline: bool) -> Row:
    result = {}
    for family in dict.fromkeys(
        row["family"] for row in prompts if row["prompt_set"] in ("perturbed", "out_of_distribution")
    ):
        own, other = (
            mean(r["value"] for r in of if r["metric"] == "w1" and r["family"] == family) for of in (rows, base)
        )
        asked = [row for row in prompts if row["family"] == family and row["prompt_set"] != "skipped"]
        result[family] = {
            "distance": interval(own), "damage": interval(own - clean),
            "error_rate": mean(row["character_error_rate"] for row in asked),
            "tokens_changed": mean(row["tokens_changed"] for row in asked),
            "embedding_cosine": mean(row["embedding_cosine"] for row in asked), "num_prompts": len(asked),
        } | ({} if is_baseline else {"improvement_plain": interval(1 - own / other)})  # fmt: skip
    return result


def _points(
    rows: list[Row], prompts: list[Row], accept: Callable[[Row], bool]
) -> Iterable[tuple[float, list[Row], float]]:
    for severity in sorted({row["severity"] for row in prompts if accept(row)}):
        asked = [row for row in prompts if accept(row) and row["severity"] == severity]
        ids = {row["prompt_id"] for row in asked}
        yield severity, asked, mean(r["value"] for r in rows if r["metric"] == "w1" and r["prompt_id"] in ids)


def _curve(rows: list[Row], prompts: list[Row]) -> list[Row]:
    points = _points(rows, prompts, lambda row: row["prompt_set"] in ("clean", "perturbed"))
    return [
        {"severity": severity, "error_rate": mean(row["character_error_rate"] for row in asked),
         "embedding_shift": mean(row["embedding_shift"] for row in asked), "distance": interval(level),
         "num_prompts": len(asked)}
        for severity, asked, level in points
    ]  # fmt: skip


def _stress(rows: list[Row], prompts: list[Row]) -> Row:
    names = dict.fromkeys(row["family"] for row in prompts if row["prompt_set"] == "stress")
    return {
        name: [
            {"severity": severity, "embedding_shift": mean(row["embedding_shift"] for row in asked),
             "distance": interval(level)}
            for severity, asked, level in _points(rows, prompts, _one_of("clean", name))
        ]
        for name in names
    }  # fmt: skip


def _one_of(*families: str) -> Callable[[Row], bool]:
    return lambda row: row["family"] in families


def _prompts(rows: list[Row], base: list[Row], *, is_baseline: bool) -> Iterable[Row]:
    for prompt_id in dict.fromkeys(row["prompt_id"] for row in rows):
        own, other = (
            [row for row in of if row["prompt_id"] == prompt_id and row["metric"] == "w1"] for of in (rows, base)
        )
        level, rival = (mean(row["value"] for row in of) for of in (own, other))
        kept = {key: own[0][key] for key in ("prompt_id", "prompt", "prompt_set", "family", "severity")}
        figures = {"distance": interval(level), "clip_t": 0.2, "clip_i": 0.5, "diversity": None}
        yield kept | figures | ({} if is_baseline else {"improvement_plain": interval(1 - level / rival)})
