"""Summaries made of a few figures, as the gate reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Figure = dict[str, float | None]


def figure(value: float | None, spread: float = 0.02) -> Figure:
    return {"value": value, "low": value and value - spread, "high": value and value + spread}


def entry(clean: float, perturbed: float, *, gain: float | None = None, spread: float = 0.05, **figures: Any) -> dict:
    qualities = {"clip_t": figure(0.3), "diversity": figure(0.4)}
    improvement = {} if gain is None else {"improvement_plain": figure(gain, spread)}
    families = {"paper": {"distance": figure(perturbed)}, "ocr": {"distance": figure(perturbed + 0.1)}}
    return {"clean": figure(clean), "perturbed": figure(perturbed), "families": families, **qualities, **improvement,
            **figures}  # fmt: skip


def summary_of(
    variants: Mapping[str, dict[str, Any]] | None = None, *, seeds: tuple[int, ...] = (0,), **more: dict[str, Any]
) -> dict[str, Any]:
    """Return a summary whose models, one per seed, are as good as their variant; the baseline is there unless given."""
    given = {"baseline": entry(0.5, 0.8), **(variants or {}), **more}
    named = {
        name: {"variant": "baseline" if name == "baseline" else name if ":" in name else f"{name}:0.3", **figures}
        for name, figures in given.items()
    }
    trials = {
        f"{figures['variant']}/seed={seed}": {
            key: figures[key]["value"] for key in ("clean", "perturbed", "clip_t", "diversity")
        }
        for seed in seeds
        for figures in named.values()
    }
    return {"variants": named, "trials": trials, "champion": None, "duels": {}}


def against_champion(summary: dict[str, Any], *, clean: float = 0.5, perturbed: float = 0.8, version: str = "3",
                     spread: float | None = 0.05) -> dict[str, Any]:  # fmt: skip
    """Return the summary with a champion of these distances, and each trial's duel; spread None: no interval."""

    def change(value: float) -> Figure:
        return {"value": value, "low": None, "high": None} if spread is None else figure(value, spread)

    def duel(own: Mapping[str, float]) -> dict[str, Any]:
        return {
            **{name: figure(own[name]) for name in ("clean", "perturbed", "clip_t", "diversity")},
            "improvement": change((perturbed - own["perturbed"]) / perturbed),
            "clean_loss": change(own["clean"] / clean - 1),
            "families": {
                family: {
                    "distance": figure(own["perturbed"] + extra),
                    "loss": change((own["perturbed"] + extra) / (perturbed + extra) - 1),
                }
                for family, extra in (("paper", 0.0), ("ocr", 0.1))
            },
        }

    held = {
        "version": version, "clean": figure(clean), "perturbed": figure(perturbed), "clip_t": figure(0.3),
        "diversity": figure(0.4), "families": {"paper": figure(perturbed), "ocr": figure(perturbed + 0.1)},
    }  # fmt: skip
    return {**summary, "champion": held, "duels": {trial: duel(own) for trial, own in summary["trials"].items()}}
