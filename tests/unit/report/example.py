"""A made-up run in real files: drawn images, plausible scores, and the summary that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from aelif.artifacts import (
    ImageRecord,
    new_folder,
    prompt_schema,
    score_schema,
    write_image_records,
    write_json,
    write_table,
)

CLEAN_PROMPTS = ("a photo of sks backpack", "a picture of sks backpack", "an image of sks backpack")

# prompt_id of the clean prompt, family, (start, before, after) …
ERRORS: tuple[tuple[int, str, tuple[tuple[int, str, str], ...]], ...] = (
    (0, "paper", ((2, "photo", "poto"),)),
    (1, "paper", ((2, "picture", "pitcure"), (17, "backpack", "bakpack"))),
    (0, "keyboard", ((4, "o", "p"), (19, "p", "o"))),
    (2, "keyboard", ((17, "a", "s"),)),
    (1, "delete", ((5, "t", ""), (23, "c", ""))),
    (2, "delete", ((14, "s", ""),)),
    (0, "swap", ((19, "pa", "ap"),)),
    (2, "swap", ((3, "im", "mi"),)),
    (0, "substitute", ((15, "b", "k"), (21, "c", "x"))),
    (1, "substitute", ((13, "s", "q"),)),
    (0, "word_drop", ((14, " backpack", ""),)),
    (1, "word_drop", ((13, "sks ", ""),)),
    (2, "spacing", ((11, " ", ""), (20, "", " "))),
)
_HURT = {"clean": 0.0, "paper": 0.08, "keyboard": 0.13, "delete": 0.1, "swap": 0.07, "substitute": 0.16,
         "word_drop": 0.3, "spacing": 0.05}  # fmt: skip
_VARIANTS = {"baseline": (0.853, 1.0), "aelif_mask:0.3": (0.861, 0.55), "aelif_noise_conv:0.3": (0.848, 0.85)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Paths of a run's artifacts, and what `render_report` takes."""

    folder: Path
    summary: dict[str, Any]
    verdict: dict[str, Any]
    scores: list[dict[str, Any]]
    prompts: list[dict[str, Any]]
    settings: dict[str, Any]
    trials: list[str]
    image_folders: list[Path]


def make_example(
    folder: Path, *, variants: tuple[str, ...] = tuple(_VARIANTS), seeds: tuple[int, ...] = (0, 1)
) -> Example:
    """Write a run below `folder`."""
    prompts = make_prompts()
    trials = [f"{variant}/seed={seed}" for seed in seeds for variant in variants]
    scores = [row for trial in trials for row in _scores(trial, prompts)]
    summary = make_summary(scores, variants, seeds)
    champion = "aelif_mask" if "aelif_mask" in summary["variants"] else "baseline"
    reasons = ["On perturbed prompts aelif_mask:0.3 is better than the baseline: the interval excludes zero.",
               "Its clean distance, 0.861, is below the limit 1.000."]  # fmt: skip
    verdict = {"champion": champion, "passed": True, "reasons": reasons if champion != "baseline" else []}
    write_json(folder / "summary.json", summary)
    write_json(folder / "verdict.json", verdict)
    write_table(folder / "scores.parquet", scores, score_schema())
    write_table(folder / "prompts.parquet", prompts, prompt_schema())
    draw_folder(folder / "photos", [(f"photo {index}", 0, index) for index in range(5)], blur=0.0)
    image_folders = [folder / "images" / str(index) for index in range(len(trials))]
    for trial, images in zip(trials, image_folders, strict=True):
        ease = _VARIANTS[trial.partition("/")[0]][1]
        wanted = [(row["prompt"], row["prompt_id"], index) for row in prompts for index in range(4)]
        draw_folder(images, wanted, blur=ease)
    settings = {
        "data": {"instance_prompt": "a photo of sks backpack", "class_prompt": "a photo of a backpack", "image_size": 64.0},
        "base_model": "builtin:miniature-sdxl", "variants": list(variants), "seeds": [float(seed) for seed in seeds],
        "train": {"method": "lora", "steps": 300.0, "learning_rate": 5e-4, "prior_preservation": True},
        "command": "aelif run quickstart --seeds 2", "digests": {"photos": "9f" * 32, "base_model": "c4" * 32},
        "versions": {"aelif": "0.1.0", "torch": "2.9.1"},
    }  # fmt: skip
    return Example(folder=folder, summary=summary, verdict=verdict, scores=scores, prompts=prompts,
                   settings=settings, trials=trials, image_folders=image_folders)  # fmt: skip


def make_prompts() -> list[dict[str, Any]]:
    rows = [_prompt(index, index, text, "clean", ()) for index, text in enumerate(CLEAN_PROMPTS)]
    for clean_id, family, edits in ERRORS:
        rows.append(_prompt(len(rows), clean_id, CLEAN_PROMPTS[clean_id], family, edits))
    return rows


def _prompt(
    prompt_id: int, clean_id: int, clean: str, family: str, edits: tuple[tuple[int, str, str], ...]
) -> dict[str, Any]:
    text = clean
    for start, before, after in sorted(edits, reverse=True):
        assert text[start : start + len(before)] == before, (clean, start, before)
        text = text[:start] + after + text[start + len(before) :]
    hurt = sum(max(len(before), len(after)) for _, before, after in edits)
    return {
        "prompt_id": prompt_id, "clean_id": clean_id, "prompt": text, "clean_prompt": clean,
        "prompt_set": "clean" if family == "clean" else "perturbed", "family": family,
        "severity": 0.0 if family == "clean" else 0.1, "draw": 0,
        "character_error_rate": min(hurt, 9) / len(clean) if family != "paper" else 0.05 * len(edits),
        "edits": [{"kind": family, "start": s, "before": b, "after": a} for s, b, a in edits],
    }  # fmt: skip


def _scores(trial: str, prompts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    variant, _, seed = trial.partition("/seed=")
    clean, ease = _VARIANTS[variant]
    generator = np.random.default_rng(int(seed) + 7 * len(variant))
    rows = []
    for prompt in prompts:
        w1 = clean + ease * _HURT[prompt["family"]] * (1 + 0.15 * prompt["clean_id"]) + generator.normal(0, 0.018)
        figures = {"w1": w1, "w2": w1 + 0.06, "clip_t": 1.1 - w1, "clip_i": 1.4 - w1, "diversity": 0.4 + 0.1 * ease}
        rows += [
            {key: prompt[key] for key in ("prompt_id", "clean_id", "prompt_set", "family", "severity", "prompt")}
            | {"variant": variant, "seed": int(seed), "metric": metric, "value": float(value), "num_images": 4}
            for metric, value in figures.items()
        ]
    return rows


def make_summary(scores: list[dict[str, Any]], variants: tuple[str, ...], seeds: tuple[int, ...]) -> dict[str, Any]:
    def interval(value: float, half: float) -> dict[str, float]:
        return {"value": float(value), "low": float(value - half), "high": float(value + half * 1.1)}

    def mean(variant: str, metric: str, **where: str) -> float:
        chosen = [row["value"] for row in scores if row["variant"] == variant and row["metric"] == metric
                  and all(row[key] == value for key, value in where.items())]  # fmt: skip
        return float(np.mean(chosen))

    families = sorted({row["family"] for row in scores} - {"clean"})
    entries: dict[str, Any] = {}
    base = {name: mean("baseline", "w1", prompt_set=name) for name in ("clean", "perturbed")}
    for variant in variants:
        own = {name: mean(variant, "w1", prompt_set=name) for name in ("clean", "perturbed")}
        entry = {name: interval(value, 0.021) for name, value in own.items()}
        entry |= {name: interval(mean(variant, name, prompt_set="clean"), 0.013)
                  for name in ("w2", "clip_t", "clip_i", "diversity")}  # fmt: skip
        entry["excess_damage"] = interval(own["perturbed"] - own["clean"], 0.024)
        entry["families"] = {
            family: {"distance": interval(mean(variant, "w1", family=family), 0.03),
                     "improvement_plain": interval(1 - mean(variant, "w1", family=family)
                                                   / mean("baseline", "w1", family=family), 0.031)}
            for family in families
        }  # fmt: skip
        if variant != "baseline":
            entry["improvement_plain"] = interval(1 - own["perturbed"] / base["perturbed"], 0.025)
            damages = (own["perturbed"] - own["clean"]) / (base["perturbed"] - base["clean"])
            entry["improvement_excess"] = interval(1 - damages, 0.117)
        entries[variant.partition(":")[0]] = entry
    one_seed = {"value": None, "low": None, "high": None}
    return {
        "schema": 1, "variants": entries, "noise_floor": interval(0.512, 0.043),
        "seed_floor": interval(0.337, 0.019) if len(seeds) > 1 else one_seed, "seeds": list(seeds), "notes": [],
        "num_resamples": 2000, "confidence": 0.95, "num_images_per_prompt": 4, "num_reference": 5,
    }  # fmt: skip


def draw_folder(folder: Path, wanted: list[tuple[str, int, int]], *, blur: float) -> None:
    """Write drawn 64-pixel images of (prompt, prompt_id, image_index)."""
    with new_folder(folder) as temporary:
        records = []
        for text, prompt_id, image_index in wanted:
            name = f"{prompt_id:03d}_{image_index:02d}.png"
            _draw(prompt_id, image_index, blur).save(temporary / name)
            records.append(ImageRecord(file_name=name, text=text, prompt_id=prompt_id, image_index=image_index))
        write_image_records(temporary, records)


def _draw(prompt_id: int, image_index: int, blur: float) -> Image.Image:
    generator = np.random.default_rng([prompt_id, image_index])
    ground = tuple(int(value) for value in generator.integers(120, 245, 3))
    image = Image.new("RGB", (64, 64), ground)
    draw = ImageDraw.Draw(image)
    x, y = (int(value) for value in generator.integers(10, 22, 2))
    lost = blur * 1.4 > generator.random() and prompt_id > 2
    body = tuple(int(v) for v in generator.integers(0, 255, 3)) if lost else (198, 40, 52)
    draw.rounded_rectangle((x, y + 6, x + 32, y + 40), 8, fill=body, outline=(60, 16, 24), width=2)
    draw.arc((x + 8, y - 2, x + 24, y + 16), 180, 360, fill=(60, 16, 24), width=3)
    draw.rounded_rectangle((x + 6, y + 22, x + 26, y + 35), 3, fill=tuple(int(0.8 * c) for c in body))
    pixels = np.asarray(image, dtype=np.float32) + generator.normal(0, 6, (64, 64, 1))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
