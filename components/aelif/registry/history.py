"""What the registry knows of a model's versions: who became champion when, why, and of which data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from aelif.registry.addresses import find_model
from aelif.registry.promote import AGAINST, BY, NONE, REASONS, REPLACED, SINCE, VERDICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One version of a registered model."""

    version: str
    aliases: tuple[str, ...]
    verdict: str
    """``passed``, ``waiting``, ``rejected``, ``rolled-back``, ``forced``; "" where aelif did not register it."""
    created: str
    """ISO 8601, UTC."""
    since: str
    """When it last became champion, ISO 8601 UTC; "" where it never did."""
    trial: str
    figures: Mapping[str, Mapping[str, float | None]]
    """Distance on clean and perturbed prompts (W1), alignment, diversity: value, low, high."""
    dataset_digest: str
    against: str
    """Champion that it was measured against, "" where none."""
    replaced: str
    """Whom it replaced as champion, "" where nobody."""
    by: str
    """Who approved, forced or rolled it back; "" where no person did."""
    reasons: str


def history(client: MlflowClient, name: str) -> list[Entry]:
    """Return every version of a model, newest first.

    Raises:
        ValueError: if there is no such model.
    """
    aliases = find_model(client, name)
    versions = client.search_model_versions(f"name = '{name}'")
    newest_first = sorted(versions, key=lambda version: int(version.version), reverse=True)
    return [describe(version, aliases=aliases) for version in newest_first]


def describe(version: ModelVersion, *, aliases: Mapping[str, str]) -> Entry:
    """Return what a version's tags say.

    Args:
        version: as the registry gave it; search results carry no aliases.
        aliases: alias → version.
    """
    tags, own = version.tags, str(version.version)
    figures: Any = json.loads(tags.get("gate.figures", "{}"))
    forced = tags.get("forced.reason")
    reasons = [f"forced: {forced}"] if forced else []
    return Entry(
        version=own,
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == own)),
        verdict=tags.get(VERDICT, ""),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        since=tags.get(SINCE, ""),
        trial=tags.get("trial", ""),
        figures=figures,
        dataset_digest=tags.get("dataset.digest", ""),
        against=_known(tags.get(AGAINST)),
        replaced=_known(tags.get(REPLACED)),
        by=", ".join(f"{what} by {tags[tag]}" for what, tag in BY.items() if tag in tags),
        reasons="; ".join([*reasons, *filter(None, [tags.get(REASONS)])]),
    )


def _known(version: str | None) -> str:
    return "" if version in (None, NONE) else str(version)
