"""Champion and challenger in the model registry: register once, move the alias last, roll back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

CHAMPION = "champion"
"""The alias by which ``models:/NAME@champion`` is found."""

KEY = "candidate.key"
VERDICT = "gate.verdict"
ROLLED_BACK = "rolled-back"


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """Return the champion, or None where the model or the alias does not exist yet."""
    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return client.get_model_version(name, str(aliases[CHAMPION])) if CHAMPION in aliases else None


def was_rolled_back(client: MlflowClient, name: str, *, weights: str) -> bool:
    """Tell whether a person has taken these weights back, in whichever version.

    A run repeated from caches trains the same weights again; it must not undo that decision.
    """
    found = client.search_model_versions(f"name = '{name}' and tags.`weights.sha256` = '{weights}'")
    return any(version.tags.get(VERDICT) == ROLLED_BACK for version in found)


def register_once(
    client: MlflowClient, name: str, source: str, *, run_id: str, key: str, tags: Mapping[str, str]
) -> ModelVersion:
    """Return the one version of this key, creating it on the first attempt.

    Args:
        client: of the registry.
        name: of the registered model.
        source: URI of the model's folder, within the run's artifacts.
        run_id: the run that made it.
        key: identifies the candidate; a repeated step brings the same one.
        tags: lineage, written in the creating call: no untagged version ever exists.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    query = f"name = '{name}' and tags.`{KEY}` = '{key}'"
    if found := client.search_model_versions(query):
        return min(found, key=lambda version: int(version.version))
    mine = client.create_model_version(name, source, run_id=run_id, tags={**tags, KEY: key})
    first = min(client.search_model_versions(query), key=lambda version: int(version.version))
    if int(first.version) != int(mine.version):  # two attempts raced: the lowest version stays
        client.delete_model_version(name, str(mine.version))
    return first


def promote(
    client: MlflowClient, name: str, candidate: ModelVersion, *, reasons: Sequence[str], against: str | None
) -> ModelVersion | None:
    """Make the candidate champion, if the verdict still holds; return who is champion afterwards.

    Safe to repeat after a crash at any point. The alias moves last: it is what readers see.
    MLflow has no compare-and-swap, so two promotions at the same moment can still cross: run
    one pipeline per model at a time.

    Args:
        client: of the registry.
        name: of the registered model.
        candidate: a version; one that a person rolled back stays back.
        reasons: why, written into its tags.
        against: version that was champion when the verdict fell, None where there was none.

    Raises:
        RuntimeError: if another version has become champion since.
    """
    version = str(candidate.version)
    candidate = client.get_model_version(name, version)
    current = champion(client, name)
    held = str(current.version) if current else None
    if candidate.tags.get(VERDICT) == ROLLED_BACK or held == version:
        return current
    if held != against:
        raise RuntimeError(f"{name}: champion is version {held}, the verdict fell against {against}; run again")
    client.set_model_version_tag(name, version, "gate.reasons", "; ".join(reasons) or "none given")
    client.set_model_version_tag(name, version, "champion.replaced", held or "none")
    client.set_model_version_tag(name, version, VERDICT, "passed")
    client.set_registered_model_alias(name, CHAMPION, version)
    return client.get_model_version(name, version)


def rollback(client: MlflowClient, name: str, *, expect: str) -> ModelVersion:
    """Return the alias to the version that `expect` replaced; safe to repeat after a crash.

    Args:
        client: of the registry.
        name: of the registered model.
        expect: version that is champion now, so that nobody rolls back what they have not seen.

    Raises:
        RuntimeError: if another version is champion, or `expect` is the first one.
    """
    current = champion(client, name)
    held = str(current.version) if current else None
    if current is None or held != expect:
        raise RuntimeError(f"{name}: champion is version {held}, not {expect}; look again")
    previous = current.tags.get("champion.replaced", "none")
    if previous == "none":
        raise RuntimeError(f"{name}: version {expect} is the first champion, there is none to return to")
    client.set_model_version_tag(name, expect, VERDICT, ROLLED_BACK)
    client.set_registered_model_alias(name, CHAMPION, previous)
    return client.get_model_version(name, previous)
