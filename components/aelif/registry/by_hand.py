"""Promotion by a person: of what waits or passed, or by force, with name and reason on record."""

from __future__ import annotations

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from aelif.config import require
from aelif.registry.addresses import find_version
from aelif.registry.promote import (
    AGAINST,
    BY,
    FORCED,
    NONE,
    PASSED,
    REASONS,
    VERDICT,
    WAITING,
    champion,
    crown,
    number,
    promote,
)


def promote_by_hand(
    client: MlflowClient, name: str, version: str, *, by: str, force: bool = False, reason: str = ""
) -> ModelVersion:
    """Make a version champion on a person's word and return it; safe to repeat, and then nothing changes.

    Without force it must have passed the gate, measured against the very champion that it replaces.

    Args:
        client: of the registry.
        name: of the registered model.
        version: its number, or ``challenger``.
        by: who decides.
        force: whatever the gate said, and even if it was rolled back.
        reason: why by force.

    Raises:
        ValueError: if there is no such version, it may not be promoted without force, or force lacks a name or reason.
        RuntimeError: if another became champion meanwhile.
    """
    require(bool(by.strip()), "by", by, "say who decides")
    require(
        not force or bool(reason.strip()), "reason", reason, "say why it is forced: --reason 'the gate is too strict'"
    )
    candidate, held = find_version(client, name, version), champion(client, name)
    if number(held) == str(candidate.version):
        current = promote(client, name, candidate, reasons=(), against=number(held))
        assert current is not None, "it was champion a moment ago"
        return current
    if force:
        tags = {BY["forced"]: by, "forced.reason": reason, VERDICT: FORCED}
        return crown(client, name, candidate, replacing=held, tags=tags)
    if fault := why_not(candidate, held=number(held)):
        raise ValueError(f"version = {version!r}: {fault}; promote it all the same with --force --reason '…', or "
                         "measure a candidate and the champion on the same prompts: `aelif run retrain`")  # fmt: skip
    return crown(client, name, candidate, replacing=held, tags={BY["approved"]: by, VERDICT: PASSED})


def why_not(candidate: ModelVersion, *, held: str | None) -> str:
    """Return why a version may not become champion without force, "" where it may.

    Args:
        candidate: the version.
        held: version that is champion, None where there is none.
    """
    verdict, against = candidate.tags.get(VERDICT, ""), candidate.tags.get(AGAINST, NONE)
    known = f"version {candidate.version} of {candidate.name}"
    if verdict not in (WAITING, PASSED):
        why = candidate.tags.get(REASONS, "")
        return f"{known} was {verdict}" + (f" ({why})" if why else "") if verdict else f"the gate never judged {known}"
    if against == (held or NONE):
        return ""
    if against == NONE:
        return f"{known} was never measured against the champion, version {held}"
    present = f"not against the champion, version {held}" if held else "which is champion no more"
    return f"{known} was measured against version {against}, {present}"
