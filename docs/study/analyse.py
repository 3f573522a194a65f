"""Tables and figures from the study's results: `python docs/study/analyse.py docs/study/results`.

Reads the Parquet tables that collect.py wrote; writes summary.json, tables.md and the figures beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from figures import NAMES, OURS, picture_grid, plot_families, plot_improvements, plot_trade_off
from measures import Measured, choose, describe, duels, measure

from aelif.artifacts import write_json

SCORERS = ("clip", "clip-vit")

Row = dict[str, Any]


def main(
    results: Annotated[Path, typer.Argument()] = Path("docs/study/results"),
    outputs: Annotated[Path, typer.Argument()] = Path("outputs"),
) -> None:
    """Analyse RESULTS; image grids are drawn where the images are still in OUTPUTS."""
    summary: dict[str, Any] = {}
    text = []
    for stage in ("tuning", "confirmation"):
        if not (results / f"{stage}.parquet").is_file():
            continue
        rows = pq.read_table(results / f"{stage}.parquet").to_pylist()
        if stage == "tuning":
            summary[stage] = _tuning(rows, results)
        else:
            summary[stage] = _confirmation(rows, results, outputs)
        text += _tables(stage, summary[stage])
    write_json(results / "summary.json", summary)
    (results / "tables.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _tuning(rows: Sequence[Row], results: Path) -> dict[str, Any]:
    """Return what the tuning stage says, and the settings that the protocol's rule chooses from it."""
    parts = dict.fromkeys(row["part"] for row in rows)
    by_part = {part: _by_model(row for row in rows if row["part"] == part) for part in parts}
    described = {part: {scorer: _described(tables, scorer) for scorer in SCORERS} for part, tables in by_part.items()}
    plot_trade_off(described["tuning"]["clip"], results / "tuning.png", title="tuning stage, backpack")
    whole = [tables["clip"] for tables in by_part["tuning"].values()]
    return {"described": described, "chosen": choose(whole) if len(whole) == len(NAMES) else {}}


def _confirmation(rows: Sequence[Row], results: Path, outputs: Path) -> dict[str, Any]:
    """Return what the confirmation stage says: improvements, duels of the best of ours, rewordings, single families."""
    tables = _by_model(rows)
    described = {scorer: _described(tables, scorer) for scorer in SCORERS}
    first = {model: own["clip"] for model, own in tables.items()}
    plot_improvements(described["clip"], described["clip-vit"], results / "improvements.png")
    plot_trade_off(described["clip"], results / "trade-off.png", title="held-out errors, dog and car")
    plot_families(first, results / "families.png")
    best = _best_of_ours(described["clip"])
    against = {scorer: {model: duels(own[scorer], best) for model, own in tables.items()} for scorer in SCORERS}
    places = (outputs / "study" / part for part in ("dog-sdxl", "car-sdxl", "dog-sd3", "car-sd3"))
    places = [place for place in places if (place / "images").is_dir()]
    if places:
        seed = min(row["seed"] for row in rows)
        shown = [name for name in next(iter(first.values())).variants if not name.startswith(("cep", "nef", "cap"))]
        picture_grid(places, shown[:6], results / "pictures.png", seed=seed)
    return {
        "described": described,
        "rewordings": {scorer: _described(tables, scorer, on="rewordings") for scorer in SCORERS},
        "best_of_ours": best,
        "duels": against,
        "alignment": {model: _means(rows, model, "clip_t") for model in tables},
        "diversity": {model: _means(rows, model, "diversity") for model in tables},
    }


def _by_model(rows: Iterable[Row]) -> dict[str, dict[str, Measured]]:
    """Return model → scorer → distances."""
    kept = list(rows)
    return {
        model: {
            scorer: measure([row for row in kept if row["model"] == model and row["scorer"] == scorer])
            for scorer in SCORERS
        }
        for model in NAMES
        if any(row["model"] == model for row in kept)
    }


def _described(tables: Mapping[str, Mapping[str, Measured]], scorer: str, *, on: str = "errors") -> dict[str, Any]:
    return {model: describe(own[scorer], on=on) for model, own in tables.items()}


def _best_of_ours(described: Mapping[str, Mapping[str, Any]]) -> str:
    """Return our variant with the lowest distance on errors, on average over the models."""
    names = [name for name in next(iter(described.values())) if name.partition(":")[0] in OURS]
    return min(names, key=lambda name: sum(figures[name]["perturbed"]["value"] for figures in described.values()))


def _means(rows: Sequence[Row], model: str, metric: str) -> dict[str, float]:
    """Return variant → mean of a metric on clean prompts."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if (row["model"], row["metric"], row["scorer"], row["prompt_set"]) == (model, metric, "clip", "clean"):
            values.setdefault(row["variant"], []).append(row["value"])
    return {name: sum(own) / len(own) for name, own in values.items()}


def _tables(stage: str, summary: Mapping[str, Any]) -> list[str]:
    """Return Markdown tables of a stage."""
    lines = []
    described = summary["described"]
    groups = {stage: described} if stage == "confirmation" else described
    for part, by_scorer in groups.items():
        for scorer, models in by_scorer.items():
            for model, variants in models.items():
                lines += [f"\n### {part}, {NAMES[model]}, scorer {scorer}\n", *_table(variants)]
    if stage == "tuning":
        lines += ["\nChosen by the rule: " + ", ".join(f"`{name}`" for name in summary["chosen"].values())]
        return lines
    for scorer, models in summary["duels"].items():
        for model, others in models.items():
            lines += [f"\n### {summary['best_of_ours']} against each, {NAMES[model]}, scorer {scorer}\n",
                      "| against | difference of distances | p (Holm) |", "|---|---|---|"]  # fmt: skip
            lines += [f"| `{name}` | {_distance(duel['difference'])} | {duel['p']:.3g} |"
                      for name, duel in others.items()]  # fmt: skip
    return lines


def _table(variants: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = ("variant", "clean", "errors", "clean / baseline", "plain", "excess", "p (Holm)")
    head = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    rows = []
    for name, figures in variants.items():
        cells = [f"`{name}`", _distance(figures["clean"]), _distance(figures["perturbed"])]
        if figures["p"] is None:
            cells += [""] * 4
        else:
            cells += [f"{figures['clean_ratio']['value']:.3f}", _percent(figures["plain"]), _percent(figures["excess"]),
                      f"{figures['p']:.3g}"]  # fmt: skip
        rows.append(f"| {' | '.join(cells)} |")
    return head + rows


def _distance(interval: Mapping[str, float | None]) -> str:
    return _with_range(interval, lambda value: f"{value:.3f}")


def _percent(interval: Mapping[str, float | None]) -> str:
    return _with_range(interval, lambda value: f"{100 * value:+.1f} %")


def _with_range(interval: Mapping[str, float | None], show: Any) -> str:
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    if value is None:
        return "undefined"
    return show(value) if low is None or high is None else f"{show(value)} ({show(low)} to {show(high)})"


if __name__ == "__main__":
    typer.run(main)
