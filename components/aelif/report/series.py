"""The variants of a run as series of its plots: short labels, colours, and which are shown where room is short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from aelif.config import BASELINE, Variant
from aelif.report.wording import read_interval

NUM_STYLES = 10
"""Colours and markers that tell series apart."""

MANY = 8
"""Variants that are told apart one by one; where there are more, those of an augmentation share its style."""

_LABEL = 26
"""Characters of a row label's line, at most, where it can be broken."""

_SYMBOLS = {"magnitude": "p", "noise_std": "σ", "noise_mean": "μ"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One variant of a summary."""

    name: str
    """Key in the summary."""
    augmentation: str
    """``aelif_noise_conv``; of several terms ``string_augmentation+aelif_mask``."""
    parameters: Mapping[str, str]
    """Magnitude and options of a variant of one term: ``{"magnitude": "0.3", "noise_std": "0.5"}``; else empty."""
    style: int
    """Number of its colour and marker."""
    short: str
    """Label in a plot: its name, or, where variants share a colour, what tells them apart: ``0.3, σ 0.5``."""

    @property
    def lines(self) -> str:
        """The name in as many lines as a plot's row label should have, none of them long."""
        if not self.parameters or ":" not in self.name:
            terms = self.name.replace("+", "+\n").replace("@", "\n@")
            return "\n".join(part for line in terms.split("\n") for part in wrap(line, _LABEL) or [line])
        return "\n".join([self.augmentation, *wrap(_settings(self.parameters), _LABEL)])


def read_series(summary: Mapping[str, Any]) -> dict[str, Series]:
    """Return name → series of every variant, in the summary's order."""
    read = {name: _read(entry.get("variant", name)) for name, entry in summary["variants"].items()}
    augmentations = list(dict.fromkeys(augmentation for augmentation, _ in read.values()))
    is_crowded = len(read) > MANY
    return {
        name: Series(
            name=name,
            augmentation=augmentation,
            parameters=parameters,
            style=_style(augmentations.index(augmentation) if is_crowded else index),
            short=_settings(parameters) if is_crowded and parameters else name,
        )
        for index, (name, (augmentation, parameters)) in enumerate(read.items())
    }


def _style(index: int) -> int:
    """Return a style of its own while there are enough; then the others again, but never the first, the baseline's."""
    return index if index < NUM_STYLES else 1 + (index - NUM_STYLES) % (NUM_STYLES - 1)


def _read(text: str) -> tuple[str, dict[str, str]]:
    """Return augmentation and parameters of a variant as trials write it."""
    variant = Variant.parse(text)
    if len(variant.terms) != 1:
        return variant.augmentation, {}
    (term,) = variant.terms
    return variant.augmentation, {"magnitude": str(term.magnitude), **dict(term.options)}


def _settings(parameters: Mapping[str, str]) -> str:
    return ", ".join(
        value if name == "magnitude" else f"{_SYMBOLS.get(name, name)} {value}" for name, value in parameters.items()
    )


def symbol(parameter: str) -> str:
    """Return how a parameter is written in tables: ``p``, ``σ``, or its own name."""
    return _SYMBOLS.get(parameter, parameter)


def best_variant(summary: Mapping[str, Any]) -> str | None:
    """Return the variant, baseline aside, with the smallest distance on perturbed prompts."""
    return next(iter(_ranked(summary)), None)


def leading(summary: Mapping[str, Any], limit: int) -> list[str]:
    """Return at most `limit` variants in the summary's order: the baseline, the best of each augmentation, the next.

    Best is who has the smallest distance on perturbed prompts; all are returned if there are no more than `limit`.
    """
    names = list(summary["variants"])
    if len(names) <= limit:
        return names
    series, ranked = read_series(summary), _ranked(summary)
    firsts = {series[name].augmentation: name for name in reversed(ranked)}.values()
    by_rank = sorted(ranked, key=lambda name: (name not in firsts, ranked.index(name)))
    chosen = {name for name in names if name == BASELINE} | set(by_rank[: limit - (BASELINE in names)])
    return [name for name in names if name in chosen]


def _ranked(summary: Mapping[str, Any]) -> list[str]:
    perturbed = {
        name: read_interval(entry.get("perturbed")).value
        for name, entry in summary["variants"].items()
        if name != BASELINE
    }
    measured = {name: value for name, value in perturbed.items() if value is not None}
    return sorted(measured, key=lambda name: (measured[name], name))
