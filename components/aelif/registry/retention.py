"""Which versions of a model go: the old ones that nobody uses, may return to, waits for or builds on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from aelif.registry.promote import CHAMPION, KEY, VERDICT, WAITING, predecessors

_REFUSALS = (MlflowException, Boto3Error, BotoCoreError, ClientError, OSError)
"""What stores raise where files cannot be deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retained:
    """What retention did."""

    deleted: tuple[str, ...]
    """Versions, oldest first."""
    leftovers: tuple[str, ...]
    """Sentences on files of deleted versions that could not be deleted."""


def retain(client: MlflowClient, name: str, *, keep: int) -> Retained:
    """Delete what `disposable` names: version by version, then its files, unless another version shares them.

    The aliases are read again before each deletion. What another process deleted already is no error.

    Args:
        client: of the registry.
        name: of the registered model.
        keep: how many of the newest versions stay in any case.
    """
    everything = client.search_model_versions()
    versions = [version for version in everything if version.name == name]
    deleted, leftovers = [], []
    for version in disposable(versions, aliases=_aliases(client, name), keep=keep, others=everything):
        number = str(version.version)
        if number in _aliases(client, name).values() or _is_at_work(client, version):
            continue
        if not _delete(client, name, number):
            continue
        deleted.append(number)
        if not any(other.source == version.source for other in client.search_model_versions()):
            leftovers += _delete_files(client, version)
    return Retained(deleted=tuple(deleted), leftovers=tuple(leftovers))


def disposable(
    versions: Iterable[ModelVersion], *, aliases: Mapping[str, str], keep: int, others: Iterable[ModelVersion] = ()
) -> list[ModelVersion]:
    """Return the versions that nobody needs, oldest first: a pure function.

    Needed are the newest `keep`, whatever has an alias, whoever was champion before the champion,
    whatever waits for a person, what another model was made from, and what aelif did not register.

    Args:
        versions: all versions of one model.
        aliases: alias → version.
        keep: at least 1.
        others: versions of any model, whose ``base.uri`` may refer to these.
    """
    ordered = sorted(versions, key=lambda version: int(version.version))
    needed = {str(version.version) for version in ordered[-keep:]} | set(aliases.values())
    for version in ordered:
        own = str(version.version)
        if own == aliases.get(CHAMPION):
            needed.update(predecessors(version))
        if version.tags.get(VERDICT) == WAITING or KEY not in version.tags or version.status != "READY":
            needed.add(own)
    for other in [*others, *ordered]:
        match = re.fullmatch(r"models:/([^/@]+)/(\d+)", other.tags.get("base.uri", ""))
        if match and ordered and match[1] == ordered[0].name:
            needed.add(match[2])
    return [version for version in ordered if str(version.version) not in needed]


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    aliases: Mapping[str, Any] = client.get_registered_model(name).aliases
    return {alias: str(version) for alias, version in aliases.items()}


def _is_at_work(client: MlflowClient, version: ModelVersion) -> bool:
    """Tell whether the run that registered a version still runs: it may be about to promote it."""
    try:
        return version.run_id is not None and client.get_run(version.run_id).info.status == "RUNNING"
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _delete(client: MlflowClient, name: str, number: str) -> bool:
    """Delete a version; return whether it was still there."""
    try:
        client.delete_model_version(name, number)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _delete_files(client: MlflowClient, version: ModelVersion) -> list[str]:
    """Delete a version's files, if they lie where `publish` puts them; return what could not be deleted."""
    if version.run_id is None:
        return []
    try:
        root = str(client.get_run(version.run_id).info.artifact_uri).rstrip("/")
        path = str(version.source).removeprefix(f"{root}/")
        if re.fullmatch(r"model/[0-9a-f]{16}", path):
            get_artifact_repository(root, tracking_uri=client.tracking_uri).delete_artifacts(path)
    except _REFUSALS as error:
        cause = str(error).partition("\n")[0]
        return [f"version {version.version} was deleted, but not its files in {version.source}: {cause}"]
    return []
