"""The end of a run: its results into MLflow, and its best model into the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from aelif import __version__
from aelif.artifacts import read_json, read_table, score_schema
from aelif.config import GateConfig, TrackingConfig, Trial
from aelif.registry.lineage import (
    best_trial,
    model_tags,
)
from aelif.registry.promote import VERDICT, champion, promote, register_once, was_rolled_back
from aelif.registry.runs import RUN_KEY, log_params, parent_run
from aelif.registry.store import PATIENCE_S, run_with_store


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
