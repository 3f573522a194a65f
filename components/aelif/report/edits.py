"""How a prompt's errors are marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a prompt: kept (`before == after`), or changed from `before` to `after`."""

    before: str
    after: str


def mark_edits(prompt: Mapping[str, Any]) -> list[Piece]:
    """Return the stretches of a prompt, kept and changed, in order.

    Edits are recorded against the clean prompt. Where they do not lead to the prompt, the whole
    prompt is one kept stretch: better no mark than a wrong one.
    """
    clean, pieces, position = prompt["clean_prompt"], [], 0
    plain = [Piece(before=prompt["prompt"], after=prompt["prompt"])]
    for edit in sorted(prompt["edits"] or [], key=lambda edit: edit["start"]):
        start, before = edit["start"], edit["before"]
        if start < position or clean[start : start + len(before)] != before:
            return plain
        if start > position:
            pieces.append(Piece(before=clean[position:start], after=clean[position:start]))
        pieces.append(Piece(before=before, after=edit["after"]))
        position = start + len(before)
    if position < len(clean):
        pieces.append(Piece(before=clean[position:], after=clean[position:]))
    return pieces if "".join(piece.after for piece in pieces) == prompt["prompt"] else plain
