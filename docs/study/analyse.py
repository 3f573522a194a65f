"""Tables and figures from the study's results: `python docs/study/analyse.py docs/study/results`.

Reads the Parquet tables that collect.py wrote; writes summary.json, tables.md and the figures beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from figures import NAMES, kind_of, picture_grid, plot_families, plot_improvements, plot_trade_off
from measures import BY_WORD, Measured, beats, choose, describe, duels, helps, measure
from readings import PARTS, compare_readings
from tables import QUALITIES, SCORERS, stage_tables

from aelif.artifacts import write_json
from aelif.config import BASELINE
from aelif_pipelines.study_plan import ONE_SETTING, SUBJECTS

SIDE = ("full", "no-prior")
"""Parts of the side grid that train in other ways; what `tuning` has of their variants and seeds stands beside them."""

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
            summary[stage] = _tuning(rows, results, outputs)
        else:
            summary[stage] = _confirmation(rows, results, outputs)
        text += stage_tables(stage, summary[stage])
    write_json(results / "summary.json", summary)
    (results / "tables.md").write_text("\n".join(text) + "\n")
    print("\n".join(text))


def _tuning(rows: Sequence[Row], results: Path, outputs: Path) -> dict[str, Any]:
    """Return what the tuning stage says, and the settings that the protocol's rule chooses from it."""
    rows_of: dict[str, list[Row]] = {}
    for row in rows:
        rows_of.setdefault(row["part"], []).append(row)
    side = {(row["variant"], row["seed"]) for part in SIDE for row in rows_of.get(part, ())}
    if side:
        rows_of["tuning as the side grid"] = [row for row in rows_of["tuning"] if (row["variant"], row["seed"]) in side]
    by_part = {part: _by_model(own) for part, own in rows_of.items()}
    described = {part: {scorer: _described(tables, scorer) for scorer in SCORERS} for part, tables in by_part.items()}
    plot_trade_off(described["tuning"]["clip"], results / "tuning.png", title="tuning stage, backpack")
    whole = [tables["clip"] for tables in by_part["tuning"].values()]
    chosen = choose(whole) if len(whole) == len(NAMES) else {}
    for part in {"tuning", "no-prior"} & rows_of.keys():
        run = {row["variant"] for row in rows_of[part]}
        shown = [BASELINE, *(name for name in chosen.values() if name in run)]
        _pictures(outputs / "study-tuning", rows_of[part], shown, results, prompts=7)
    alike = _by_model({**row, "part": "tuning"} for part in PARTS for row in rows_of.get(part, ()))
    return {
        "described": described,
        "readings": {
            model: {scorer: compare_readings(own[scorer]) for scorer in SCORERS} for model, own in alike.items()
        },
        "by_word": {part: _by_word(tables) for part, tables in by_part.items()},
        "qualities": {part: {scorer: _qualities(own, scorer) for scorer in SCORERS} for part, own in rows_of.items()},
        "chosen": chosen,
    }


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
    others = [name for name in next(iter(first.values())).variants if name != BASELINE]
    run = {(row["part"], row["model"]) for row in rows}
    missing = [f"{part}-{model}" for part, model in product(SUBJECTS, NAMES) if (part, model) not in run]
    shown = [BASELINE, *(name for name in others if name not in ONE_SETTING)]
    _pictures(outputs / "study", rows, shown, results, prompts=4)
    return {
        "described": described,
        "by_word": _by_word(tables),
        "rewordings": {scorer: _described(tables, scorer, on="rewordings") for scorer in SCORERS},
        "best_of_ours": best,
        "duels": against,
        "missing": missing,
        **({} if missing else _verdicts(described, against, best, others)),
        "qualities": {scorer: _qualities(rows, scorer) for scorer in SCORERS},
    }


def _verdicts(
    described: Mapping[str, Any], against: Mapping[str, Any], best: str, others: Sequence[str]
) -> dict[str, dict[str, bool]]:
    """Return which variants help, and which the best of ours beats, by the protocol's rules."""
    scorers = [described[scorer] for scorer in SCORERS]
    first, second = (against[scorer] for scorer in SCORERS)
    return {
        "helps": {name: helps(name, *scorers) for name in others},
        "best_of_ours_beats": {
            name: beats(best, name, described=scorers[0], first=first, second=second) for name in others if name != best
        },
    }


def _pictures(outputs: Path, rows: Sequence[Row], variants: Sequence[str], results: Path, *, prompts: int) -> None:
    """Draw what the first seed's models paint, of each part whose images are still there: pictures-PART.png."""
    seed = min(row["seed"] for row in rows)
    for part in dict.fromkeys(f"{row['part']}-{row['model']}" for row in rows):
        if (outputs / part / "images").is_dir():
            picture_grid(outputs / part, variants, results / f"pictures-{part}.png", seed=seed, prompts=prompts)


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


def _by_word(tables: Mapping[str, Mapping[str, Measured]]) -> dict[str, dict[str, Any]]:
    """Return which of the subject's words is hit → model → variant → figures on such errors, by the scorer."""
    return {on: _described(tables, "clip", on=on) for on in BY_WORD}


def _best_of_ours(described: Mapping[str, Mapping[str, Any]]) -> str:
    """Return our variant with the lowest distance on errors, on average over the models."""
    names = [name for name in next(iter(described.values())) if name != BASELINE and kind_of(name) == "ours"]
    return min(names, key=lambda name: sum(figures[name]["perturbed"]["value"] for figures in described.values()))


def _qualities(rows: Sequence[Row], scorer: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return model → variant → quality → its mean over seeds, parts and prompts."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        name = QUALITIES.get((row["metric"], row["prompt_set"]))
        if name and row["scorer"] == scorer:
            values.setdefault((row["model"], row["variant"], name), []).append(row["value"])
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (model, variant, name), own in values.items():
        found.setdefault(model, {}).setdefault(variant, {})[name] = sum(own) / len(own)
    return found


if __name__ == "__main__":
    typer.run(main)
