"""The paper's claim beside what was measured over several base models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from aelif.config import BASELINE
from aelif.report.wording import Interval, percent, percent_range, read_interval

CLAIM = 0.65
"""What the paper reports for perturbed prompts, averaged over SDXL and SD3 (arXiv 2506.07706)."""


def mean_improvements(
    parts: Mapping[str, Mapping[str, Any]], *, kind: str = "improvement_plain"
) -> dict[str, dict[str, float | None]]:
    """Return variant → mean improvement over the parts, ``{"value", "low", "high"}``; parts weigh the same.

    Parts are independent studies, so the half-widths of their intervals add in quadrature, each
    side for itself. A variant that a part lacks, or cannot compare, has no mean: it would be one
    of other models.

    Args:
        parts: name → summary of a run.
        kind: ``improvement_plain`` or ``improvement_excess``.
    """
    names = dict.fromkeys(name for summary in parts.values() for name in summary["variants"] if name != BASELINE)
    return {
        name: _mean([read_interval(summary["variants"].get(name, {}).get(kind)) for summary in parts.values()])
        for name in names
    }


def _mean(intervals: list[Interval]) -> dict[str, float | None]:
    values = [interval.value for interval in intervals if interval.value is not None]
    if not intervals or len(values) < len(intervals):
        return {"value": None, "low": None, "high": None}
    mean = sum(values) / len(values)

    def end(ends: list[float | None], sign: int) -> float | None:
        known = [one for one in ends if one is not None]
        if len(known) < len(values):
            return None
        return mean + sign * math.hypot(*(one - value for one, value in zip(known, values, strict=True))) / len(values)

    low, high = end([one.low for one in intervals], -1), end([one.high for one in intervals], +1)
    return {"value": mean, "low": low, "high": high}


def claim_sentences(parts: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Return the headline, and what the paper claims beside what was measured."""
    means = {name: read_interval(raw) for name, raw in mean_improvements(parts).items()}
    known = {name: interval for name, interval in means.items() if interval.value is not None}
    claim = (
        f"The paper reports distances about {100 * CLAIM:.0f}\u202f% smaller on perturbed prompts, on average over "
        "SDXL and SD3, at no loss on clean ones (arXiv 2506.07706)."
    )
    if not known:
        return "No variant could be compared with the baseline on every part.", claim
    best = max(known, key=lambda name: (known[name].value, name))
    gain = known[best]
    size = percent(abs(gain.value or 0.0), signed=False)
    relation = "closer to" if (gain.value or 0.0) >= 0 else "further from"
    on = f"on average over {len(parts)} models" if len(parts) > 1 else "on the one model measured"
    headline = f"With errors in the prompt, images by {best} are {size} {relation} the photos, {on}."
    if gain.low is not None and gain.high is not None and gain.low <= 0 <= gain.high:
        headline = f"With errors in the prompt, no gain can be told from chance {on}: {best} comes first."
    ends = f", interval {percent_range(gain)}" if percent_range(gain) else ""
    price = percent(_mean_price(parts, best))
    measured = (
        f"Measured here: {percent(gain.value)} on perturbed prompts by the best variant on average, {best}{ends}, "
        f"while its distance on clean prompts changes by {price} (below zero is better)."
    )
    caution = "Its photos, errors and images are not those measured here, so the sizes compare but loosely."
    return headline, f"{claim} {measured} {_judgement(gain)} {caution}"


def _judgement(gain: Interval) -> str:
    if gain.low is None or gain.high is None:
        return "Without an interval that says little about the claim."
    if gain.low > CLAIM:
        return "That is more than the paper’s figure."
    if gain.high >= CLAIM:
        doubt = ", and with no gain at all" if gain.low <= 0 else ""
        return f"The interval is compatible with the paper’s figure{doubt}."
    if gain.low > 0:
        return "The direction of the claim is confirmed, its size is not."
    if gain.high < 0:
        return "The claim is not confirmed: the variant is worse."
    return "The claim is not confirmed: the gain cannot be told from none."


def _mean_price(parts: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    """Return the mean relative change of the clean distance against the baseline."""
    changes = []
    for summary in parts.values():
        variants = summary["variants"]
        own, base = (read_interval(variants.get(key, {}).get("clean")).value for key in (name, BASELINE))
        if own is None or not base:
            return None
        changes.append(own / base - 1)
    return sum(changes) / len(changes) if changes else None
