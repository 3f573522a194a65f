"""Numbers in words: distances with three decimals, shares as signed percentages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNDEFINED = "–"
_NARROW_SPACE = "\u202f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value and the ends of its confidence interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


def read_interval(raw: Mapping[str, Any] | float | None) -> Interval:
    """Return the interval that a summary holds as ``{"value", "low", "high"}``; a bare number has no ends."""
    ends = raw if isinstance(raw, Mapping) else {"value": raw}
    value, low, high = (_finite(ends.get(end)) for end in ("value", "low", "high"))
    return Interval(value=value, low=low, high=high)


def _finite(number: Any) -> float | None:
    return float(number) if number is not None and math.isfinite(number) else None


def distance(value: float | None) -> str:
    """Return a distance (or another plain figure) with three decimals: ``0.851``."""
    return UNDEFINED if value is None else f"{value:.3f}".replace("-", "−")


def percent(value: float | None, *, signed: bool = True) -> str:
    """Return a fraction as a percentage with one decimal: ``+12.4 %``; zero bears no sign."""
    if value is None:
        return UNDEFINED
    text = f"{100 * value:+.1f}" if signed else f"{100 * abs(value):.1f}"
    text = "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")
    return f"{text}{_NARROW_SPACE}%"


def p_value(value: float | None) -> str:
    """Return a p value with two significant digits: ``0.012``; those below 0.001 as ``< 0.001``."""
    if value is None:
        return UNDEFINED
    return "< 0.001" if value < 0.001 else f"{value:.2g}" if value < 0.095 else f"{value:.2f}"


def significant(value: float | None) -> str:
    """Return a figure of any size with three significant digits: ``0.00213``, ``12.4``."""
    if value is None:
        return UNDEFINED
    text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", "−")


def significant_range(interval: Interval) -> str:
    """Return the ends of an interval of such figures; empty where there are none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{significant(interval.low)} – {significant(interval.high)}"


def distance_range(interval: Interval) -> str:
    """Return the ends of an interval of distances: ``0.801 – 0.902``; empty where there are none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{distance(interval.low)} – {distance(interval.high)}"


def percent_range(interval: Interval) -> str:
    """Return the ends of an interval of fractions: ``+4.1 % – +20.3 %``; empty where there are none."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{percent(interval.low)} – {percent(interval.high)}"


def share(value: float | None) -> str:
    """Return a part of a whole as a percentage: ``12.4 %``, with a sign only below zero."""
    return percent(value).removeprefix("+")


def share_range(interval: Interval) -> str:
    """Return the ends of an interval of parts of a whole; empty where there are none."""
    return percent_range(interval).replace("+", "")


def summary_key(variant: str | None, summary: Mapping[str, Any]) -> str | None:
    """Return the name under which a summary lists `variant`.

    Scores and trials always carry the magnitude (``aelif_mask:0.3``), and so does the entry's
    ``variant``; its name leaves it out (``aelif_mask``) where a name occurs once.
    """
    if variant is None:
        return None
    known = summary["variants"]
    named = {entry["variant"]: name for name, entry in known.items() if "variant" in entry}
    return named.get(variant) or next((key for key in (variant, variant.partition(":")[0]) if key in known), None)
