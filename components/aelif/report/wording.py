"""Numbers and verdicts in words: distances with three decimals, shares as signed percentages."""

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


def summary_key(variant: str | None, summary: Mapping[str, Any]) -> str | None:
    """Return the name under which a summary lists `variant`.

    Summaries leave the magnitude out (``aelif_mask``) where a name occurs once; scores and
    trials always carry it (``aelif_mask:0.3``).
    """
    if variant is None:
        return None
    known = summary["variants"]
    return next((key for key in (variant, variant.partition(":")[0]) if key in known), None)


def clean_price(key: str, summary: Mapping[str, Any]) -> float | None:
    """Return by which share a variant's clean distance exceeds the baseline's; negative is better."""
    base = read_interval(summary["variants"].get("baseline", {}).get("clean")).value
    own = read_interval(summary["variants"][key].get("clean")).value
    return None if base is None or own is None or base == 0 else own / base - 1


def best_variant(summary: Mapping[str, Any]) -> str | None:
    """Return the variant, baseline aside, with the smallest distance on perturbed prompts."""
    perturbed = {
        key: read_interval(entry.get("perturbed")).value
        for key, entry in summary["variants"].items()
        if key != "baseline"
    }
    measured = {key: value for key, value in perturbed.items() if value is not None}
    return min(measured, key=lambda key: (measured[key], key), default=None)


def verdict_sentences(summary: Mapping[str, Any], verdict: Mapping[str, Any]) -> tuple[str, str]:
    """Return the headline of the report and the sentences below it.

    Args:
        summary: the public summary.
        verdict: ``{"champion", "passed", "reasons"}``.
    """
    champion = summary_key(verdict.get("champion"), summary)
    best = best_variant(summary)
    if champion is None or not verdict.get("passed", True):
        return "No model passed the gate, so none becomes champion.", _describe(best, summary) or _baseline(summary)
    if champion != "baseline":
        gain = read_interval(summary["variants"][champion].get("improvement_plain")).value
        if gain is None:
            return f"{champion} is the champion.", _describe(champion, summary)
        relation = "closer to" if gain >= 0 else "further from"
        size = percent(gain, signed=False)
        headline = (
            f"With errors in the prompt, images by {champion} are {size} {relation} the photos than the baseline’s."
        )
        return headline, _describe(champion, summary)
    if best is None:
        return "Only the baseline was measured, and it passed the gate.", _baseline(summary)
    low = read_interval(summary["variants"][best].get("improvement_plain")).low
    if low is not None and low > 0:
        headline = f"The baseline stays champion: {best} resists errors better, but does not pass every limit."
    else:
        headline = "No variant resists errors in the prompt measurably better than the baseline, which stays champion."
    return headline, f"The best was {best}. {_describe(best, summary)}"


def _describe(key: str | None, summary: Mapping[str, Any]) -> str:
    """Return what a variant gains on perturbed prompts and costs on clean ones, in sentences."""
    if key is None:
        return ""
    variants = summary["variants"]
    gain = read_interval(variants[key].get("improvement_plain"))
    ends = percent_range(gain)
    interval = f" ({percent(summary.get('confidence', 0.95), signed=False).replace('.0', '')} interval {ends})"
    own, base = (read_interval(variants.get(name, {}).get("perturbed")).value for name in (key, "baseline"))
    verb = "improves the distance by" if gain.value is None or gain.value > 0 else "does not improve the distance:"
    sentences = [
        f"On perturbed prompts {key} {verb} {percent(gain.value)}{interval if ends else ''}, "
        f"{distance(own)} against {distance(base)}."
    ]
    price = clean_price(key, summary)
    if price is not None:
        own, base = (read_interval(variants[name]["clean"]).value for name in (key, "baseline"))
        relation = "further from" if price > 0 else "closer to"
        sentences.append(
            f"On clean prompts it is {percent(price, signed=False)} {relation} the photos, "
            f"{distance(own)} against {distance(base)}" + (": that is its price." if price > 0 else ".")
        )
    return " ".join(sentences)


def _baseline(summary: Mapping[str, Any]) -> str:
    entry = summary["variants"].get("baseline", {})
    clean, perturbed = (read_interval(entry.get(prompt_set)) for prompt_set in ("clean", "perturbed"))
    return (
        f"Its distance is {distance(clean.value)} on clean prompts and {distance(perturbed.value)} on perturbed ones."
    )
