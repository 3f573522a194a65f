"""One model against the registered champion: the margins it must keep, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aelif.config import GateConfig
from aelif.gate.limits import at_most, finite, limited_families, shown


def judge_duel(
    trial: str, duel: Mapping[str, Any], champion: Mapping[str, Any], config: GateConfig
) -> tuple[bool, tuple[str, ...]]:
    """Return whether a model may replace the champion, and the sentences that say why, or why not.

    The lower end of the interval of its improvement on perturbed prompts must exceed `min_improvement`, and
    it may lose no more than `max_clean_loss` on clean prompts and `max_loss` on each limited family.

    Args:
        trial: the model.
        duel: its entry of the summary's "duels".
        champion: the summary's "champion".
        config: the margins.
    """
    sentence, is_better = _improvement(trial, duel, champion, config)
    losses = [*_clean_loss(trial, duel, champion, config), *_family_losses(trial, duel, champion, config)]
    failures = losses if is_better else [sentence, *losses]
    return (False, tuple(failures)) if failures else (True, (sentence,))


def _improvement(
    trial: str, duel: Mapping[str, Any], champion: Mapping[str, Any], config: GateConfig
) -> tuple[str, bool]:
    gain, low, high = (finite(duel["improvement"].get(end)) for end in ("value", "low", "high"))
    distances = f"{shown(finite(duel['perturbed']))} against {shown(finite(champion['perturbed']))}"
    beaten = f"the champion, version {champion['version']}, on perturbed prompts"
    if gain is None or low is None or high is None:
        remedy = "its improvement has no interval; give more prompts.templates, so that chance can be judged"
        return f"{trial} cannot be compared with {beaten} ({distances}): {remedy}.", False
    figures = f"{distances}, {100 * gain:+.1f} %, interval {100 * low:+.1f} to {100 * high:+.1f} %"
    margin = f"min_improvement = {100 * config.min_improvement:g} %"
    if low > config.min_improvement:
        relation = "is better than" if low >= 0 else "holds its own against"
        return f"{trial} {relation} {beaten}: {figures}; the lower end is above {margin}.", True
    relation = "is not clearly better than" if config.min_improvement >= 0 else "may be too much worse than"
    return f"{trial} {relation} {beaten}: {figures}; the lower end is not above {margin}.", False


def _clean_loss(trial: str, duel: Mapping[str, Any], champion: Mapping[str, Any], config: GateConfig) -> list[str]:
    loss = finite(duel["clean_loss"])
    if at_most(loss, config.max_clean_loss):
        return []
    distances = f"{shown(finite(duel['clean']))} against {shown(finite(champion['clean']))}"
    limit = f"max_clean_loss = {100 * config.max_clean_loss:g} %"
    if loss is None:
        return [f"{trial} cannot be compared with the champion on clean prompts ({distances}), so {limit} is not kept."]
    held = f"the champion, version {champion['version']}"
    return [f"{trial}: on clean prompts it loses {100 * loss:.1f} % to {held} ({distances}), more than {limit}."]


def _family_losses(trial: str, duel: Mapping[str, Any], champion: Mapping[str, Any], config: GateConfig) -> list[str]:
    sentences = []
    for limit in config.families:
        for family in limited_families(limit, duel["families"]):
            loss = finite(duel["families"][family]["loss"])
            if at_most(loss, limit.max_loss):
                continue
            own, held = finite(duel["families"][family]["distance"]), finite(champion["families"].get(family))
            size = "an unknown share" if loss is None else f"{100 * loss:.1f} %"
            sentences.append(
                f"{trial}: on prompts of family {family} it loses {size} to the champion, version "
                f"{champion['version']} ({shown(own)} against {shown(held)}), more than "
                f"max_loss = {100 * limit.max_loss:g} % of the limit on {limit.family}."
            )
    return sentences
