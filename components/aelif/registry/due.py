"""Whether a scheduled run has anything to do: new photos, new settings, or a champion that breaks a limit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from aelif.artifacts import digest_of
from aelif.config import GateConfig, TrackingConfig, from_dict
from aelif.gate.limits import broken_limits
from aelif.registry.promote import ROLLED_BACK, VERDICT, champion
from aelif.registry.runs import NOTE, RUN_KEY, log_params, parent_run
from aelif.registry.store import PATIENCE_S, run_with_store

RETRAIN_KEY = "retrain.key"
CHAMPION_AFTER = "champion.after"
MODEL_VERSION = "model.version"
UNCHANGED = "unchanged"
"""Value of ``gate.verdict`` on a run that had nothing to do."""

_WITHOUT_EFFECT = ("command", "git_sha", "versions", "digests", "num_shards", "pipeline", "cluster")
"""Settings that change no result; where photos lie changes none either: their digests count."""
_PLACES = ("instance_images", "reference_images")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a scheduled run starts from."""

    due: bool
    """Whether to retrain."""
    reason: str
    """Why, or why not: one sentence."""
    champion: str
    """Version of the champion, "" where there is none."""
    key: str
    """Digest of all that a retraining would depend on."""


def look_up(
    tracking: Mapping[str, Any],
    run_key: str,
    *,
    inputs: Mapping[str, str],
    settings: Mapping[str, Any],
    force: bool,
    patience_s: float = PATIENCE_S,
) -> Found:
    """Return the champion, and whether to retrain; a run with nothing to do says so in its tags.

    Nothing is to do where a finished run had the same inputs and settings, the champion is still
    the one that it left (or a person has rolled its model back since), and the champion's recorded
    figures keep the present limits.

    Args:
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        inputs: digests of photos, reference photos and base model.
        settings: the run's configuration.
        force: retrain in any case.
        patience_s: seconds to wait for a locked database or an absent server.

    Raises:
        TrackingError: if the store fails: without it, nobody knows the champion.
    """
    gate = from_dict(GateConfig, dict(settings["gate"]))
    key = retrain_key(inputs, settings)

    def action(client: MlflowClient, config: TrackingConfig) -> Found:
        run = parent_run(client, config, run_key)
        held = champion(client, gate.model_name)
        version = str(held.version) if held else ""
        why_not = "" if held is None or force else _nothing_new(client, run, held, key=key, gate=gate)
        reason = why_not or ("it was asked for" if force else "photos, settings or champion are new")
        log_params(client, run.info.run_id, {}, tags={RETRAIN_KEY: key})
        if why_not:
            tags = {
                "gate.reasons": why_not,
                NOTE: f"**Nothing to do:** {why_not}.",
                CHAMPION_AFTER: version,
                MODEL_VERSION: f"{gate.model_name}/{version}",
            }
            log_params(client, run.info.run_id, {}, tags=tags)
            log_params(client, run.info.run_id, {}, tags={VERDICT: UNCHANGED})  # last: the sign of a complete run
        return Found(due=not why_not, reason=reason, champion=version, key=key)

    return run_with_store(tracking, action, patience_s=patience_s)


def retrain_key(inputs: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Return the hex SHA-256 of all that a retraining depends on, wherever it lies."""
    kept = {name: _placeless(value) for name, value in settings.items() if name not in _WITHOUT_EFFECT}
    return digest_of({"inputs": dict(inputs), "settings": kept})


def _placeless(value: Any) -> Any:
    """Return a setting without places; JSON may have made floats of whole numbers."""
    if isinstance(value, Mapping):
        return {name: _placeless(item) for name, item in value.items() if name not in _PLACES}
    if isinstance(value, (list, tuple)):
        return [_placeless(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _nothing_new(client: MlflowClient, run: Run, held: ModelVersion, *, key: str, gate: GateConfig) -> str:
    """Return why there is nothing to do, "" where there is."""
    figures = json.loads(held.tags.get("gate.figures", "{}"))
    if broken_limits("champion", figures, gate):  # perhaps one that was drawn tighter since
        return ""
    query = f"tags.`{RETRAIN_KEY}` = '{key}' and attributes.status = 'FINISHED'"
    for earlier in client.search_runs([run.info.experiment_id], query, order_by=["attributes.start_time DESC"]):
        tags = earlier.data.tags
        if tags.get(VERDICT, UNCHANGED) == UNCHANGED or earlier.info.run_id == run.info.run_id:
            continue
        when = datetime.fromtimestamp(earlier.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        tried = f"the same photos and settings were tried on {when} (run {tags[RUN_KEY]})"
        if _was_rolled_back(client, tags.get(MODEL_VERSION, "")):
            return f"{tried}, and the model made of them was rolled back"
        if tags.get(CHAMPION_AFTER) == str(held.version):
            return f"{tried}: {tags[VERDICT]}; version {held.version} is champion and keeps the limits"
    return ""


def _was_rolled_back(client: MlflowClient, model_version: str) -> bool:
    """Tell whether ``NAME/VERSION`` was taken back by a person."""
    name, _, number = model_version.rpartition("/")
    found = client.search_model_versions(f"name = '{name}' and version_number = {number}") if name else []
    return any(version.tags.get(VERDICT) == ROLLED_BACK for version in found)
