"""A run's results in MLflow: metrics, data sets, tables, images, report; a repetition overwrites them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Run
from PIL import Image

from aelif.artifacts import read_json
from aelif.config import Trial
from aelif.registry.lineage import evaluation_digest, model_tags, summary_metrics, trial_metrics
from aelif.registry.runs import child_run, log_params


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Files and folders that the earlier steps wrote."""

    summary: Path
    """`summary.json`."""
    verdict: Path
    """The gate's ``{"champion", "passed", "reasons"}``."""
    table: Path
    """`scores.parquet`."""
    prompts: Path
    """`prompts.parquet`."""
    page: Path
    """The HTML report."""
    photos: Path
    """The prepared photos, with `manifest.json`."""
    base: Path
    """The resolved base model, with `source.json`."""
    models: Mapping[str, Path]
    """Trial → model folder."""
    images: Mapping[str, Path]
    """Trial → image folder."""


def log_results(client: MlflowClient, run: Run, results: Results, rows: list[dict[str, Any]]) -> None:
    """Log metrics, the data set and the files, under names that a repetition overwrites."""
    run_id = run.info.run_id
    log_metrics(client, run, {(name, 0): value for name, value in summary_metrics(read_json(results.summary)).items()})
    manifest = read_json(results.photos / "manifest.json")
    dataset = Dataset(
        name=Path(str(manifest["source"])).name or "photos",
        digest=manifest["digest"][:32],  # MLflow takes 36 characters; the whole one is a tag
        source_type="uri",
        source=json.dumps({"uri": manifest["source"]}),
        profile=json.dumps({"num_images": manifest["count"]}),
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    tags = {"dataset.digest": manifest["digest"], "eval.digest": evaluation_digest(rows)}
    log_params(client, run_id, {}, tags=tags)
    with tempfile.TemporaryDirectory() as folder:
        for source, name in (
            (results.summary, "summary.json"),
            (results.verdict, "verdict.json"),
            (results.table, "scores.parquet"),
            (results.page, "report.html"),
        ):
            shutil.copyfile(source, Path(folder) / name)
        client.log_artifacts(run_id, folder)


def log_trial(
    client: MlflowClient, parent: Run, run_key: str, trial: str, folder: Path, rows: list[dict[str, Any]]
) -> None:
    """Log one trial's scores and training losses to its own run, and end that."""
    run, parsed, card = child_run(client, parent, run_key, trial), Trial.parse(trial), read_card(folder)
    metrics = {(name, 0): value for name, value in trial_metrics(rows, parsed).items()}
    metrics |= {("train/loss", int(entry["step"])): float(entry["loss"]) for entry in card.get("losses", [])}
    log_metrics(client, run, metrics)
    log_params(client, run.info.run_id, {}, tags=model_tags(folder, card, trial=parsed))
    log_validation(client, run, folder / "validation")
    if run.info.status == "RUNNING":
        client.set_terminated(run.info.run_id)


def log_validation(client: MlflowClient, run: Run, folder: Path) -> None:
    """Log the images that training painted on its way, `step-000100/NAME.png`, as a chart over the steps.

    MLflow gives every image a new name; those that the run has already are left alone.
    """
    logged = {image.path for image in client.list_artifacts(run.info.run_id, "images")}
    for path in sorted(folder.glob("step-*/*.png")):
        step = int(path.parent.name.removeprefix("step-"))
        if not any(name.startswith(f"images/validation~{path.stem}+step+{step}+") for name in logged):
            with Image.open(path) as image:
                client.log_image(run.info.run_id, image, key=f"validation/{path.stem}", step=step)


def log_metrics(client: MlflowClient, run: Run, metrics: Mapping[tuple[str, int], float]) -> None:
    """Log (name, step) → value, by the thousand that one request may hold.

    All carry the time at which the run began: MLflow drops a metric that it has, and keeps both
    of two that differ in time alone.
    """
    entries = [Metric(name, value, run.info.start_time, step) for (name, step), value in metrics.items()]
    for start in range(0, len(entries), 1000):
        client.log_batch(run.info.run_id, metrics=entries[start : start + 1000])


def read_card(folder: Path) -> dict[str, Any]:
    """Return a model folder's `aelif.json`, {} where it has none."""
    path = folder / "aelif.json"
    return read_json(path) if path.exists() else {}
