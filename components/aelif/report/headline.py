"""What stands above the tables: the verdict in words, the row of figures, what the run was about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aelif.config import BASELINE
from aelif.report.champion import champion_sentences, read_duel
from aelif.report.series import best_variant
from aelif.report.tables import Cell, to_cell
from aelif.report.wording import distance, p_value, percent, percent_range, read_interval, summary_key


def heading(
    summary: Mapping[str, Any],
    verdict: Mapping[str, Any],
    settings: Mapping[str, Any],
    prompts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what stands above the tables, and the phrases that the text needs, by name in the template."""
    headline, lead = verdict_sentences(summary, verdict)
    champion = summary_key(verdict.get("champion"), summary)
    return {
        "headline": headline,
        "lead": lead,
        "passed": bool(verdict.get("passed", champion is not None)),
        "waits": verdict.get("action") == "challenge",
        "reasons": list(verdict.get("reasons", [])),
        "subject": _subject(settings, prompts),
        "base_model": settings.get("base_model"),
        "command": settings.get("command"),
        "facts": [*_champion_facts(summary, verdict), *_facts(summary, best_shown(summary, champion))][:4],
        "floors": _floors(summary),
        "confidence": f"{100 * summary.get('confidence', 0.95):g}\u202f%",
    }


def best_shown(summary: Mapping[str, Any], champion: str | None) -> str | None:
    """Return the variant that the page compares with the baseline: the chosen one, else the best one, if any."""
    return champion if champion not in (None, BASELINE) else best_variant(summary)


def _subject(settings: Mapping[str, Any], prompts: Sequence[Mapping[str, Any]]) -> str:
    """Return the instance prompt, or else the first prompt."""
    data = settings.get("data")
    named = data.get("instance_prompt") if isinstance(data, Mapping) else None
    return str(named or settings.get("instance_prompt") or next((row["prompt"] for row in prompts), ""))


def _facts(summary: Mapping[str, Any], shown: str | None) -> list[tuple[str, str, str]]:
    """Return (figure, what it is, its interval) for the row of figures below the verdict."""
    if shown is None:
        return []
    entry = summary["variants"][shown]
    plain, excess = (read_interval(entry.get(f"improvement_{kind}")) for kind in ("plain", "excess"))
    held_out = read_interval(((entry.get("sets") or {}).get("held_out") or {}).get("improvement_plain"))
    test = entry.get("test")
    chance = f"; p\u202f=\u202f{p_value(test['p_adjusted'])}".replace("=\u202f<", "<") if test else ""
    facts = [
        (percent(plain.value), f"improvement of {shown} on perturbed prompts{chance}", percent_range(plain)),
        (percent(held_out.value), "improvement on error kinds that no training saw", percent_range(held_out)),
        (percent(clean_price(shown, summary)), "change of the distance on clean prompts; below zero is better", ""),
        (percent(excess.value), "of the damage done by errors is undone", percent_range(excess)),
    ]
    return [fact for fact in facts if fact[0] != percent(None) or "no training" not in fact[1]]


def _champion_facts(summary: Mapping[str, Any], verdict: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the figure that decides where a champion was measured."""
    duel = read_duel(summary, verdict)
    if duel is None:
        return []
    gain = duel.rows[0].gain
    meaning = f"improvement of {duel.model.name} on the champion, version {duel.version}, on perturbed prompts"
    return [(percent(gain.value), meaning, percent_range(gain))]


def _floors(summary: Mapping[str, Any]) -> list[tuple[str, str, Cell]]:
    """Return (name, meaning, figure) of the two floors."""
    floors = [
        ("noise_floor", "Noise floor", "each training photo against the others"),
        ("seed_floor", "Seed floor", "the baseline against itself, trained with another seed"),
    ]
    return [
        (name, meaning, to_cell(read_interval(summary.get(key)))) for key, name, meaning in floors if key in summary
    ]


def clean_price(key: str, summary: Mapping[str, Any]) -> float | None:
    """Return by which share a variant's clean distance exceeds the baseline's; negative is better."""
    base = read_interval(summary["variants"].get("baseline", {}).get("clean")).value
    own = read_interval(summary["variants"][key].get("clean")).value
    return None if base is None or own is None or base == 0 else own / base - 1


def verdict_sentences(summary: Mapping[str, Any], verdict: Mapping[str, Any]) -> tuple[str, str]:
    """Return the headline of the report and the sentences below it.

    Args:
        summary: the public summary.
        verdict: ``{"champion", "passed", "reasons", "trial", "action", "against"}``.
    """
    if against := champion_sentences(summary, verdict):
        return against
    headline, lead = _without_champion(summary, verdict)
    if verdict.get("action") == "challenge":
        headline = f"{headline} It waits for a person’s approval."
    return headline, lead


def _without_champion(summary: Mapping[str, Any], verdict: Mapping[str, Any]) -> tuple[str, str]:
    """Return headline and lead of a run that compares variants alone."""
    champion = summary_key(verdict.get("champion"), summary)
    best = best_variant(summary)
    if champion is None or not verdict.get("passed", True):
        return "No model passed the gate, so none becomes champion.", _describe(best, summary) or _baseline(summary)
    if champion != "baseline":
        gain = read_interval(summary["variants"][champion].get("improvement_plain")).value
        if gain is None:
            return f"{champion} is chosen.", _describe(champion, summary)
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
        headline = f"The baseline is chosen: {best} resists errors better, but does not pass every limit."
    else:
        headline = "No variant resists errors in the prompt measurably better than the baseline, which is chosen."
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
