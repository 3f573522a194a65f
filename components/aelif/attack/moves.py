"""What an attack may do to a prompt: every single change of one character, and which of them go together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import sister_letters
from aelif.perturb.scope import EVERYWHERE, Scope, closed_characters
from aelif.perturb.spans import Span, find_letter_runs


def possible_edits(text: str, scope: Scope = EVERYWHERE) -> tuple[Edit, ...]:
    """Return every edit of one character, each leading to another text, in the order of their places.

    Letters are substituted by, and get beside them, letters of their own alphabet and case; they are
    deleted where their word keeps one; words are split, and run together where one space parts them.

    Args:
        text: the clean prompt.
        scope: what of it may be hit.
    """
    edits: list[Edit] = []
    runs, closed = find_letter_runs(text), closed_characters(text, scope)
    for run in runs:
        for index, letter in enumerate(run):
            if not any(closed[letter.start : letter.end]):
                edits += _edits_of_letter(letter, alone=len(run) == 1, first=index == 0)
    for before, after in pairwise(runs):
        space = text[before[-1].end : after[0].start]
        if len(space) == 1 and space.isspace() and not any(closed[before[-1].start : after[0].end]):
            edits.append(Edit(kind="merge", start=before[-1].end, before=space, after=""))
    different: dict[str, Edit] = {}
    for edit in sorted(edits, key=_place):
        different.setdefault(make_edits(text, [edit]).text, edit)
    different.pop(text, None)
    return tuple(different.values())


def _edits_of_letter(letter: Span, *, alone: bool, first: bool) -> list[Edit]:
    """Return the edits of one letter; `alone` is the only one of its word."""
    base, sisters = letter.text[0], sister_letters(letter.text[0])
    edits = [Edit(kind="substitute", start=letter.start, before=base, after=sister) for sister in sisters]
    places = [letter.start, letter.end] if first else [letter.end]
    edits += [Edit(kind="insert", start=place, before="", after=other) for place in places for other in base + sisters]
    if not alone:
        edits.append(Edit(kind="delete", start=letter.start, before=letter.text, after=""))
    if not first:
        edits.append(Edit(kind="split", start=letter.start, before="", after=" "))
    return edits


def combine(text: str, edits: Sequence[Edit]) -> Perturbed | None:
    """Return the text with all the edits made; None where two of them hit the same place, or nothing is changed."""
    ordered = sorted(edits, key=_place)
    if any(one == other or one.start + len(one.before) > other.start for one, other in pairwise(ordered)):
        return None
    perturbed = make_edits(text, ordered)
    return perturbed if perturbed.text != text and perturbed.text.strip() else None


def _place(edit: Edit) -> tuple[int, int, str, str]:
    """Sort by place; an insertion comes before what happens to the character there."""
    return edit.start, len(edit.before), edit.kind, edit.after
