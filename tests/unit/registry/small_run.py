"""The files that a small run leaves behind for the register step: a baseline and two mask trials."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from aelif.artifacts import score_schema, write_json, write_table
from aelif.config import Trial
from aelif.registry.lineage import weights_digest
from aelif.registry.publish import Results

TRIALS = ("baseline/seed=0", "aelif_mask:0.3/seed=0", "aelif_mask:0.3/seed=1")
DISTANCES = {"baseline/seed=0": 1.0, "aelif_mask:0.3/seed=0": 0.9, "aelif_mask:0.3/seed=1": 0.8}
SETTINGS = {"train": {"steps": 300.0, "prior_preservation": True, "snr_gamma": 5.0}, "seeds": [0.0, 1.0]}


def local_tracking(folder: Path) -> dict[str, str]:
    return {
        "tracking_uri": f"sqlite:///{folder / 'mlflow.db'}",
        "experiment": "aelif",
        "artifact_location": (folder / "files").as_uri(),
    }


def write_results(folder: Path, *, champion: str | None = "aelif_mask", salt: float = 0.0) -> Results:
    """Write what the earlier steps of a run with one baseline and two mask trials leave behind."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    write_json(photos / "manifest.json", {"digest": "d" * 64, "count": 5, "source": 's3://photos/dog "1"'})
    write_json(folder / "summary", SUMMARY)
    reasons = ("it is better",) if champion else ("nothing keeps the limits",)
    write_json(folder / "verdict", {"champion": champion, "passed": champion is not None, "reasons": reasons})
    write_table(folder / "table", score_rows(), score_schema())
    (folder / "page").write_text("<!doctype html><title>Bericht – 🐕</title>")
    models = {}
    for number, trial in enumerate(TRIALS):
        models[trial] = folder / f"model-{number}"
        write_model(models[trial], value=number + salt)
    return Results(
        summary=folder / "summary",
        verdict=folder / "verdict",
        table=folder / "table",
        page=folder / "page",
        photos=photos,
        models=models,
    )


def write_model(folder: Path, *, value: float) -> None:
    folder.mkdir(parents=True)
    save_file({"w": np.full(8, value, np.float32)}, folder / "pytorch_lora_weights.safetensors")
    losses = [{"step": 10, "loss": 0.5 + value}, {"step": 20, "loss": 0.25}]
    card = {"base": "b" * 64, "losses": losses, "weights_sha256": weights_digest(folder)}
    (folder / "aelif.json").write_text(json.dumps(card))


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
    "schema": 1,
    "variants": {
        "baseline": {"clean": interval(0.5), "perturbed": interval(1.0)},
        "aelif_mask": {
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
