"""The figures behind the curves, and what the split of the damage says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aelif.config import BASELINE
from aelif.report.curves import has_split, stress_names
from aelif.report.tables import Cell, kind_of, to_cell
from aelif.report.wording import distance, read_interval, share, share_range

CurveRows = list[tuple[tuple[str, ...], list[Cell]]]
"""(texts of the row, the distance of each variant)."""


def curve_rows(summary: Mapping[str, Any], shown: Sequence[str]) -> CurveRows:
    """Return (severity, error rate, shift of the embedding, number of prompts; distances) by severity."""
    points = {name: {row["severity"]: row for row in summary["variants"][name].get("curve") or []} for name in shown}
    rows: CurveRows = []
    for severity in sorted({severity for by_severity in points.values() for severity in by_severity}):
        first = next(by_severity[severity] for by_severity in points.values() if severity in by_severity)
        texts: tuple[str, ...] = (
            f"{severity:g}" if severity else "clean",
            share(read_interval(first.get("error_rate")).value),
            distance(read_interval(first.get("embedding_shift")).value),
            f"{first.get('num_prompts', 0):g}",
        )
        rows.append((texts, _cells(points, shown, severity)))
    return rows


def stress_rows(summary: Mapping[str, Any], shown: Sequence[str]) -> list[tuple[str, CurveRows]]:
    """Return (augmentation, rows of (magnitude, shift of the embedding; distances))."""
    tables = []
    for augmentation in stress_names(summary):
        points = {
            name: {
                row["severity"]: row for row in (summary["variants"][name].get("stress") or {}).get(augmentation) or []
            }
            for name in shown
        }
        rows: CurveRows = []
        for severity in sorted({severity for by_severity in points.values() for severity in by_severity}):
            first = next(by_severity[severity] for by_severity in points.values() if severity in by_severity)
            shift = distance(read_interval(first.get("embedding_shift")).value)
            rows.append(((f"{severity:g}" if severity else "clean", shift), _cells(points, shown, severity)))
        tables.append((augmentation, rows))
    return tables


def _cells(points: Mapping[str, Mapping[float, Any]], shown: Sequence[str], severity: float) -> list[Cell]:
    return [to_cell(read_interval(points[name].get(severity, {}).get("distance"))) for name in shown]


# ── Split ──────────────────────────────────────────────────────────────────────────────────────

_SPLIT = ("string_damage", "denoiser_damage", "text_encoder_damage", "denoiser_share")


def split_rows(summary: Mapping[str, Any]) -> list[tuple[str, list[Cell]]]:
    """Return (variant, damage, denoiser's part, text encoder's part, denoiser's share)."""
    return [
        (
            name,
            [
                to_cell(read_interval(summary["variants"][name]["split"].get(part)), kind=kind_of(part))
                for part in _SPLIT
            ],
        )
        for name in has_split(summary)
    ]


def split_sentence(summary: Mapping[str, Any]) -> str:
    """Return in words whose the damage is, by the baseline or else the first variant; empty without split."""
    names = has_split(summary)
    if not names:
        return ""
    name = BASELINE if BASELINE in names else names[0]
    split = {part: read_interval(summary["variants"][name]["split"].get(part)) for part in _SPLIT}
    whole, denoiser, encoder = (distance(split[part].value) for part in _SPLIT[:3])
    part = split["denoiser_share"]
    ends = f" ({ends})" if (ends := share_range(part)) else ""
    if part.value is None:
        return f"Errors do {name} no damage that could be split ({whole})."
    return (
        f"Errors raise the distance of {name} by {whole}. Moving its embeddings as far in a blind direction raises it "
        f"by {denoiser}, {share(part.value)}{ends} of the damage: that is the denoiser’s part. The remaining {encoder} "
        "are due to where the text encoder puts a misspelt prompt."
    )
