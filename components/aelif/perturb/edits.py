"""What a perturbation did to a prompt, written so that it can be replayed, counted and shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One replacement in a text; an insertion has an empty `before`, a deletion an empty `after`."""

    kind: str
    """What happened, such as ``"swap"`` or ``"merge"``."""
    start: int
    """Where it begins, in characters (code points) of the original text."""
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Perturbed:
    """A text with its errors, and the edits that lead to it from the original."""

    text: str
    edits: tuple[Edit, ...]


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Return the text with every edit made.

    Args:
        text: the original.
        edits: in order of `start`, not overlapping; insertions at one place are made in the given order.

    Raises:
        ValueError: if an edit overlaps the one before it, or its `before` does not stand at its `start`.
    """
    pieces, position = [], 0
    for edit in edits:
        if edit.start < position or not text.startswith(edit.before, edit.start):
            raise ValueError(f"edit = {edit}: it does not fit {text!r}; edits need the text that they were made for")
        pieces += [text[position : edit.start], edit.after]
        position = edit.start + len(edit.before)
    return "".join(pieces) + text[position:]


def make_edits(text: str, edits: Iterable[Edit]) -> Perturbed:
    """Return the text with the edits made, sorted by where they begin, and the edits themselves."""
    ordered = tuple(sorted(edits, key=lambda edit: edit.start))
    return Perturbed(text=apply_edits(text, ordered), edits=ordered)
