"""Commas, full stops and apostrophes where none belong, and lost where they do."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import extends, is_punctuation
from aelif.perturb.scope import EVERYWHERE, Scope, closed_characters
from aelif.perturb.spans import choose, find_words, pick

if TYPE_CHECKING:
    import numpy as np

ADDED = (",", ".", ";", ":", "!", "?", "...", "-")
"""Marks that may follow a word."""

_SHORTEST_WITH_S = 4
"""Letters of a word that is taken for a genitive ("backpack's"): not "is", "its", "sks"."""


def punctuation(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Add a mark after a word, lose or double one, or put an apostrophe before a final s.

    Severity is the share of the places hit, at least one; a place is a word, or a run of marks.
    """
    if not any(character.isalnum() for character in text):
        return Perturbed(text=text, edits=())  # marks are all there is
    sites = [*_after_words(text, scope), *_at_marks(text, scope)]
    return make_edits(text, [pick(options, generator) for options in choose(sites, severity, generator)])


def _after_words(text: str, scope: Scope) -> list[list[Edit]]:
    """Return what may be added to each word that does not end in a mark already."""
    sites = []
    for word, is_open in find_words(text, scope):
        if not is_open or not any(map(str.isalpha, word.text)) or is_punctuation(word.text[-1]):
            continue
        options = [Edit(kind="mark_added", start=word.end, before="", after=mark) for mark in ADDED]
        if len(word.text) >= _SHORTEST_WITH_S and word.text[-1] in "sS" and word.text[-2].isalpha():
            options.append(Edit(kind="apostrophe", start=word.end - 1, before="", after="'"))
        sites.append(options)
    return sites


def _at_marks(text: str, scope: Scope) -> list[list[Edit]]:
    """Return what may become of each run of marks: the last one is lost or doubled."""
    closed, sites = closed_characters(text, scope), []
    free = [is_punctuation(sign) and not is_closed for sign, is_closed in zip(text, closed, strict=True)]
    for is_free, places in groupby(range(len(text)), key=lambda at: free[at]):
        last = list(places)[-1]
        if not is_free or (last + 1 < len(text) and extends(text[last + 1])):
            continue
        lost = Edit(kind="mark_lost", start=last, before=text[last], after="")
        sites.append([lost, Edit(kind="mark_doubled", start=last + 1, before="", after=text[last])])
    return sites
