"""What the worst edit found does to each variant, beside the mean of the usual errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aelif.score.comparison import Comparison


def describe_worst(comparison: Comparison, variant: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the worst case of a variant, as a mean over trials and attacked prompts; None if none was searched for.

    Distances are those on fresh noise, never the maximum that the search saw.

    Args:
        comparison: scores of the run.
        variant: whose worst case.
        rows: rows of `worst.parquet` of all trials.

    Raises:
        ValueError: if a trial lacks an attacked prompt, or a prompt was attacked that is no clean one.
    """
    if not rows:
        return None
    grid = comparison.grid
    column = {grid.prompts[place]["prompt_id"]: place for place in grid.sets["clean"]}
    attacked = {row["clean_id"] for row in rows}
    if not attacked <= column.keys():
        raise ValueError(f"worst: clean_id = {sorted(attacked - column.keys())} is no clean prompt of the scores")
    columns = tuple(sorted(column[clean_id] for clean_id in attacked))
    own = [row for row in rows if row["variant"] == variant]
    table_KSP = np.full((2, len(grid.seeds), len(grid.prompts)), np.nan)
    for row in own:
        place = (grid.seeds.index(row["seed"]), column[row["clean_id"]])
        table_KSP[0][place], table_KSP[1][place] = row["distance"], row["clean_distance"]
    for seed, place in np.argwhere(np.isnan(table_KSP[0][:, list(columns)])):
        raise ValueError(
            f"worst: {variant} with seed {grid.seeds[seed]} lacks the attack on "
            f"{grid.prompts[columns[place]]['prompt']!r}; attack every trial on the same prompts"
        )
    worst_L, clean_L = comparison.draws.means(table_KSP, columns)
    made = tuple(place for place in grid.sets["perturbed"] if grid.prompts[place]["clean_id"] in attacked)
    return {
        "distance": comparison.interval(worst_L),
        "damage": comparison.interval(worst_L - clean_L),
        "mean_perturbed": comparison.interval(comparison.mean(variant, made)) if made else None,
        "tried": max(row["tried"] for row in own),
        "max_edits": max(len(row["edits"]) for row in own),
    }
