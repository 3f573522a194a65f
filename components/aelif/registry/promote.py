"""Champion and challenger in the model registry: register once, move the alias last, roll back.

MLflow has no compare-and-swap: nothing moves an alias only if it still stands where it was read.
So whoever moves it reads the champion again just before, looks again just after, and says so where
another has come between. Two promotions within those milliseconds can still cross; the last one
stays, measured against the version that both had read. Run one pipeline per model at a time
(`aelif schedule` does) and there is no such moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

CHAMPION = "champion"
"""The alias by which ``models:/NAME@champion`` is found."""
CHALLENGER = "challenger"
"""The alias of the version that waits for a person."""

KEY = "candidate.key"
VERDICT = "gate.verdict"
REASONS = "gate.reasons"
AGAINST = "gate.against"
REPLACED = "champion.replaced"
BEFORE = "champion.before"
"""Tag: those that were champion before, newest first; `champion.replaced` of a deleted version cannot be read."""
SINCE = "champion.since"
BY = {"approved": "approved.by", "forced": "forced.by", "rolled back": "rolled-back.by"}
"""What a person may do → the tag that says who did."""

PASSED, WAITING, REJECTED, ROLLED_BACK, FORCED = "passed", "waiting", "rejected", "rolled-back", "forced"
NONE = "none"
"""Value of `champion.replaced` and `gate.against` where there was no champion; a tag cannot be empty."""

DEPTH = 10
"""How many earlier champions a version remembers; retention keeps them all."""


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """Return the champion, or None where the model, the alias or its version does not exist."""
    return aliased(client, name, CHAMPION)


def aliased(client: MlflowClient, name: str, alias: str) -> ModelVersion | None:
    """Return the version of that alias, or None where there is none."""
    try:
        aliases = client.get_registered_model(name).aliases
        return client.get_model_version(name, str(aliases[alias])) if alias in aliases else None
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def number(version: ModelVersion | None) -> str | None:
    """Return a version's number; MLflow gives an int from a database, a text from a server."""
    return None if version is None else str(version.version)


def rolled_back_version(client: MlflowClient, name: str, *, weights: str) -> ModelVersion | None:
    """Return the version of these weights that a person has taken back, None where nobody has.

    A run repeated from caches trains the same weights again; it must not undo that decision.
    """
    found = client.search_model_versions(f"name = '{name}' and tags.`weights.sha256` = '{weights}'")
    back = [version for version in found if version.tags.get(VERDICT) == ROLLED_BACK]
    return max(back, key=lambda version: int(version.version), default=None)


def register_once(
    client: MlflowClient,
    name: str,
    source: str,
    *,
    run_id: str,
    key: str,
    tags: Mapping[str, str],
    description: str | None = None,
) -> ModelVersion:
    """Return the one version of this key, creating it on the first attempt.

    Args:
        client: of the registry.
        name: of the registered model.
        source: URI of the model's folder, within the run's artifacts.
        run_id: the run that made it.
        key: identifies the candidate; a repeated step brings the same one.
        tags: lineage, written in the creating call: no untagged version ever exists.
        description: Markdown that MLflow shows with the version.
    """
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if found := registered(client, name, key=key):
        return found
    mine = client.create_model_version(name, source, run_id=run_id, tags={**tags, KEY: key}, description=description)
    first = registered(client, name, key=key)
    if first is None or number(first) == number(mine):
        return mine
    client.delete_model_version(name, str(mine.version))  # two attempts raced: the lowest version stays
    return first


def registered(client: MlflowClient, name: str, *, key: str) -> ModelVersion | None:
    """Return the version of this key, None where there is none yet."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{KEY}` = '{key}'")
    return min(found, key=lambda version: int(version.version), default=None)


def promote(
    client: MlflowClient, name: str, candidate: ModelVersion, *, reasons: Sequence[str], against: str | None
) -> ModelVersion | None:
    """Make the candidate champion, if the verdict still holds; return who is champion afterwards.

    Safe to repeat after a crash at any point. The alias moves last: it is what readers see.

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
    candidate, current = client.get_model_version(name, version), champion(client, name)
    if candidate.tags.get(VERDICT) == ROLLED_BACK:
        return current
    if number(current) == version:
        _dismiss(client, name, version)
        return current
    check_measured(name, held=number(current), against=against)
    tags = {REASONS: _sentence(reasons), AGAINST: against or NONE, VERDICT: PASSED}
    return crown(client, name, candidate, replacing=current, tags=tags)


def check_measured(name: str, *, held: str | None, against: str | None) -> None:
    """Refuse a verdict that fell against another champion than the present one.

    Raises:
        RuntimeError: says which, and what to do.
    """
    if held != against:
        now = f"version {held} is champion" if held else "there is no champion"
        then = f"version {against}" if against else "no champion"
        raise RuntimeError(f"{name}: now {now}, the verdict fell against {then}; nothing was moved, run again")


def crown(
    client: MlflowClient, name: str, candidate: ModelVersion, *, replacing: ModelVersion | None, tags: Mapping[str, str]
) -> ModelVersion:
    """Tag the candidate and move the alias to it; return it.

    Args:
        client: of the registry.
        name: of the registered model.
        candidate: who becomes champion.
        replacing: who is.
        tags: why, and whose decision it is.

    Raises:
        RuntimeError: if another became champion meanwhile.
    """
    version, held = str(candidate.version), number(replacing)
    before = [held, *predecessors(replacing)] if replacing is not None and held else []
    earlier = [number_ for number_ in before if number_ != version][:DEPTH]
    lineage = {REPLACED: held or NONE, BEFORE: ", ".join(earlier) or NONE, SINCE: now()}
    for key, value in {**lineage, **tags}.items():
        client.set_model_version_tag(name, version, key, value)
    check_measured(name, held=number(champion(client, name)), against=held)
    client.set_registered_model_alias(name, CHAMPION, version)  # last: what readers see
    _dismiss(client, name, version)
    if (after := number(champion(client, name))) != version:
        raise RuntimeError(f"{name}: version {version} became champion, and at the same moment {after}; look at both")
    return client.get_model_version(name, version)


def challenge(
    client: MlflowClient, name: str, candidate: ModelVersion, *, reasons: Sequence[str], against: str | None
) -> None:
    """Let the candidate wait for a person, by the alias `challenger`; what a person decided on it stays."""
    version = str(candidate.version)
    if _is_settled(client, name, version):
        return
    for key, value in {REASONS: _sentence(reasons), AGAINST: against or NONE, VERDICT: WAITING}.items():
        client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, CHALLENGER, version)


def reject(
    client: MlflowClient, name: str, candidate: ModelVersion, *, reasons: Sequence[str], against: str | None
) -> None:
    """Record that the candidate did not pass; what a person decided on it stays."""
    version = str(candidate.version)
    if _is_settled(client, name, version):
        return
    for key, value in {REASONS: _sentence(reasons), AGAINST: against or NONE, VERDICT: REJECTED}.items():
        client.set_model_version_tag(name, version, key, value)


def rollback(client: MlflowClient, name: str, *, expect: str, by: str = "") -> ModelVersion:
    """Return the alias to the version that `expect` replaced; safe to repeat, after success as well.

    Where that version was deleted or rolled back itself, the one before it takes its place.

    Args:
        client: of the registry.
        name: of the registered model.
        expect: version that is champion now, so that nobody rolls back what they have not seen.
        by: who does it; "" records nobody.

    Raises:
        ValueError: if another version is champion, or there is none to return to.
    """
    current = champion(client, name)
    fallen = _existing(client, name, expect)
    target = None if fallen is None else _returnable(client, name, fallen)
    is_marked = fallen is not None and fallen.tags.get(VERDICT) == ROLLED_BACK
    if is_marked and target is not None and number(current) == number(target):
        return target  # done before
    if current is None or fallen is None or number(current) != expect:
        held = f"version {number(current)} is champion" if current else "there is no champion"
        raise ValueError(f"expect = {expect!r}: {held} of {name}; look at `aelif history {name}`")
    if target is None:
        raise ValueError(
            f"expect = {expect!r}: it is the first champion of {name}, or all before it are gone or rolled back; "
            f"promote another: `aelif promote {name} VERSION --force --reason …`"
        )
    if by:
        client.set_model_version_tag(name, expect, BY["rolled back"], by)
    client.set_model_version_tag(name, expect, VERDICT, ROLLED_BACK)
    client.set_model_version_tag(name, str(target.version), SINCE, now())
    if (held_now := number(champion(client, name))) not in (expect, number(target)):
        raise ValueError(f"expect = {expect!r}: version {held_now} became champion meanwhile; look again")
    client.set_registered_model_alias(name, CHAMPION, str(target.version))
    return client.get_model_version(name, str(target.version))


def predecessors(version: ModelVersion) -> list[str]:
    """Return the versions that were champion before this one was, newest first."""
    before = version.tags.get(BEFORE) or version.tags.get(REPLACED, NONE)
    return [] if before == NONE else before.split(", ")


def now() -> str:
    """Return the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _returnable(client: MlflowClient, name: str, fallen: ModelVersion) -> ModelVersion | None:
    """Return the latest earlier champion that exists and was not rolled back."""
    candidates = (_existing(client, name, earlier) for earlier in predecessors(fallen))
    return next((one for one in candidates if one is not None and one.tags.get(VERDICT) != ROLLED_BACK), None)


def _existing(client: MlflowClient, name: str, version: str) -> ModelVersion | None:
    try:
        return client.get_model_version(name, version)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _is_settled(client: MlflowClient, name: str, version: str) -> bool:
    """Tell whether a version is champion, or a person decided on it: a late retry must not undo that."""
    tags = client.get_model_version(name, version).tags
    return number(champion(client, name)) == version or any(tag in tags for tag in BY.values())


def _dismiss(client: MlflowClient, name: str, version: str) -> None:
    """Take the alias `challenger` from a version that is champion now."""
    if number(aliased(client, name, CHALLENGER)) == version:
        client.delete_registered_model_alias(name, CHALLENGER)


def _sentence(reasons: Sequence[str]) -> str:
    return "; ".join(reasons) or "none given"
