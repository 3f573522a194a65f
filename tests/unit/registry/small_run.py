"""The files that a small run leaves behind for the register step: a baseline and two mask trials."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from aelif.artifacts import (
    ImageRecord,
    image_name,
    prompt_schema,
    score_schema,
    write_image_records,
    write_json,
    write_table,
)
from aelif.config import Trial
from aelif.registry.lineage import weights_digest
from aelif.registry.results import Results

TRIALS = ("baseline/seed=0", "aelif_mask:0.3/seed=0", "aelif_mask:0.3/seed=1")
DISTANCES = {"baseline/seed=0": 1.0, "aelif_mask:0.3/seed=0": 0.9, "aelif_mask:0.3/seed=1": 0.8}
BEST = "aelif_mask:0.3/seed=1"
SETTINGS = {
    "train": {"steps": 300.0, "prior_preservation": True, "snr_gamma": 5.0},
    "seeds": [0.0, 1.0],
    "synthesis": {"steps": 2.0, "images_per_prompt": 2.0},
    "score": {"scorer": "builtin:miniature-clip"},
    "data": {"instance_prompt": "a photo of sks dog"},
}


def local_tracking(folder: Path) -> dict[str, str]:
    return {
        "tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
        "experiment": "aelif",
        "artifact_location": (folder / "files").as_uri(),
    }


def write_results(
    folder: Path,
    *,
    champion: str | None = "aelif_mask",
    action: str = "promote",
    against: str | None = None,
    trial: str = BEST,
    salt: float = 0.0,
) -> Results:
    """Write what the earlier steps of a run with one baseline and two mask trials leave behind."""
    photos, base = folder / "photos", folder / "base"
    photos.mkdir(parents=True)
    base.mkdir()
    Image.new("RGB", (8, 8), (200, 150, 0)).save(photos / "dog.png")
    write_image_records(photos, [ImageRecord(file_name="dog.png", text="a photo of sks dog")])
    write_json(photos / "manifest.json", {"digest": "d" * 64, "count": 5, "source": 's3://photos/dog "1"'})
    write_json(
        base / "source.json", {"uri": "builtin:miniature-sdxl", "family": "sdxl", "digest": "b" * 64, "files": {}}
    )
    write_json(folder / "summary", SUMMARY)
    action = action if champion else "refuse"
    reasons = ("nothing keeps the limits",) if action == "refuse" else ("it is better",)
    verdict = {"champion": champion, "passed": action != "refuse", "reasons": reasons}
    write_json(folder / "verdict", {**verdict, "trial": trial, "action": action, "against": against})
    write_table(folder / "table", score_rows(), score_schema())
    write_table(folder / "prompts", prompt_rows(), prompt_schema())
    (folder / "page").write_text("<!doctype html><title>Bericht – 🐕</title>")
    models, images = {}, {}
    for number, name in enumerate(TRIALS):
        models[name], images[name] = folder / f"model-{number}", folder / f"images-{number}"
        write_model(models[name], trial=name, value=number + salt)
        write_images(images[name], shade=40 * number)
    return Results(
        summary=folder / "summary",
        verdict=folder / "verdict",
        table=folder / "table",
        prompts=folder / "prompts",
        page=folder / "page",
        photos=photos,
        base=base,
        models=models,
        images=images,
    )


def write_model(folder: Path, *, trial: str = BEST, value: float) -> None:
    folder.mkdir(parents=True)
    save_file({"w": np.full(8, value, np.float32)}, folder / "pytorch_lora_weights.safetensors")
    losses = [{"step": 10, "loss": 0.5 + value}, {"step": 20, "loss": 0.25}]
    parsed = Trial.parse(trial)
    card = {"base": "b" * 64, "losses": losses, "weights_sha256": weights_digest(folder), "image_size": 64,
            "variant": str(parsed.variant), "seed": parsed.seed}  # fmt: skip
    (folder / "aelif.json").write_text(json.dumps(card))


def write_images(folder: Path, *, shade: int) -> None:
    folder.mkdir()
    records = []
    for row in prompt_rows():
        name = image_name(row["prompt_id"], 0)
        Image.new("RGB", (8, 8), (shade, 0, 10 * row["prompt_id"])).save(folder / name)
        records.append(ImageRecord(file_name=name, text=row["prompt"], prompt_id=row["prompt_id"], image_index=0))
    write_image_records(folder, records)


def prompt_rows() -> list[dict]:
    rows = []
    for prompt_id, prompt_set in enumerate(("clean", "perturbed", "perturbed")):
        clean = prompt_set == "clean"
        rows.append(
            {
                "prompt_id": prompt_id,
                "clean_id": 0,
                "prompt": f"prompt {prompt_id}",
                "clean_prompt": "prompt 0",
                "prompt_set": prompt_set,
                "family": "clean" if clean else "paper",
                "severity": 0.0 if clean else 0.1,
                "draw": 0,
                "character_error_rate": 0.0,
                "tokens_changed": 0,
                "embedding_cosine": 1.0,
                "embedding_shift": 0.0,
                "reason": "",
                "edits": [],
            }
        )
    return rows


def score_rows() -> list[dict]:
    rows = []
    for trial, distance in DISTANCES.items():
        parsed = Trial.parse(trial)
        for prompt_id, (prompt_set, value) in enumerate([("clean", 0.5), ("perturbed", distance), ("perturbed", 0.5)]):
            rows.append(
                {
                    "variant": str(parsed.variant),
                    "seed": parsed.seed,
                    "prompt_id": prompt_id,
                    "clean_id": 0,
                    "prompt_set": prompt_set,
                    "family": "clean" if prompt_set == "clean" else "paper",
                    "severity": 0.1,
                    "prompt": f"prompt {prompt_id}",
                    "metric": "w1",
                    "value": value,
                    "num_images": 4,
                }
            )
    return rows


def interval(value: float | None) -> dict[str, float | None]:
    return {
        "value": value,
        "low": None if value is None else value - 0.1,
        "high": None if value is None else value + 0.1,
    }


SUMMARY = {
    "schema": 2,
    "champion": None,
    "duels": {},
    "variants": {
        "baseline": {"variant": "baseline", "clean": interval(0.5), "perturbed": interval(1.0)},
        "aelif_mask": {
            "variant": "aelif_mask:0.3",
            "clean": interval(0.5),
            "perturbed": interval(0.85),
            "improvement_plain": interval(0.15),
            "improvement_excess": interval(None),
            "families": {"paper": {"distance": interval(0.9)}},
        },
    },
    "noise_floor": interval(0.3),
    "seed_floor": interval(None),
    "seeds": [0, 1],
    "notes": ["something"],
}
