"""A made-up run in real files: drawn images, plausible scores, and the summary that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tests.unit.report.example_prompts import make_prompts
from tests.unit.report.example_summary import make_summary

from aelif.artifacts import (
    ImageRecord,
    new_folder,
    prompt_schema,
    score_schema,
    worst_schema,
    write_image_records,
    write_json,
    write_table,
)
from aelif.config import GateConfig, ScoreConfig
from aelif.gate.verdict import judge
from aelif.score.duel import duels, trial_means
from aelif.score.grid import read_grid

_HURT = {"clean": 0.0, "paper": 0.08, "keyboard": 0.13, "delete": 0.1, "swap": 0.07, "substitute": 0.16,
         "word_drop": 0.3, "spacing": 0.05, "ocr": 0.11, "context": 0.2, "class": 0.24}  # fmt: skip
VARIANTS = {"baseline": (0.853, 1.0), "aelif_mask:0.3": (0.861, 0.55), "aelif_noise_conv:0.3": (0.848, 0.85)}
"""Variant → clean distance, and how much of the damage it takes."""

SWEEP = {"baseline": (0.853, 1.0)} | {
    f"aelif_mask:{p}": (0.845 + 0.06 * p, 1 - 1.2 * p) for p in (0.1, 0.3, 0.5)
} | {
    f"aelif_noise_conv:{p}@noise_std={std}": (0.84 + 0.05 * p * std, 1 - 0.7 * p * std)
    for p in (0.1, 0.3, 0.5) for std in (0.5, 1)
}  # fmt: skip
"""A grid: ten variants, more than there are colours."""


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
    worst: list[dict[str, Any]]
    worst_folders: list[Path]
    champion_folder: Path


def make_example(
    folder: Path,
    *,
    variants: dict[str, tuple[float, float]] = VARIANTS,
    seeds: tuple[int, ...] = (0, 1),
    champion: tuple[float, float] | None = None,
    gate: GateConfig | None = None,
) -> Example:
    """Write a run below `folder`; with a champion of these figures the gate's own verdict is in it."""
    prompts = make_prompts()
    asked = [row for row in prompts if row["prompt_set"] != "skipped"]
    trials = [f"{variant}/seed={seed}" for seed in seeds for variant in variants]
    scores = [row for trial in trials for row in _scores(trial, asked, variants)]
    summary = make_summary(scores, prompts, seeds)
    worst = [row for trial in trials for row in _worst(trial, summary)]
    verdict = _verdict(summary)
    if champion is not None:
        held = _scores("champion@3/seed=0", asked, {"champion@3": champion})
        against, fought = duels(scores, held, config=ScoreConfig(resamples=500))
        summary |= {"champion": against, "duels": fought, "trials": trial_means(read_grid(scores))}
        scores, verdict = scores + held, asdict(judge(summary, gate or GateConfig()))
    painted = [(row["prompt"], row["prompt_id"], index) for row in asked for index in range(4) if champion]
    draw_folder(folder / "champion", painted, blur=champion[1] if champion else 0.0)
    write_json(folder / "summary.json", summary)
    write_json(folder / "verdict.json", verdict)
    write_table(folder / "scores.parquet", scores, score_schema())
    write_table(folder / "prompts.parquet", prompts, prompt_schema())
    write_table(folder / "worst.parquet", worst, worst_schema())
    draw_folder(folder / "photos", [(f"photo {index}", 0, index) for index in range(5)], blur=0.0)
    folders = {name: [folder / name / str(index) for index in range(len(trials))] for name in ("images", "worst")}
    for number, trial in enumerate(trials):
        ease = variants[trial.rpartition("/")[0]][1]
        wanted = [(row["prompt"], row["prompt_id"], index) for row in asked for index in range(4)]
        draw_folder(folders["images"][number], wanted, blur=ease)
        attacked = [(row["prompt"], row["clean_id"], index) for row in _worst(trial, summary) for index in range(3)]
        draw_folder(folders["worst"][number], attacked, blur=1.0)
    settings = {
        "data": {"instance_prompt": "a photo of sks backpack", "class_prompt": "a photo of a backpack"},
        "base_model": "builtin:miniature-sdxl", "variants": list(variants), "seeds": [float(seed) for seed in seeds],
        "train": {"method": "lora", "steps": 300.0, "learning_rate": 5e-4, "prior_preservation": True},
        "command": "aelif run quickstart --seeds 2", "digests": {"photos": "9f" * 32, "base_model": "c4" * 32},
        "versions": {"aelif": "0.1.0", "torch": "2.9.1"},
    }  # fmt: skip
    return Example(folder=folder, summary=summary, verdict=verdict, scores=scores, prompts=prompts, settings=settings,
                   trials=trials, image_folders=folders["images"], worst=worst,
                   worst_folders=folders["worst"], champion_folder=folder / "champion")  # fmt: skip


def _verdict(summary: dict[str, Any]) -> dict[str, Any]:
    rivals = {name: entry for name, entry in summary["variants"].items() if name != "baseline"}
    best = min(rivals, key=lambda name: rivals[name]["perturbed"]["value"], default=None)
    if best is None:
        return {"champion": "baseline", "passed": True, "reasons": ["Only the baseline was measured."]}
    return {"champion": best, "passed": True, "reasons": [f"{best} is better than the baseline on perturbed prompts."]}


def _scores(
    trial: str, prompts: Sequence[dict[str, Any]], variants: dict[str, tuple[float, float]]
) -> list[dict[str, Any]]:
    variant, _, seed = trial.rpartition("/seed=")
    clean, ease = variants[variant]
    generator = np.random.default_rng(int(seed) + 7 * len(variant))
    rows = []
    for prompt in prompts:
        hurt = _HURT.get(prompt["family"], 0.35 * prompt["severity"]) * (1 + 0.15 * min(prompt["clean_id"], 2))
        if variant == "aelif_mask:0.3" and prompt["family"] == "spacing":
            hurt *= 4  # one error that the champion takes worse
        w1 = clean + ease * hurt + generator.normal(0, 0.012)
        figures = {"w1": w1, "w2": w1 + 0.06, "sliced_w2": w1 / 2, "clip_t": 1.1 - w1, "clip_i": 1.4 - w1,
                   "diversity": 0.4 + 0.1 * ease, "vendi": 0.6 + 0.1 * ease}  # fmt: skip
        rows += [
            {key: prompt[key] for key in ("prompt_id", "clean_id", "prompt_set", "family", "severity", "prompt")}
            | {"variant": variant, "seed": int(seed), "metric": metric, "value": float(value), "num_images": 4}
            for metric, value in figures.items()
        ]
    return rows


def _worst(trial: str, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the worst edits of two clean prompts, one for each seed's taste."""
    variant, _, seed = trial.rpartition("/seed=")
    level = next(entry for entry in summary["variants"].values() if entry["variant"] == variant)["clean"]["value"]
    found = (
        (0, "a photo of sks backpack", "a photo of sks badpack", (17, "ck", "d")),
        (1, "a picture of sks backpack", "a picture of sk backpack", (15, "s", "")),
    )
    return [
        {"variant": variant, "seed": int(seed), "clean_id": clean_id, "clean_prompt": clean, "prompt": prompt,
         "edits": [{"kind": "attack", "start": start, "before": before, "after": after}],
         "character_error_rate": 1 / len(clean), "found_distance": level + 0.4,
         "distance": level + 0.3 + 0.01 * int(seed), "clean_distance": level, "tried": 40,
         "best_so_far": [level, level + 0.2, level + 0.4]}
        for clean_id, clean, prompt, (start, before, after) in found
    ]  # fmt: skip


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
