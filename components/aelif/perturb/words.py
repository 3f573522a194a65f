"""Errors of the sentence: words lost, written twice, in the wrong order, or said while thinking.

`severity` is the share of the prompt's words hit, of those that may be, at least one. Words are cut
at white space, so a comma goes with the word before it. Where no word may be hit the text comes
back unchanged, without edits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import extends
from aelif.perturb.scope import EVERYWHERE, Scope
from aelif.perturb.spans import choose, choose_pairs, count_hits, find_words, pick

if TYPE_CHECKING:
    import numpy as np

FILLERS = ("um", "uh", "like", "so", "well", "just", "please", "basically", "you know", "kind of")
"""What people say between the words of a dictated prompt."""


def word_drop(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Leave words out, never all of them; the space after a lost word goes with it, or the one before the last."""
    words = find_words(text, scope)
    eligible = [index for index, (_, is_open) in enumerate(words) if is_open]
    count = min(count_hits(len(eligible), severity), max(len(words) - 1, 0))
    lost = {eligible[index] for index in generator.permutation(len(eligible))[:count]}
    last_kept = max((index for index in range(len(words)) if index not in lost), default=0)
    edits = []
    for index in lost:
        word = words[index][0]
        if index < last_kept:
            start, end = word.start, words[index + 1][0].start
        else:  # nothing follows that is kept: the space before it is the one too many
            start, end = words[index - 1][0].end, word.end
        edits.append(Edit(kind="word_drop", start=start, before=text[start:end], after=""))
    return make_edits(text, edits)


def word_repeat(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Write words twice."""
    words = [word for word, is_open in find_words(text, scope) if is_open]
    return make_edits(
        text,
        [
            Edit(kind="word_repeat", start=word.end, before="", after=f" {word.text}")
            for word in choose(words, severity, generator)
        ],
    )


def word_swap(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Exchange adjacent, different words; each swap hits two words, and no word moves twice."""
    words = find_words(text, scope)
    pairs = [
        (a, b) for (a, a_open), (b, b_open) in pairwise(words) if a_open and b_open and a.text != b.text
    ]  # a word that may not be hit stays where it is: it has no part in a swap
    count = count_hits(sum(is_open for _, is_open in words), severity, items_per_edit=2)
    return make_edits(
        text,
        [
            Edit(
                kind="word_swap",
                start=a.start,
                before=text[a.start : b.end],
                after=b.text + text[a.end : b.start] + a.text,
            )
            for a, b in choose_pairs(pairs, count, generator)
        ],
    )


def filler(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Say "um", "like" or "please" before words; those of a protected phrase stay together."""
    words = [
        word
        for word, is_open in find_words(text, scope)
        if is_open and any(map(str.isalpha, word.text)) and not extends(word.text[0])
    ]
    return make_edits(
        text,
        [
            Edit(kind="filler", start=word.start, before="", after=f"{pick(FILLERS, generator)} ")
            for word in choose(words, severity, generator)
        ],
    )
