"""The end of a run: its results into MLflow, its chosen model into the registry, and what the gate decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from aelif.artifacts import read_table, score_schema
from aelif.config import GateConfig, TrackingConfig
from aelif.registry.candidate import Candidate, read_candidate
from aelif.registry.promote import (
    KEY,
    NONE,
    PASSED,
    REASONS,
    REJECTED,
    VERDICT,
    WAITING,
    challenge,
    champion,
    check_measured,
    number,
    promote,
    register_once,
    registered,
    reject,
    rolled_back_version,
)
from aelif.registry.results import Results, log_results, log_trial
from aelif.registry.retention import retain
from aelif.registry.runs import RUN_KEY, log_params, parent_run
from aelif.registry.servable import write_servable
from aelif.registry.spool import flush
from aelif.registry.store import PATIENCE_S, run_with_store
from aelif.registry.upload import upload_folder

__all__ = ["Outcome", "Results", "publish"]

OutcomeName = Literal["promoted", "waiting", "rejected", "kept", "rolled-back", "registered"]
_VERSION_VERDICT = {"promoted": PASSED, "waiting": WAITING, "registered": WAITING, "rejected": REJECTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a run's model."""

    model: str
    """Name of the registered model."""
    version: str
    """Its version: this run's, or the one that has the same weights already."""
    outcome: OutcomeName
    """``kept``: these weights are champion already; ``registered``: it waits, for a champion exists that this run did
    not measure."""
    reason: str
    """One sentence, with what to do next where something is to be done."""


def publish(
    tracking: Mapping[str, Any],
    run_key: str,
    *,
    results: Results,
    gate: GateConfig,
    settings: Mapping[str, Any],
    key: str,
    code_version: str,
    patience_s: float = PATIENCE_S,
) -> Outcome:
    """Log the results to the execution's run, register its model and do what the gate decided.

    It may be repeated after a crash at any point, and ends in the same state.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        results: what to log.
        gate: names the registered model, and how many versions are kept.
        settings: the run's configuration.
        key: digest of all that the run depended on, "" where nobody computed it.
        code_version: digest of the code, a tag of the model.
        patience_s: seconds to wait for a locked database or an absent server.

    Raises:
        TrackingError: if the store fails.
        RuntimeError: if another version has become champion since this run measured it; nothing moves.
        ValueError: if the results do not fit together.
    """

    def action(client: MlflowClient, config: TrackingConfig) -> Outcome:
        run = parent_run(client, config, run_key)
        rows = read_table(results.table, score_schema())
        log_results(client, run, results, rows)
        for name, folder in results.models.items():
            log_trial(client, run, run_key, name, folder, rows)
        candidate = read_candidate(
            results, rows, name=gate.model_name, settings=settings,
            tags={RUN_KEY: run_key, "recipe.digest": key, "code_version": code_version},
        )  # fmt: skip
        done = enter(client, run, candidate)
        for leftover in retain(client, gate.model_name, keep=gate.keep_versions).leftovers:
            print(f"Retention: {leftover}")
        held = number(champion(client, gate.model_name))
        close_lineage(client, run, candidate, done, key=key, held=held)
        return done

    flush(tracking, patience_s=patience_s)  # what steps could not tell comes before what is made of it
    return run_with_store(tracking, action, patience_s=patience_s)


def enter(client: MlflowClient, run: Run, candidate: Candidate) -> Outcome:
    """Register the candidate and act on its verdict, unless these weights are champion already or were rolled back.

    Raises:
        RuntimeError: if another version has become champion since the verdict fell.
    """
    name, weights, verdict = candidate.name, candidate.tags["weights.sha256"], candidate.verdict
    key = f"{candidate.tags[RUN_KEY]}:{weights}"
    held = champion(client, name)
    mine = held is not None and held.tags.get(KEY) == key  # an earlier attempt of this very step came that far
    if (
        held is not None
        and held.tags.get("weights.sha256") == weights
        and not (mine and verdict["action"] == "promote")
    ):
        reason = f"version {held.version} has these very weights, and stays champion"
        return Outcome(model=name, version=str(held.version), outcome="kept", reason=reason)
    if not mine and (back := rolled_back_version(client, name, weights=weights)) is not None:
        reason = f"these are the weights of version {back.version}, which was rolled back; it stays back"
        return Outcome(model=name, version=str(back.version), outcome="rolled-back", reason=reason)
    decision = decide(name, verdict, held=verdict["against"] if mine else number(held))
    version = register(client, run, candidate, key=key, verdict=_VERSION_VERDICT[decision])
    reasons, against = verdict["reasons"], verdict["against"]
    if decision == "promoted":
        promote(client, name, version, reasons=reasons, against=against)
    elif decision == "rejected":
        reject(client, name, version, reasons=reasons, against=against)
    else:
        challenge(client, name, version, reasons=reasons, against=against)
    reason = _next_step(name, str(version.version), decision, held=number(held), reasons=reasons)
    return Outcome(model=name, version=str(version.version), outcome=decision, reason=reason)


def decide(name: str, verdict: Mapping[str, Any], *, held: str | None) -> OutcomeName:
    """Return what becomes of a model that has this verdict, where version `held` is champion.

    Raises:
        RuntimeError: if it was measured against another.
    """
    if verdict["action"] == "refuse":
        return "rejected"
    if held is not None and verdict["against"] is None:
        return "registered"
    check_measured(name, held=held, against=verdict["against"])
    return "waiting" if verdict["action"] == "challenge" else "promoted"


def register(client: MlflowClient, run: Run, candidate: Candidate, *, key: str, verdict: str) -> ModelVersion:
    """Upload the model as one that MLflow can load, and return its version; a repetition returns the same.

    Args:
        client: of the store.
        run: the execution's run, which gets the files.
        candidate: what to register.
        key: identifies it.
        verdict: tag of the new version.
    """
    if found := registered(client, candidate.name, key=key):
        return found  # its files were there before it
    path = f"model/{candidate.tags['weights.sha256'][:16]}"
    with TemporaryDirectory(prefix="aelif-servable-") as scratch:
        folder = Path(scratch) / "model"
        write_servable(folder, trained=candidate.trained, base=candidate.base, synthesis=candidate.synthesis,
                       example_prompt=candidate.example_prompt)  # fmt: skip
        source = upload_folder(client, run.info.run_id, folder, path, kept=candidate.trained)
    tags = {**candidate.tags, VERDICT: verdict}
    return register_once(client, candidate.name, source, run_id=run.info.run_id, key=key, tags=tags,
                         description=candidate.description)  # fmt: skip


def close_lineage(
    client: MlflowClient, run: Run, candidate: Candidate, done: Outcome, *, key: str, held: str | None
) -> None:
    """Write the run's own lineage, and last of all its verdict: `close_by_status` reads that as the sign of its end."""
    after = {"model.version": f"{done.model}/{done.version}", "champion.after": held or NONE, "retrain.key": key}
    tags = {**candidate.tags, **after, REASONS: "; ".join((done.reason, *candidate.verdict["reasons"]))}
    log_params(client, run.info.run_id, {}, tags=tags)
    log_params(client, run.info.run_id, {}, tags={VERDICT: done.outcome})


def _next_step(name: str, version: str, decision: str, *, held: str | None, reasons: list[str]) -> str:
    """Return a sentence on what was done, and what a person may do now."""
    look = f"`aelif compare {name} champion {version}`"
    if decision == "registered":
        return (
            f"version {version} passes, but champion {held} was not measured beside it: `aelif run retrain` measures "
            f"both; or look at {look}, and decide with `aelif promote {name} {version} --force --reason …`"
        )
    if decision == "waiting":
        measured = f"look at {look}, and " if held else ""
        return f"version {version} passes, and waits: {measured}accept it with `aelif promote {name} {version}`"
    if decision == "rejected":
        return f"version {version} was refused: {reasons[0] if reasons else 'no reason was given'}"
    return f"version {version} is champion"
