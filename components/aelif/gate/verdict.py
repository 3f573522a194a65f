"""Which model may become champion: a pure verdict from the summary's numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aelif.config import BASELINE, GateConfig
from aelif.gate.duel import judge_duel
from aelif.gate.limits import broken_families, broken_limits, finite, shown

Action = Literal["promote", "challenge", "refuse"]

_FIRST = (True, ("No champion was measured: the absolute limits alone decide.",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a run's best model, and why."""

    champion: str | None
    """Name in the summary of the variant that this run chose, None where none keeps the limits."""
    passed: bool
    """Whether the model may be used: the action is not to refuse it."""
    reasons: tuple[str, ...]
    """Plain sentences, the decisive one first."""
    trial: str
    """The one model to register, whatever the action: ``aelif_mask:0.3/seed=0``."""
    action: Action
    """``promote``: make it champion; ``challenge``: it may become so when a person approves; ``refuse``."""
    against: str | None
    """Version of the champion that it was measured against, None where none was measured."""


def judge(summary: Mapping[str, Any], config: GateConfig) -> Verdict:
    """Return the verdict: which variant is chosen, its best model, and whether that may replace the champion.

    A variant is admitted if it keeps the absolute limits, one of its models at least does so by itself,
    and its clean distance exceeds the baseline's by at most `max_clean_loss`. Of those admitted whose
    plain improvement on the baseline lies above zero with its whole interval, that with the lowest distance
    on perturbed prompts is chosen; where there is none, the baseline is, if it keeps the limits itself.

    The model is the variant's with the lowest distance on perturbed prompts, of those that keep the limits.
    If a champion was measured, the model must beat it (see `judge_duel`); else the limits alone decide. One
    model only is tried: of many, one would win by chance.

    Args:
        summary: what `aelif.score.summary.compare_trials` returned.
        config: the limits.
    """
    variants, trials = summary["variants"], summary["trials"]
    models = {name: _models(entry, trials) for name, entry in variants.items()}
    sound = {
        name: [trial for trial in models[name] if not broken_limits(trial, trials[trial], config)] for name in variants
    }
    faults = {name: _faults(name, variants, config) or _unsound(name, sound[name], trials) for name in variants}
    refusals = tuple(sentence for sentences in faults.values() for sentence in sentences)
    chosen, decision = _choose(variants, faults)
    held = summary.get("champion")
    against = held["version"] if held else None
    if chosen is None:
        return Verdict(
            champion=None, passed=False, reasons=(decision, *refusals), trial=_best(trials, trials), action="refuse",
            against=against,
        )  # fmt: skip
    trial = _best(sound[chosen], trials)
    passed, sentences = judge_duel(trial, summary["duels"][trial], held, config) if held else _FIRST
    action: Action = "refuse" if not passed else "challenge" if config.promotion == "approval" else "promote"
    waits = ("It waits for a person's `aelif promote`: promotion = approval.",) if action == "challenge" else ()
    reasons = (*sentences, *waits, decision) if held else (decision, *sentences, *waits)
    return Verdict(
        champion=chosen, passed=passed, reasons=(*reasons, *refusals), trial=trial, action=action, against=against
    )


def _choose(variants: Mapping[str, Any], faults: Mapping[str, list[str]]) -> tuple[str | None, str]:
    """Return the variant chosen, None where none keeps the limits, and a sentence that says why."""
    admitted = [name for name in variants if name != BASELINE and not faults[name]]
    ranked = sorted(admitted, key=lambda name: _or_last(finite(variants[name]["perturbed"])))
    compared = {name: _comparison(name, variants) for name in ranked}
    for name, (sentence, is_better) in compared.items():
        if is_better:
            return name, sentence
    if compared:
        sentence, _ = compared[ranked[0]]
    elif len(variants) == 1:
        sentence = "Only the baseline was measured."
    else:
        sentence = "No variant other than the baseline keeps every limit."
    if not faults[BASELINE]:
        return BASELINE, f"{sentence} The baseline keeps every limit, so it is chosen."
    other = "" if len(variants) == 1 else " either"
    return None, f"{sentence} The baseline does not keep every limit{other}, so no model is."


def _comparison(name: str, variants: Mapping[str, Any]) -> tuple[str, bool]:
    """Return a sentence on the candidate's gain on perturbed prompts, and whether it is beyond chance."""
    gain, low, high = (finite(variants[name]["improvement_plain"].get(end)) for end in ("value", "low", "high"))
    own, base = (finite(variants[key]["perturbed"]) for key in (name, BASELINE))
    distances = f"{shown(own)} against {shown(base)}"
    if gain is None or low is None or high is None or own is None:
        return f"{name} cannot be compared with the baseline on perturbed prompts ({distances}).", False
    interval = f"{100 * gain:+.1f} %, interval {100 * low:+.1f} to {100 * high:+.1f} %"
    if low > 0:
        return f"{name} is better than the baseline on perturbed prompts: {distances} ({interval}).", True
    return f"{name} is not clearly better than the baseline on perturbed prompts: {distances} ({interval}).", False


def _faults(name: str, variants: Mapping[str, Any], config: GateConfig) -> list[str]:
    """Return one sentence per limit that a variant breaks, those against the baseline included."""
    entry = variants[name]
    sentences = broken_limits(name, entry, config) + broken_families(name, entry.get("families") or {}, config)
    clean, base = finite(entry["clean"]), finite(variants[BASELINE]["clean"])
    if clean is not None and base is not None and not clean <= base * (1 + config.max_clean_loss):
        sentences.append(
            f"{name}: on clean prompts it loses {100 * (clean / base - 1):.1f} % to the baseline "
            f"({clean:.3f} against {base:.3f}), more than max_clean_loss = {100 * config.max_clean_loss:g} %."
        )
    return sentences


def _models(entry: Mapping[str, Any], trials: Mapping[str, Any]) -> list[str]:
    return [trial for trial in trials if trial.rpartition("/seed=")[0] == entry["variant"]]


def _unsound(name: str, sound: list[str], trials: Mapping[str, Any]) -> list[str]:
    if sound:
        return []
    return [f"{name}: it keeps the limits on average over its training seeds, but none of its models does by itself."]


def _best(names: Mapping[str, Any] | list[str], trials: Mapping[str, Any]) -> str:
    """Return the trial with the lowest distance on perturbed prompts; of equals the one of the lower seed."""
    return min(
        names, key=lambda trial: (_or_last(finite(trials[trial]["perturbed"])), int(trial.rpartition("/seed=")[2]))
    )


def _or_last(distance: float | None) -> float:
    return math.inf if distance is None else distance
