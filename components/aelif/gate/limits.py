"""Absolute limits: what a model must keep whatever it is compared with; a limit on an unmeasured figure is broken."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from aelif.config import HELD_OUT, TUNING, GateConfig
from aelif.config.gate import FamilyLimit

_GROUPS = {"tuning": TUNING, "held_out": HELD_OUT}


def finite(figure: Any) -> float | None:
    """Return a figure, or the value of an interval, as a number; None where it is undefined."""
    number = figure.get("value") if isinstance(figure, Mapping) else figure
    return float(number) if number is not None and math.isfinite(number) else None


def at_most(figure: float | None, limit: float) -> bool:
    """Return whether a figure is known and not above its limit."""
    return figure is not None and figure <= limit


def shown(figure: float | None) -> str:
    """Return a figure with three decimals."""
    return "undefined" if figure is None else f"{figure:.3f}"


def broken_limits(name: str, figures: Mapping[str, Any], config: GateConfig) -> list[str]:
    """Return a sentence per limit on all prompts that a variant, or a single model, breaks.

    Args:
        name: what the sentences call it.
        figures: with "clean", "clip_t" and "diversity", each an interval or a number.
        config: the limits.
    """
    clean, alignment, diversity = (finite(figures.get(key)) for key in ("clean", "clip_t", "diversity"))
    sentences = []
    if not at_most(clean, config.max_clean_distance):
        sentences.append(
            f"{name}: the clean distance {shown(clean)} is above max_clean_distance = {config.max_clean_distance:g}."
            if clean is not None
            else f"{name}: the clean distance is undefined, yet max_clean_distance = {config.max_clean_distance:g}."
        )
    if alignment is None or alignment < config.min_prompt_alignment:
        sentences.append(
            f"{name}: the prompt alignment {shown(alignment)} is below "
            f"min_prompt_alignment = {config.min_prompt_alignment:g}."
            if alignment is not None
            else f"{name}: the prompt alignment is undefined, yet "
            f"min_prompt_alignment = {config.min_prompt_alignment:g}."
        )
    if diversity is None and config.min_diversity > 0:
        sentences.append(
            f"{name}: one image per prompt has no diversity, yet min_diversity = {config.min_diversity:g}; "
            "generate at least 2 images per prompt."
        )
    elif diversity is not None and diversity < config.min_diversity:
        sentences.append(f"{name}: the diversity {diversity:.3f} is below min_diversity = {config.min_diversity:g}.")
    return sentences


def broken_families(name: str, families: Mapping[str, Any], config: GateConfig) -> list[str]:
    """Return a sentence per limit on the distance of single families that a variant breaks, or was not asked.

    Args:
        name: what the sentences call it.
        families: family → entry with "distance".
        config: the limits.
    """
    sentences = []
    for limit in config.families:
        members = limited_families(limit, families)
        if not members:
            sentences.append(
                f"{name}: the gate has a limit on the family {limit.family}, which was not measured; "
                "add it to prompts.families."
            )
        for family in members:
            distance = finite(families[family]["distance"])
            if not at_most(distance, limit.max_distance):
                sentences.append(
                    f"{name}: the distance {shown(distance)} on prompts of family {family} is above "
                    f"max_distance = {limit.max_distance:g} of the limit on {limit.family}."
                )
    return sentences


def limited_families(limit: FamilyLimit, measured: Iterable[str]) -> list[str]:
    """Return the measured families that a limit is about."""
    members = _GROUPS.get(limit.family, (limit.family,))
    return [family for family in measured if family in members]
