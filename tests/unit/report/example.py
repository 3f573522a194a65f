"""A made-up run in real files: drawn images, plausible scores, and the summary that follows from them."""

from __future__ import annotations

import dataclasses
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
from aelif.config import GateConfig, ScoreConfig
from aelif.gate.verdict import judge
from aelif.score.summary import summarize

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
    summary = make_summary(scores, seeds)
    verdict = dataclasses.asdict(judge(summary, GateConfig(model_name="example")))
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
        "data": {"instance_prompt": "a photo of sks backpack", "class_prompt": "a photo of a backpack"},
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
        if variant == "aelif_mask:0.3" and prompt["family"] == "spacing":
            ease = 2.2  # one error that the champion takes worse
        w1 = clean + ease * _HURT[prompt["family"]] * (1 + 0.15 * prompt["clean_id"]) + generator.normal(0, 0.018)
        figures = {
            "w1": w1,
            "w2": w1 + 0.06,
            "sliced_w2": w1 / 2,
            "clip_t": 1.1 - w1,
            "clip_i": 1.4 - w1,
            "diversity": 0.4 + 0.1 * ease,
        }
        rows += [
            {key: prompt[key] for key in ("prompt_id", "clean_id", "prompt_set", "family", "severity", "prompt")}
            | {"variant": variant, "seed": int(seed), "metric": metric, "value": float(value), "num_images": 4}
            for metric, value in figures.items()
        ]
    return rows


def make_summary(scores: list[dict[str, Any]], seeds: tuple[int, ...]) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    num_pairs = len(seeds) * (len(seeds) - 1) // 2
    return summarize(
        scores,
        reference_distances_N=generator.normal(0.51, 0.05, 5),
        seed_distances_KP=generator.normal(0.34, 0.02, (num_pairs, len(CLEAN_PROMPTS))),
        num_reference=5,
        config=ScoreConfig(resamples=500),
    )


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
