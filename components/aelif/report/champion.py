"""The run's best model beside the registered champion: what is said, the table, the champion's own images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from aelif.config import CHAMPION
from aelif.report.series import NUM_STYLES, Series, read_series
from aelif.report.tables import Cell, family_names, to_cell
from aelif.report.wording import Interval, percent, percent_range, read_interval, summary_key


@dataclass(frozen=True, slots=True, kw_only=True)
class DuelRow:
    """One figure of the champion and of the model, and how much better the model is."""

    title: str
    meaning: str
    champion: Cell
    model: Cell
    gain: Interval
    """Share of the champion's distance; above zero the model is better. Undefined for what is no distance."""

    @property
    def change(self) -> Cell:
        """The gain as text."""
        return to_cell(self.gain, kind="change")


@dataclass(frozen=True, slots=True, kw_only=True)
class Duel:
    """What the section on the champion shows."""

    version: str
    trial: str
    model: Series
    """Name and colour of the model's variant, the seed beside its name."""
    rows: tuple[DuelRow, ...]


def champion_series(summary: Mapping[str, Any]) -> Series:
    """Return the champion as a series: its name, and the first colour that no variant has, if one is left."""
    taken = {series.style for series in read_series(summary).values()}
    style = next((style for style in range(NUM_STYLES) if style not in taken), NUM_STYLES - 1)
    name = f"champion, version {summary['champion']['version']}"
    return Series(name=name, augmentation=CHAMPION, parameters={}, style=style, short=name)


def read_duel(summary: Mapping[str, Any], verdict: Mapping[str, Any]) -> Duel | None:
    """Return the section's figures; None where no champion was measured."""
    held, trial = summary.get("champion"), verdict.get("trial")
    own = (summary.get("duels") or {}).get(trial)
    if not held or own is None:
        return None
    variant, _, seed = str(trial).rpartition("/seed=")
    series = read_series(summary)[summary_key(variant, summary) or variant]
    name = f"{series.name} (seed {seed})"
    model = Series(name=name, augmentation=series.augmentation, parameters={}, style=series.style, short=name)
    return Duel(version=str(held["version"]), trial=str(trial), model=model, rows=tuple(_rows(summary, held, own)))


def _rows(summary: Mapping[str, Any], held: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[DuelRow]:
    def row(title: str, meaning: str, champion: Any, model: Any, gain: Interval) -> DuelRow:
        one, other = read_interval(champion), read_interval(model)
        return DuelRow(title=title, meaning=meaning, champion=to_cell(one), model=to_cell(other), gain=gain)

    yield row("Perturbed prompts", "distance", held["perturbed"], own["perturbed"], read_interval(own["improvement"]))
    yield row("Clean prompts", "distance", held["clean"], own["clean"], _negative(read_interval(own["clean_loss"])))
    undefined = read_interval(None)
    yield row("Prompt alignment", "CLIP-T, higher is better", held["clip_t"], own["clip_t"], undefined)
    yield row("Diversity", "higher is better", held["diversity"], own["diversity"], undefined)
    for family in family_names(summary):
        if family in own["families"]:
            figures = own["families"][family]
            loss = _negative(read_interval(figures["loss"]))
            yield row(family, "distance", held["families"].get(family), figures["distance"], loss)


def _negative(interval: Interval) -> Interval:
    value, low, high = (None if end is None else -end for end in (interval.value, interval.high, interval.low))
    return Interval(value=value, low=low, high=high)


def champion_sentences(summary: Mapping[str, Any], verdict: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the headline and the sentences below it of a run that measured the champion; None of any other."""
    duel, action = read_duel(summary, verdict), verdict.get("action")
    if duel is None:
        return None
    perturbed, clean = duel.rows[:2]
    held, name = f"the champion, version {duel.version}", duel.model.name
    gain = perturbed.gain
    if action in ("promote", "challenge"):
        condition = ", once a person approves" if action == "challenge" else ""
        verb = "may take" if action == "challenge" else "takes"
        headline = f"{name} {verb} the place of {held}{condition}: {_size(gain)}."
    elif verdict.get("champion") is None:
        headline = f"No model of this run keeps the limits, so {held}, stays."
    elif gain.low is not None and gain.low > 0:
        headline = f"{held.capitalize()}, stays: {name} resists errors better, but breaks a limit."
    else:
        headline = f"{held.capitalize()}, stays: {name} does not resist errors measurably better."
    ends = f", interval {percent_range(gain)}" if percent_range(gain) else ""
    lead = (
        f"Both painted the same prompts from the same noise. On perturbed prompts {name} changes the distance from "
        f"{perturbed.champion.text} to {perturbed.model.text} (improvement {percent(gain.value)}{ends}), on clean ones "
        f"from {clean.champion.text} to {clean.model.text} ({percent(clean.gain.value)})."
    )
    return headline, lead


def _size(gain: Interval) -> str:
    relation = "closer to" if gain.value is None or gain.value >= 0 else "further from"
    return f"with errors in the prompt its images are {percent(gain.value, signed=False)} {relation} the photos"


def champion_distances(scores: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Return prompt_id → distance of the champion; empty where it was not measured."""
    return {
        row["prompt_id"]: row["value"]
        for row in scores
        if row["metric"] == "w1" and row["variant"].startswith(f"{CHAMPION}@")
    }


def champion_leakage(scores: Sequence[Mapping[str, Any]]) -> float | None:
    """Return how like the photos (CLIP-I) the champion's images of the bare class prompt are."""
    values = [
        value
        for row in scores
        if row["metric"] == "clip_i" and row["prompt_set"] == "class" and row["variant"].startswith(f"{CHAMPION}@")
        and (value := read_interval(row["value"]).value) is not None
    ]  # fmt: skip
    return fmean(values) if values else None


def told(duel: Duel) -> dict[str, str]:
    """Return row → its gain with the ends, for a listener."""
    return {
        row.title: f"{percent(row.gain.value)}{f', {percent_range(row.gain)}' if percent_range(row.gain) else ''}"
        for row in duel.rows
        if row.gain.value is not None
    }
