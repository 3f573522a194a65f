"""What else was measured: qualities on clean prompts, and distances of other kinds that should agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aelif.report.tables import Row, figure_rows, to_cell
from aelif.report.wording import read_interval

_QUALITIES = {
    "w2": ("W2", "distance; lower is better"),
    "clip_t": ("Prompt alignment", "CLIP-T; higher is better"),
    "clip_i": ("Likeness to photos", "CLIP-I; higher is better"),
    "dino": ("Likeness to photos", "DINO; higher is better"),
    "diversity": ("Diversity", "within one prompt; higher is better"),
    "vendi": ("Vendi score", "within one prompt; higher is better"),
    "near_copies": ("Near copies", "share of images; lower is better"),
    "leakage": ("Leakage", "likeness on the bare class; lower is better"),
    "leakage_perturbed": ("Leakage by errors", "likeness on the misspelt class; lower is better"),
}

_ALWAYS = ("w2", "clip_t", "clip_i", "diversity")


def quality_table(summary: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[Row]]:
    """Return the columns, (title, meaning), and the rows of the qualities on clean prompts that were measured."""
    variants = summary["variants"]
    columns = [
        column
        for column in _QUALITIES
        if column in _ALWAYS or any(read_interval(entry.get(column)).value is not None for entry in variants.values())
    ]
    return [_QUALITIES[column] for column in columns], figure_rows(variants, columns, None)


# ── Cross-checks ───────────────────────────────────────────────────────────────────────────────

_CHECKS = {"w1": "W1 of the whole set", "cmmd": "CMMD", "kid": "KID", "frechet": "Fréchet", "sliced_w2": "Sliced W2"}


def check_tables(summary: Mapping[str, Any]) -> list[tuple[str, list[str], list[Row]]]:
    """Return (set of prompts, titles of the columns, rows) of the distances between whole sets of images."""
    tables = []
    for prompt_set in ("clean", "perturbed"):
        entries = {
            name: {
                **((entry.get("cross_checks") or {}).get(prompt_set) or {}),
                **({"sliced_w2": entry.get("sliced_w2")} if prompt_set == "clean" else {}),  # the mean over prompts
            }
            for name, entry in summary["variants"].items()
        }
        columns = [check for check in _CHECKS if any(read_interval(e.get(check)).value is not None
                                                     for e in entries.values())]  # fmt: skip
        rows = [
            Row(name=name, cells=tuple(to_cell(read_interval(entry.get(check)), kind="any size") for check in columns))
            for name, entry in entries.items()
        ]
        if columns:
            tables.append((prompt_set, [_CHECKS[check] for check in columns], rows))
    return tables


def agreement(summary: Mapping[str, Any]) -> str:
    """Return a sentence on whether the cross-checks rank the variants on perturbed prompts as W1 does."""
    variants = summary["variants"]
    known = {
        name: value
        for name, entry in variants.items()
        if (value := read_interval(entry.get("perturbed")).value) is not None
    }
    ranks: dict[str, list[str]] = {}
    for check, title in _CHECKS.items():
        values = {
            name: read_interval(((variants[name].get("cross_checks") or {}).get("perturbed") or {}).get(check)).value
            for name in known
        }
        if len(values) > 1 and all(value is not None for value in values.values()):
            ranks[title] = [name for _, name in sorted((value, name) for name, value in values.items())]
    if not ranks:
        return ""
    order = sorted(known, key=lambda name: (known[name], name))
    same = [title for title, ranked in ranks.items() if ranked == order]
    first = [title for title, ranked in ranks.items() if ranked != order and ranked[0] == order[0]]
    other = [f"{title} prefers {ranked[0]}" for title, ranked in ranks.items() if ranked[0] != order[0]]
    sentences = []
    if same:
        sentences.append(f"{_join(same)} {_verb(same, 'rank')} the variants on perturbed prompts as the mean W1 does.")
    if first:
        sentences.append(f"{_join(first)} {_verb(first, 'agree')} on the best, {order[0]}, but not on the whole order.")
    if other:
        sentences.append(f"{_join(other)}, where the mean W1 prefers {order[0]}.")
    return " ".join(sentences)


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _verb(subjects: list[str], verb: str) -> str:
    return verb if len(subjects) > 1 else f"{verb}s"
