"""The worst edits that a search found for each variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aelif.report.edits import Piece, mark_edits
from aelif.report.pictures import Picture, data_uri, paths_of
from aelif.report.tables import Cell, to_cell
from aelif.report.wording import distance, read_interval, share, summary_key

MAX_ATTACKED = 3
"""Attacked clean prompts that are shown."""

MAX_IMAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """The edit of one clean prompt that hurt a variant most, over its training seeds."""

    variant: str
    prompt: str
    pieces: list[Piece]
    facts: str
    uris: tuple[str, ...]


def worst_cases(
    summary: Mapping[str, Any],
    worst: Sequence[Mapping[str, Any]],
    images: Mapping[str, Sequence[Picture]],
    shown: Sequence[str],
) -> list[tuple[str, list[WorstCase]]]:
    """Return (clean prompt, what hurt each variant most) of the first attacked prompts.

    Args:
        summary: the public summary.
        worst: rows of `artifacts.worst_schema`.
        images: trial → pictures of its worst prompts; `prompt_id` is the clean prompt's.
        shown: the variants to show.
    """
    best: dict[tuple[int, str], Mapping[str, Any]] = {}
    for row in worst:
        name = summary_key(row["variant"], summary)
        if name is not None and name in shown:
            key = row["clean_id"], name
            if key not in best or _damage(row) > _damage(best[key]):
                best[key] = row
    attacked = sorted({clean_id for clean_id, _ in best})[:MAX_ATTACKED]
    return [
        (
            next(row["clean_prompt"] for (other, _), row in best.items() if other == clean_id),
            [_case(name, best[clean_id, name], images) for name in shown if (clean_id, name) in best],
        )
        for clean_id in attacked
    ]


def _damage(row: Mapping[str, Any]) -> float:
    damage: float = row["distance"] - row["clean_distance"]
    return damage


def _case(name: str, row: Mapping[str, Any], images: Mapping[str, Sequence[Picture]]) -> WorstCase:
    pictures = images.get(f"{row['variant']}/seed={row['seed']}", ())
    sign = "+" if _damage(row) >= 0 else ""
    return WorstCase(
        variant=name,
        prompt=row["prompt"],
        pieces=mark_edits(row),
        facts=(
            f"distance {distance(row['distance'])}, {sign}{distance(_damage(row))} against the clean prompt on the "
            f"same noise · error rate {share(row['character_error_rate'])} · worst of {row['tried']:g} tried"
        ),
        uris=tuple(data_uri(path) for path in paths_of(pictures, row["clean_id"])[:MAX_IMAGES]),
    )


def worst_rows(summary: Mapping[str, Any]) -> list[tuple[tuple[str], tuple[Cell, ...]]]:
    """Return ((variant,), worst and mean perturbed distance, damage of the worst, prompts tried)."""
    return [
        (
            (name,),
            (
                to_cell(read_interval(case["distance"])),
                to_cell(read_interval(case.get("mean_perturbed"))),
                to_cell(read_interval(case["damage"])),
                Cell(text=f"{case['tried']:g}", ends=""),
            ),
        )
        for name, entry in summary["variants"].items()
        if (case := entry.get("worst_case"))
    ]
