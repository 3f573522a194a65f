"""The end of a run: its results into MLflow, and its best model into the registry."""

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

from aelif import __version__
from aelif.artifacts import read_json, read_table, score_schema
from aelif.config import GateConfig, TrackingConfig, Trial
from aelif.registry.lineage import (
    best_trial,
    evaluation_digest,
    model_tags,
    summary_metrics,
    trial_metrics,
)
from aelif.registry.promote import VERDICT, champion, promote, register_once, was_rolled_back
from aelif.registry.runs import RUN_KEY, child_run, log_params, parent_run
from aelif.registry.store import PATIENCE_S, run_with_store


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Files and folders that the earlier steps wrote."""

    summary: Path
    """`summary.json`."""
    verdict: Path
    """The gate's ``{"champion", "passed", "reasons"}``."""
    table: Path
    """`scores.parquet`."""
    page: Path
    """The HTML report."""
    photos: Path
    """The prepared photos, with `manifest.json`."""
    models: Mapping[str, Path]
    """Trial → model folder."""


def publish(
    tracking: Mapping[str, Any],
    run_key: str,
    *,
    results: Results,
    gate: GateConfig,
    code_version: str,
    patience_s: float = PATIENCE_S,
) -> str:
    """Log the results to the execution's run and make its best model champion; repeating it changes nothing.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        results: what to log.
        gate: names the registered model.
        code_version: digest of the code, a tag of the model.
        patience_s: seconds to wait for a locked database or an absent server.

    Returns:
        The champion's version as ``NAME/VERSION``, "" where no model of this run is champion.

    Raises:
        TrackingError: if the store fails.
        ValueError: if the results do not fit together.
    """

    def action(client: MlflowClient, config: TrackingConfig) -> str:
        run = parent_run(client, config, run_key)
        rows, verdict = read_table(results.table, score_schema()), read_json(results.verdict)
        log_results(client, run, results, rows)
        for name, folder in results.models.items():
            log_trial(client, run, run_key, name, folder, rows)
        outcome, version = "rejected", ""
        if verdict["passed"] and verdict["champion"] is not None:
            trial = best_trial(verdict["champion"], map(Trial.parse, results.models), rows)
            folder = results.models[str(trial)]
            tags = {**model_tags(folder, read_card(folder), trial=trial), RUN_KEY: run_key}
            tags |= {"code_version": code_version, "aelif.version": __version__}
            outcome, version = crown(client, run, gate.model_name, folder, tags=tags, reasons=verdict["reasons"])
        tags = {"gate.reasons": "; ".join(verdict["reasons"]), "model.version": version}
        log_params(client, run.info.run_id, {}, tags=tags)
        # Last, and alone: `close_by_status` takes it for the sign of a complete run.
        log_params(client, run.info.run_id, {}, tags={VERDICT: outcome})
        return version

    return run_with_store(tracking, action, patience_s=patience_s)


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


def crown(
    client: MlflowClient, run: Run, name: str, folder: Path, *, tags: Mapping[str, str], reasons: list[str]
) -> tuple[str, str]:
    """Upload, register and promote a model; return the outcome and ``NAME/VERSION``.

    The outcome is ``"passed"``, or ``"rolled-back"`` where a person has taken these very weights
    back. Weights that are champion already stay what they are.

    Args:
        client: of the store.
        run: the execution's run, which gets the files.
        name: of the registered model.
        folder: the model.
        tags: lineage, with ``weights.sha256`` and the run key; the run's own is added.
        reasons: the gate's.
    """
    weights = tags["weights.sha256"]
    current = champion(client, name)
    if current is not None and current.tags.get("weights.sha256") == weights:
        return "passed", f"{name}/{current.version}"
    if was_rolled_back(client, name, weights=weights):
        return "rolled-back", ""
    path = f"model/{weights[:16]}"
    client.log_artifacts(run.info.run_id, str(folder), path)
    own = client.get_run(run.info.run_id).data.tags
    lineage: dict[str, str] = {key: own[key] for key in ("git.sha", "dataset.digest", "eval.digest") if key in own}
    version = register_once(
        client,
        name,
        f"{str(run.info.artifact_uri).rstrip('/')}/{path}",
        run_id=run.info.run_id,
        key=f"{tags[RUN_KEY]}:{weights}",
        tags={key: value for key, value in {**lineage, **tags}.items() if value},
    )
    promote(client, name, version, reasons=reasons, against=str(current.version) if current else None)
    return "passed", f"{name}/{version.version}"


def read_card(folder: Path) -> dict[str, Any]:
    """Return a model folder's `aelif.json`, {} where it has none."""
    path = folder / "aelif.json"
    return read_json(path) if path.exists() else {}
