"""Registered models: what an address stands for, and its files."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from aelif.artifacts import new_folder
from aelif.config import TrackingConfig
from aelif.registry.lineage import weights_digest
from aelif.registry.store import PATIENCE_S, TrackingError, database_file, run_with_store


def download_model(uri: str, destination: Path, *, tracking_uri: str = "", patience_s: float = PATIENCE_S) -> Path:
    """Download a registered model's folder and return `destination`.

    Args:
        uri: ``models:/name@alias`` or ``models:/name/version``.
        destination: the folder to write; it appears whole or not at all.
        tracking_uri: the store; "" takes ``MLFLOW_TRACKING_URI``.
        patience_s: seconds to wait for a locked database or an absent server.

    Raises:
        ValueError: if `uri` is malformed, names no model, or no store is known.
        TrackingError: if the store fails, or the weights are not those that were registered.
    """
    match = re.fullmatch(r"models:/([^/@:'\"`]+)(?:@([\w-]+)|/(\d+))", uri)
    if match is None:
        raise ValueError(f"model = {uri!r}: write models:/NAME@ALIAS or models:/NAME/VERSION")
    store = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not store:
        raise ValueError(f"model = {uri!r}: which MLflow? set MLFLOW_TRACKING_URI to its address")
    config = TrackingConfig(tracking_uri=store)
    if (path := database_file(config)) is not None and not path.exists():
        raise ValueError(f"model = {uri!r}: there is no MLflow database at {path}")
    name, alias, number = match.groups()

    def action(client: MlflowClient, _config: TrackingConfig) -> Path:
        try:
            version = (
                client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
            )
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise ValueError(f"model = {uri!r}: {_known_models(client)}") from error
        _download(str(version.source), destination, tracking_uri=store, weights=version.tags.get("weights.sha256", ""))
        return destination

    return run_with_store({"tracking_uri": store}, action, patience_s=patience_s)


def _known_models(client: MlflowClient) -> str:
    """Return what can be asked for."""
    models = [client.get_registered_model(model.name) for model in client.search_registered_models()]
    known = [f"models:/{model.name}@{alias}" for model in models for alias in sorted(model.aliases)]
    return f"no such model; known: {', '.join(known)}" if known else "no such model; none has been registered yet"


def _download(source: str, destination: Path, *, tracking_uri: str, weights: str) -> None:
    """Copy a model's files below `destination` and compare the weights with their registered digest."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(destination) as folder, tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        fetched = Path(download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=tracking_uri))
        for path in sorted(fetched.iterdir()):
            path.replace(folder / path.name)
        if weights and (actual := weights_digest(folder)) != weights:
            raise TrackingError(
                f"{source}: weights have sha256 {actual}, registered was {weights}; register them again"
            )
