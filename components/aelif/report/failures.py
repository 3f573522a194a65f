"""What did not go well: prompts and families on which a variant is worse, prompts left out, near copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aelif.config import BASELINE
from aelif.report.wording import percent, read_interval, share, share_range

MAX_SKIPPED = 100
"""Skipped prompts in the list; the rest are in `prompts.parquet`."""


def loss_sentences(
    summary: Mapping[str, Any], distances: Mapping[str, Mapping[int, float]], prompts: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return a sentence per variant that is worse anywhere: on how many perturbed prompts, on which families.

    Args:
        summary: the public summary.
        distances: variant → prompt_id → distance.
        prompts: rows of `artifacts.prompt_schema`.
    """
    base, sentences, total = distances.get(BASELINE, {}), [], 0
    perturbed = [row["prompt_id"] for row in prompts if row["prompt_set"] == "perturbed" and row["prompt_id"] in base]
    for name, own in distances.items():
        common = [prompt_id for prompt_id in perturbed if prompt_id in own]
        if name == BASELINE or not common:
            continue
        worse = sum(own[prompt_id] > base[prompt_id] for prompt_id in common)
        total = max(total, len(common))
        families = sorted(
            (gain.value, family)
            for family, figures in (summary["variants"][name].get("families") or {}).items()
            if (gain := read_interval(figures.get("improvement_plain"))).value is not None and gain.value < 0
        )
        if not worse and not families:
            continue
        named = ", ".join(f"{family} ({percent(value)})" for value, family in families)
        sentences.append(
            f"{name} is further from the photos than the baseline on {worse} of {len(common)} perturbed prompts"
            + (f"; by family: {named}." if named else ", but on no family as a whole.")
        )
    if total and not sentences:
        return [f"No variant is further from the photos than the baseline on any of {total} perturbed prompts."]
    return sentences


def copy_sentences(summary: Mapping[str, Any]) -> list[str]:
    """Return what is known of near copies of the photos; nothing where they were not measured."""
    shares = {name: read_interval(entry.get("near_copies")) for name, entry in summary["variants"].items()}
    known = {name: interval for name, interval in shares.items() if interval.value is not None}
    if not known:
        return []
    threshold = summary.get("near_copy_cosine")
    limit = "" if threshold is None else f" (cosine {threshold:.3f})"
    some = {name: interval for name, interval in known.items() if interval.value}
    if not some:
        return [f"No clean image is as near to a photo as the two most alike photos are to each other{limit}."]
    parts = [
        f"{share(interval.value)} by {name}" + (f" ({ends})" if (ends := share_range(interval)) else "")
        for name, interval in some.items()
    ]
    return [
        f"Of the clean images, as near to a photo as the two most alike photos are to each other{limit}, "
        f"and so perhaps copies: {', '.join(parts)}."
    ]


def skipped_rows(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what families could not change: family, severity, prompt and reason, the first ones."""
    return list(summary.get("skipped") or [])[:MAX_SKIPPED]
