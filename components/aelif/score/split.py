"""Whose fault the damage of misspelt prompts is: the denoiser's, or the text encoder's.

Stress moves the embeddings of clean prompts without structure, past the text encoder: its curve says
what a displacement of a given size does to the denoiser. A misspelling displaces the embeddings,
too. Read at that size, the curve gives the damage that the denoiser would take from any such
displacement; what remains is due to *where* the text encoder puts the misspelt prompt.

Legend: L rows of resampled statistics, M points of the curve, S seeds, P prompts, G perturbed prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aelif.score.bootstrap import divide
from aelif.score.comparison import Comparison
from aelif.score.curves import shift_of, stress_points
from aelif.score.grid import Columns

UNSTRUCTURED = "aelif_noise_conv"
"""The augmentation whose curve is read, if it is among the stress: noise has no direction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A stress curve as a measuring rod for displacements."""

    points: tuple[Columns, ...]
    """Prompts of each point, the clean ones first, by ascending displacement."""
    reach: float
    """Displacement of the last point."""
    places: np.ndarray
    """(G, M) where on the curve each perturbed prompt lies, as weights of the points."""
    beyond: float
    """Share of the perturbed prompts that the errors displace further than the curve reaches."""


def read_scale(comparison: Comparison) -> Scale | None:
    """Return the curve to measure errors by; None without stress prompts, or where no displacements were measured."""
    grid = comparison.grid
    if not grid.stress:
        return None
    augmentation = UNSTRUCTURED if UNSTRUCTURED in grid.stress else next(iter(grid.stress))
    points = stress_points(comparison, augmentation)
    shifts = [shift_of(comparison, severity, columns) for severity, columns in points.items()]
    errors = [grid.prompts[column].get("embedding_shift") for column in grid.sets["perturbed"]]
    if None in shifts or None in errors or max(map(float, filter(None, shifts)), default=0.0) <= 0:
        return None
    shifts_M, errors_G = np.array(shifts, dtype=float), np.array(errors, dtype=float)
    order = np.argsort(shifts_M, kind="stable")
    places_GM = np.stack([np.interp(errors_G, shifts_M[order], row) for row in np.eye(len(order))], axis=1)
    columns = list(points.values())
    return Scale(
        points=tuple(columns[point] for point in order),
        reach=float(shifts_M.max()),
        places=places_GM,
        beyond=float((errors_G > shifts_M.max()).mean()),
    )


def split_damage(comparison: Comparison, variant: str, scale: Scale) -> dict[str, Any]:
    """Return how a variant's damage by errors divides; all parts come from the same resamples.

    The curve is interpolated linearly between its points and holds its last value beyond. The share
    is undefined where the errors do no damage; it lies outside [0, 1] where the parts differ in sign.
    """
    grid, draws = comparison.grid, comparison.draws
    clean_L = comparison.mean(variant, grid.sets["clean"])
    damage_L = comparison.mean(variant, grid.sets["perturbed"]) - clean_L
    table_MSP = np.zeros((len(scale.points), len(grid.seeds), len(grid.prompts)))
    table_MSP[:, :, list(grid.sets["perturbed"])] = scale.places.T[:, None, :]
    weights_ML = draws.means(table_MSP, grid.sets["perturbed"])
    curve_ML = np.stack([comparison.mean(variant, columns) for columns in scale.points])
    denoiser_L = (weights_ML * curve_ML).sum(axis=0) - clean_L
    return {
        "string_damage": comparison.interval(damage_L),
        "denoiser_damage": comparison.interval(denoiser_L),
        "text_encoder_damage": comparison.interval(damage_L - denoiser_L),
        "denoiser_share": comparison.interval(divide(denoiser_L, damage_L)),
    }
