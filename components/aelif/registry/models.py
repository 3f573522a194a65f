"""Registered models: what an address stands for, and its files."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from aelif.artifacts import digest_of, new_folder, read_json
from aelif.config import TrackingConfig
from aelif.registry.lineage import weights_digest
from aelif.registry.store import PATIENCE_S, TrackingError, database_file, run_with_store

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A registered model that was brought here."""

    trained: Path
    """Folder as training wrote it: weights and `aelif.json`."""
    base_uri: str
    """Pinned name of the base model that it was trained on; "" where the version does not say."""
    base_digest: str
    """Digest of that base model's files; "" likewise."""
    version: str
    """Number of the version, whatever alias it was asked by."""


def download_model(uri: str, destination: Path, *, tracking_uri: str = "", patience_s: float = PATIENCE_S) -> Path:
    """Download a registered model's trained weights and return `destination`: the folder as training wrote it.

    Args:
        uri: ``models:/name@alias`` or ``models:/name/version``.
        destination: the folder to write; it appears whole or not at all.
        tracking_uri: the store; "" takes ``MLFLOW_TRACKING_URI``.
        patience_s: seconds to wait for a locked database or an absent server.

    Raises:
        ValueError: if `uri` is malformed, names no model, or no store is known.
        TrackingError: if the store fails, the files are gone, or the weights are not those that were registered.
    """
    return open_registered(uri, destination, tracking_uri=tracking_uri, patience_s=patience_s).trained


def open_registered(
    uri: str, destination: Path, *, tracking_uri: str = "", patience_s: float = PATIENCE_S
) -> Registered:
    """Download as `download_model` does, and return also which version it is, and on which base model it stands."""
    store = _store(uri, tracking_uri)

    def action(client: MlflowClient, version: ModelVersion) -> Registered:
        facts = _download(version, destination, tracking_uri=store)
        tags = version.tags
        return Registered(
            trained=destination,
            base_uri=facts.get("base_uri") or tags.get("base.uri", ""),
            # Versions without the address have another digest in this tag, one over the folder.
            base_digest=facts.get("base_digest") or (tags.get("base.digest", "") if "base.uri" in tags else ""),
            version=str(version.version),
        )

    return _with_version(uri, store, action, patience_s=patience_s)


def registered_digest(uri: str, *, tracking_uri: str = "", patience_s: float = PATIENCE_S) -> str:
    """Return a digest that changes when the model does that `uri` names: another weight, or another base model.

    Raises:
        ValueError: as `download_model`.
        TrackingError: if the store fails.
    """

    def action(client: MlflowClient, version: ModelVersion) -> str:
        weights = version.tags.get("weights.sha256") or f"{version.name}/{version.version}"
        return digest_of([weights, version.tags.get("base.digest", "")])

    return _with_version(uri, _store(uri, tracking_uri), action, patience_s=patience_s)


# ── Addresses ──────────────────────────────────────────────────────────────────────────────────


def _store(uri: str, tracking_uri: str) -> str:
    """Return the address of the store.

    Raises:
        ValueError: if none is known, or it has no database.
    """
    _parse(uri)
    store = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not store:
        raise ValueError(f"model = {uri!r}: which MLflow? set MLFLOW_TRACKING_URI to its address")
    if (path := database_file(TrackingConfig(tracking_uri=store))) is not None and not path.exists():
        raise ValueError(f"model = {uri!r}: there is no MLflow database at {path}")
    return store


def _parse(uri: str) -> tuple[str, str, str]:
    """Return name, alias and version number, one of the latter "".

    Raises:
        ValueError: if it is no such address.
    """
    match = re.fullmatch(r"models:/([^/@:'\"`]+)(?:@([\w-]+)|/(\d+))", uri)
    if match is None:
        name = uri.removeprefix("models:/").partition("@")[0]
        slash = "; a registered name has no slash in it" if "/" in re.sub(r"/\d*$", "", name) else ""
        raise ValueError(f"model = {uri!r}: write models:/NAME@ALIAS or models:/NAME/VERSION{slash}")
    name, alias, number = match.groups(default="")
    return name, alias, number


def _with_version(
    uri: str, store: str, action: Callable[[MlflowClient, ModelVersion], Result], *, patience_s: float
) -> Result:
    """Return what `action` returns for the version that `uri` names; it bears repetition.

    Raises:
        ValueError: if there is no such version.
        TrackingError: if the store fails.
    """
    name, alias, number = _parse(uri)

    def find(client: MlflowClient, _config: TrackingConfig) -> Result:
        try:
            version = (
                client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
            )
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise ValueError(f"model = {uri!r}: {_what_there_is(client, name)}") from error
        return action(client, version)

    return run_with_store({"tracking_uri": store}, find, patience_s=patience_s)


def _what_there_is(client: MlflowClient, name: str) -> str:
    """Return what can be asked for instead."""
    models = [client.get_registered_model(model.name) for model in client.search_registered_models()]
    known = [f"models:/{model.name}@{alias}" for model in models for alias in sorted(model.aliases)]
    if known:
        return f"no such model; known: {', '.join(known)}"
    versions = sorted(client.search_model_versions(f"name = '{name}'"), key=lambda one: int(one.version))
    if versions:
        numbers = ", ".join(str(version.version) for version in versions)
        last = versions[-1].version
        return (f"no such model; {name} has no champion, but version {numbers}; "
                f"`aelif promote {name} {last}` makes one champion")  # fmt: skip
    return "no such model; none has been registered yet"


# ── Files ──────────────────────────────────────────────────────────────────────────────────────


def _download(version: ModelVersion, destination: Path, *, tracking_uri: str) -> dict[str, Any]:
    """Copy a version's trained model to `destination` and return its `serving.json`, {} of versions without one.

    Raises:
        TrackingError: if its files cannot be had, or the weights are not those that were registered.
    """
    source, name = str(version.source), f"models:/{version.name}/{version.version}"
    remedy = f"register it again, or return to another version: `aelif rollback {version.name} --expect VERSION`"
    destination.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(destination) as folder, tempfile.TemporaryDirectory(dir=destination.parent) as scratch:
        try:
            fetched = Path(download_artifacts(artifact_uri=source, dst_path=scratch, tracking_uri=tracking_uri))
            facts_file = fetched / "artifacts" / "serving.json"
            facts = read_json(facts_file) if facts_file.exists() else {}
            trained = fetched / "artifacts" / "trained" if (fetched / "MLmodel").exists() else fetched
            actual = weights_digest(trained)
        except (MlflowException, OSError, BotoCoreError, ClientError, ValueError) as error:
            if "database is locked" in str(error):
                raise  # to be repeated
            cause = str(error).strip().partition("\n")[0]
            raise TrackingError(f"{name}: its files cannot be read at {source} ({cause}); "
                                f"if they are gone, {remedy}") from error  # fmt: skip
        if (registered := version.tags.get("weights.sha256", actual)) != actual:
            raise TrackingError(f"{name}: weights at {source} have sha256 {actual}, registered was {registered}; "
                                f"{remedy}")  # fmt: skip
        for path in sorted(trained.iterdir()):
            path.replace(folder / path.name)
    return facts
