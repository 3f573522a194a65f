"""The study's figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from figures import NAMES, label_of
from measures import BY_WORD

SCORERS = ("clip", "clip-vit")
QUALITIES = {
    ("clip_t", "clean"): "alignment",
    ("diversity", "clean"): "diversity",
    ("clip_i", "class"): "leakage",
    ("clip_i", "class_perturbed"): "leakage by errors",
}
"""Metric and set of prompts → what it is called."""


def stage_tables(stage: str, summary: Mapping[str, Any]) -> list[str]:
    """Return Markdown tables of a stage."""
    lines = []
    described, by_word, qualities = (
        {stage: summary[name]} if stage == "confirmation" else summary[name]
        for name in ("described", "by_word", "qualities")
    )
    for part, by_scorer in described.items():
        for scorer, models in by_scorer.items():
            for model, variants in models.items():
                lines += [f"\n### {part}, {NAMES[model]}, scorer {scorer}\n", *_table(variants)]
    for model, own in summary.get("readings", {}).items():
        lines += [f"\n### What a reading of AELIF changes, {NAMES[model]}\n", *_readings_table(own)]
    for (part, by_set), on in product(by_word.items(), BY_WORD):
        for model, variants in by_set[on].items():
            lines += [f"\n### Errors, {on}: {part}, {NAMES[model]}\n", *_table(variants)]
    for (part, by_scorer), scorer in product(qualities.items(), SCORERS):
        for model, variants in by_scorer[scorer].items():
            lines += [f"\n### Other qualities, {part}, {NAMES[model]}, scorer {scorer}\n", *_quality_table(variants)]
    if stage == "tuning":
        lines += ["\nChosen by the rule: " + ", ".join(f"`{name}`" for name in summary["chosen"].values())]
        return lines
    for scorer, models in summary["duels"].items():
        for model, others in models.items():
            lines += [f"\n### {label_of(summary['best_of_ours'])} against each, {NAMES[model]}, scorer {scorer}\n",
                      "| against | difference of distances | p (Holm) |", "|---|---|---|"]  # fmt: skip
            lines += [f"| {label_of(name)} | {_distance(duel['difference'])} | {duel['p']:.3g} |"
                      for name, duel in others.items()]  # fmt: skip
    if summary["missing"]:
        return [*lines, f"\nNothing is judged yet: {', '.join(summary['missing'])} not run"]
    lines += ["\nHelps, by the protocol's rule: " + _listed(summary["helps"]),
              "\nBeaten by the best of ours: " + _listed(summary["best_of_ours_beats"])]  # fmt: skip
    return lines


def _listed(verdicts: Mapping[str, bool]) -> str:
    return ", ".join(label_of(name) for name, holds in verdicts.items() if holds) or "none"


def _quality_table(variants: Mapping[str, Mapping[str, float]]) -> list[str]:
    names = list(QUALITIES.values())
    head = [f"| variant | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    return head + [
        f"| {label_of(name)} | {' | '.join(f'{own[quality]:.3f}' if quality in own else '' for quality in names)} |"
        for name, own in variants.items()
    ]


def _table(variants: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = ("variant", "clean", "errors", "clean / baseline", "plain", "excess", "p (Holm)")
    head = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    rows = []
    for name, figures in variants.items():
        cells = [label_of(name), _distance(figures["clean"]), _distance(figures["perturbed"])]
        if figures["p"] is None:
            cells += [""] * 4
        else:
            cells += [f"{figures['clean_ratio']['value']:.3f}", _percent(figures["plain"]), _percent(figures["excess"]),
                      f"{figures['p']:.3g}"]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return head + rows


def _readings_table(by_scorer: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Differences of distance by the scorer, in brackets by the second."""
    names = ("changed", "setting", "clean distance", "p (Holm)", "distance on errors", "p (Holm)")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row, check in zip(*(by_scorer[scorer] for scorer in SCORERS), strict=True):
        cells = [row["change"], label_of(row["variant"])]
        for name in ("clean", "errors"):
            other = check[name]["difference"]["value"]
            cells += [f"{_distance(row[name]['difference'])}, {other:+.3f}", f"{row[name]['p']:.3g}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _distance(interval: Mapping[str, float | None]) -> str:
    return _with_range(interval, lambda value: f"{value:.3f}")


def _percent(interval: Mapping[str, float | None]) -> str:
    return _with_range(interval, lambda value: f"{100 * value:+.1f} %")


def _with_range(interval: Mapping[str, float | None], show: Any) -> str:
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    if value is None:
        return "undefined"
    return show(value) if low is None or high is None else f"{show(value)} ({show(low)} to {show(high)})"
