"""Which variant may become champion: a pure verdict from the summary's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aelif.config import GateConfig

BASELINE = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The champion of a run, if any, and why."""

    champion: str | None
    """Name of the variant in the summary."""
    passed: bool
    """Whether there is a champion to register."""
    reasons: tuple[str, ...]
    """Plain sentences, the decisive one first."""


def judge(summary: Mapping[str, Any], config: GateConfig) -> Verdict:
    """Return the verdict: the best variant if it is better than the baseline beyond chance, else the baseline.

    A variant is admitted if it keeps the absolute limits and its clean distance exceeds the
    baseline's by at most `max_clean_loss`. Of the admitted ones, that with the lowest distance on
    perturbed prompts is the candidate. It wins if the whole interval of its plain improvement
    lies above zero; otherwise the baseline does, if it keeps the limits itself.

    Args:
        summary: what `aelif.score.summary.summarize` returned.
        config: the limits.
    """
    variants = summary["variants"]
    faults = {name: _faults(name, variants, config) for name in variants}
    refusals = tuple(sentence for sentences in faults.values() for sentence in sentences)
    admitted = [name for name in variants if name != BASELINE and not faults[name]]
    candidate = min(admitted, key=lambda name: variants[name]["perturbed"]["value"], default=None)
    if candidate is not None:
        sentence, is_better = _comparison(candidate, variants)
        if is_better:
            return Verdict(champion=candidate, passed=True, reasons=(sentence, *refusals))
    elif len(variants) == 1:
        sentence = "Only the baseline was measured."
    else:
        sentence = "No variant other than the baseline keeps every limit."
    if not faults[BASELINE]:
        decision = f"{sentence} The baseline keeps every limit, so it is the champion."
        return Verdict(champion=BASELINE, passed=True, reasons=(decision, *refusals))
    decision = f"{sentence} The baseline does not keep every limit either, so there is no champion."
    return Verdict(champion=None, passed=False, reasons=(decision, *refusals))


def _comparison(name: str, variants: Mapping[str, Any]) -> tuple[str, bool]:
    """Return a sentence on the candidate's gain on perturbed prompts, and whether it is beyond chance."""
    gain = variants[name]["improvement_plain"]
    distances = f"{variants[name]['perturbed']['value']:.3f} against {variants[BASELINE]['perturbed']['value']:.3f}"
    if gain["value"] is None or gain["low"] is None:
        return f"{name} cannot be compared with the baseline on perturbed prompts ({distances}).", False
    interval = f"{100 * gain['value']:+.1f} %, interval {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f} %"
    if gain["low"] > 0:
        return f"{name} is better than the baseline on perturbed prompts: {distances} ({interval}).", True
    return f"{name} is not clearly better than the baseline on perturbed prompts: {distances} ({interval}).", False


def _faults(name: str, variants: Mapping[str, Any], config: GateConfig) -> list[str]:
    """Return one sentence per limit that a variant breaks; a limit on an unmeasured figure is broken."""
    entry = variants[name]
    clean, base_clean = entry["clean"]["value"], variants[BASELINE]["clean"]["value"]
    alignment, diversity = entry["clip_t"]["value"], entry["diversity"]["value"]
    sentences = []
    if not clean <= config.max_clean_distance:
        sentences.append(
            f"{name}: the clean distance {clean:.3f} is above max_clean_distance = {config.max_clean_distance:g}."
        )
    if not alignment >= config.min_prompt_alignment:
        sentences.append(
            f"{name}: the prompt alignment {alignment:.3f} is below "
            f"min_prompt_alignment = {config.min_prompt_alignment:g}."
        )
    if diversity is None and config.min_diversity > 0:
        sentences.append(
            f"{name}: one image per prompt has no diversity, yet min_diversity = {config.min_diversity:g}; "
            "generate at least 2 images per prompt."
        )
    elif diversity is not None and not diversity >= config.min_diversity:
        sentences.append(f"{name}: the diversity {diversity:.3f} is below min_diversity = {config.min_diversity:g}.")
    if not clean <= base_clean * (1 + config.max_clean_loss):
        sentences.append(
            f"{name}: on clean prompts it loses {100 * (clean / base_clean - 1):.1f} % to the baseline "
            f"({clean:.3f} against {base_clean:.3f}), more than max_clean_loss = {100 * config.max_clean_loss:g} %."
        )
    return sentences
