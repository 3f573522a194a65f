"""Distance against severity: of errors in the string, and of augmentations of the embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aelif.score.comparison import Comparison
from aelif.score.grid import Columns


def severity_curve(comparison: Comparison, variant: str) -> list[dict[str, Any]]:
    """Return the points of all perturbed prompts by nominal severity, the clean prompts first (severity 0)."""
    grid = comparison.grid
    points = {0.0: grid.sets["clean"], **grid.severities}
    return [
        {
            "severity": severity,
            "error_rate": grid.mean_of("character_error_rate", columns) if severity else 0.0,
            "embedding_shift": shift_of(comparison, severity, columns),
            "distance": comparison.interval(comparison.mean(variant, columns)),
            "num_prompts": len(columns),
        }
        for severity, columns in points.items()
    ]


def stress_curves(comparison: Comparison, variant: str) -> dict[str, list[dict[str, Any]]]:
    """Return augmentation → points by magnitude, the clean prompts first (severity 0); {} without stress."""
    return {
        augmentation: [
            {
                "severity": magnitude,
                "embedding_shift": shift_of(comparison, magnitude, columns),
                "distance": comparison.interval(comparison.mean(variant, columns)),
            }
            for magnitude, columns in stress_points(comparison, augmentation).items()
        ]
        for augmentation in comparison.grid.stress
    }


def stress_points(comparison: Comparison, augmentation: str) -> Mapping[float, Columns]:
    """Return magnitude → prompts, from 0, the clean prompts, on."""
    return {0.0: comparison.grid.sets["clean"], **comparison.grid.stress[augmentation]}


def shift_of(comparison: Comparison, severity: float, columns: Columns) -> float | None:
    """Return how far the prompt embeddings moved on average, relative to their length; None if not measured."""
    return comparison.grid.mean_of("embedding_shift", columns) if severity else 0.0
