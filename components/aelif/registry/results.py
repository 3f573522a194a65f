"""A run's results in MLflow: metrics, data sets, tables, images, report; a repetition overwrites them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from PIL import Image

from aelif.artifacts import prompt_schema, read_json, read_table
from aelif.config import Trial
from aelif.registry.grids import photo_rows, sheet_name, trial_rows, write_sheet
from aelif.registry.inputs import photo_input, prompt_input, write_perturbations
from aelif.registry.lineage import duel_metrics, evaluation_digest, model_tags, summary_metrics, trial_metrics
from aelif.registry.runs import RUN_KEY, child_run, log_params
from aelif.registry.upload import upload_folder

GRIDS = "grids"
"""Folder of the contact sheets among a run's artifacts."""
_MOUNTS = {"/minio/": "minio://", "/s3/": "s3://", "/gcs/": "gs://"}
"""Where Kubeflow shows object stores to a step → how they are called elsewhere."""


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
    reference: Path | None = None
    """The prepared reference photos where they are others than the training photos."""


def log_results(client: MlflowClient, run: Run, results: Results, rows: list[dict[str, Any]]) -> None:
    """Log metrics, data sets, tables, images and the report, under names that a repetition overwrites.

    Args:
        client: of the store.
        run: the execution's.
        results: what the earlier steps wrote.
        rows: of `results.table`.

    Raises:
        TrackingError: if the artifact store refuses.
    """
    run_id, summary = run.info.run_id, read_json(results.summary)
    prompts = read_table(results.prompts, prompt_schema())
    log_metrics(client, run, {(name, 0): value for name, value in summary_metrics(summary).items()})
    uri = f"{str(run.info.artifact_uri).rstrip('/')}/prompts.parquet"
    inputs = [photo_input(results.photos, context="training"), prompt_input(prompts, evaluation_digest(rows), uri=uri)]
    inputs += [photo_input(results.reference, context="reference")] if results.reference else []
    client.log_inputs(run_id, inputs)
    tags = _lineage(results, rows)
    log_params(client, run_id, {}, tags=tags)
    own = {str(name): str(value) for name, value in run.data.tags.items() if name in ("git.sha", "code_version")}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_files(folder, results, prompts)
        upload_folder(client, run_id, folder, "", kept=results.page.parent)
    for trial, model in results.models.items():
        child = child_run(client, run, run.data.tags.get(RUN_KEY, ""), trial)
        log_params(client, child.info.run_id, {}, tags={**own, **tags, "model.folder": public_uri(model)})
        log_metrics(client, child, {(name, 0): value for name, value in duel_metrics(summary, trial).items()})
        _log_sheet(client, child, trial, results.images.get(trial), prompts)


def _lineage(results: Results, rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the tags that all runs of the execution share."""
    source = read_json(results.base / "source.json")
    return {
        "dataset.digest": read_json(results.photos / "manifest.json")["digest"],
        "eval.digest": evaluation_digest(rows),
        "base.uri": str(source.get("uri", "")),
        "base.digest": str(source.get("digest", "")),
        "image.digest": os.environ.get("AELIF_IMAGE_DIGEST", ""),
    }


def _write_files(folder: Path, results: Results, prompts: list[dict[str, Any]]) -> None:
    """Lay out what the execution's run gets."""
    for source, name in (
        (results.summary, "summary.json"),
        (results.verdict, "verdict.json"),
        (results.table, "scores.parquet"),
        (results.prompts, "prompts.parquet"),
        (results.page, "report.html"),
    ):
        shutil.copyfile(source, folder / name)
    write_perturbations(folder / "perturbations.csv", prompts)
    grids = folder / GRIDS
    grids.mkdir()
    for name, photos in (("photos", results.photos), ("reference", results.reference)):
        if photos is not None and (tiles := photo_rows(photos)):
            write_sheet(grids / f"{name}.png", tiles, title=f"{name.capitalize()} of the subject, as prepared")
    for trial, images in results.images.items():
        if pictures := trial_rows(images, prompts):
            write_sheet(grids / sheet_name(trial), pictures, title=_title(trial))


def _log_sheet(client: MlflowClient, run: Run, trial: str, images: Path | None, prompts: list[dict[str, Any]]) -> None:
    """Give a trial's run the contact sheet of its images."""
    if images is None or not (pictures := trial_rows(images, prompts)):
        return
    with tempfile.TemporaryDirectory() as scratch:
        write_sheet(Path(scratch) / sheet_name(trial), pictures, title=_title(trial))
        upload_folder(client, run.info.run_id, Path(scratch), GRIDS, kept=images)


def _title(trial: str) -> str:
    parsed = Trial.parse(trial)
    return f"{parsed.variant}, seed {parsed.seed}: the clean prompt, then what people make of it"


def public_uri(path: Path) -> str:
    """Return an artifact's address as it is known outside the step."""
    for mount, scheme in _MOUNTS.items():
        if str(path).startswith(mount):
            return scheme + str(path).removeprefix(mount)
    return str(path)


def log_trial(
    client: MlflowClient, parent: Run, run_key: str, trial: str, folder: Path, rows: list[dict[str, Any]]
) -> None:
    """Log one trial's scores, and training losses that it does not have, to its own run, and end that.

    Args:
        client: of the store.
        parent: the execution's run.
        run_key: names the execution.
        trial: such as ``"aelif_mask:0.3/seed=0"``.
        folder: the trained model; of a training that was reused, its losses were never told live.
        rows: of all trials.
    """
    run, parsed, card = child_run(client, parent, run_key, trial), Trial.parse(trial), read_card(folder)
    metrics = {(name, 0): value for name, value in trial_metrics(rows, parsed).items()}
    live = "train/loss" in run.data.metrics
    told = {point.step for point in client.get_metric_history(run.info.run_id, "train/loss")} if live else set()
    losses = {int(entry["step"]): float(entry["loss"]) for entry in card.get("losses", [])}
    metrics |= {("train/loss", step): loss for step, loss in losses.items() if step not in told}
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
