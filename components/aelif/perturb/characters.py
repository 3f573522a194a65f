"""Errors of the fingers: letters mistyped, added, lost, exchanged; words cut or run together.

Every function draws which letters it hits from `generator` and nothing else. `severity` is the
share of the prompt's letters hit, at least one, so that the edit distance it causes is nearly the
same for every family. Where no letter may be hit the text comes back unchanged, without edits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import sister_letters
from aelif.perturb.scope import EVERYWHERE, Scope
from aelif.perturb.spans import choose, choose_pairs, count_hits, find_letter_runs, find_letters, find_words, pick

if TYPE_CHECKING:
    import numpy as np

__all__ = ["casing", "delete", "insert", "repeat", "sister_letters", "spacing", "substitute", "swap"]


def insert(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Add a wrong letter of the same alphabet and case after the letters hit."""
    letters = [letter for letter in find_letters(text, scope) if sister_letters(letter.text[0])]
    return make_edits(
        text,
        [
            Edit(kind="insert", start=letter.end, before="", after=pick(sister_letters(letter.text[0]), generator))
            for letter in choose(letters, severity, generator)
        ],
    )


def delete(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Lose letters; every run of letters keeps at least one (losing words is `word_drop`'s business)."""
    runs = [run for run in find_letter_runs(text, scope) if len(run) > 1]
    letters = [(letter, number) for number, run in enumerate(runs) for letter in run]
    count = count_hits(len(letters), severity)
    left = [len(run) for run in runs]
    edits: list[Edit] = []
    for index in generator.permutation(len(letters)):
        letter, number = letters[index]
        if len(edits) < count and left[number] > 1:
            left[number] -= 1
            edits.append(Edit(kind="delete", start=letter.start, before=letter.text, after=""))
    return make_edits(text, edits)


def swap(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Exchange adjacent, different letters; each swap hits two letters, and no letter moves twice."""
    runs = find_letter_runs(text, scope)
    pairs = [(a, b) for run in runs for a, b in pairwise(run) if a.text != b.text]
    count = count_hits(sum(map(len, runs)), severity, items_per_edit=2)
    return make_edits(
        text,
        [
            Edit(kind="swap", start=a.start, before=a.text + b.text, after=b.text + a.text)
            for a, b in choose_pairs(pairs, count, generator)
        ],
    )


def repeat(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Type letters twice."""
    letters = choose(find_letters(text, scope), severity, generator)
    return make_edits(text, [Edit(kind="repeat", start=letter.end, before="", after=letter.text) for letter in letters])


def substitute(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Replace letters by any other of the same alphabet and case; marks upon them stay."""
    letters = [letter for letter in find_letters(text, scope) if sister_letters(letter.text[0])]
    edits = []
    for letter in choose(letters, severity, generator):
        base = letter.text[0]
        after = pick(sister_letters(base), generator)
        edits.append(Edit(kind="substitute", start=letter.start, before=base, after=after))
    return make_edits(text, edits)


def casing(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Turn small letters into capitals and the reverse, where an alphabet has both.

    CLIP lower-cases what it reads: its tokens do not change, those of T5 do.
    """
    letters = [(letter.start, letter.text[0]) for letter in find_letters(text, scope)]
    cased = [(start, base) for start, base in letters if base.swapcase() != base]
    return make_edits(
        text,
        [
            Edit(kind="casing", start=start, before=base, after=base.swapcase())
            for start, base in choose(cased, severity, generator)
        ],
    )


def spacing(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Put a space into a word or lose the one between two, equally often while both are possible."""
    runs = find_letter_runs(text, scope)
    splits = [Edit(kind="split", start=letter.start, before="", after=" ") for run in runs for letter in run[1:]]
    merges = [
        Edit(kind="merge", start=a.end, before=text[a.end : b.start], after="")
        for (a, a_open), (b, b_open) in pairwise(find_words(text, scope))
        if a_open and b_open
    ]
    count = min(count_hits(sum(map(len, runs)), severity), len(splits) + len(merges))
    split_order, merge_order = generator.permutation(len(splits)), generator.permutation(len(merges))
    num_merges = int(generator.binomial(count, 0.5))
    num_merges = min(max(num_merges, count - len(splits)), len(merges))
    chosen = [splits[index] for index in split_order[: count - num_merges]]
    return make_edits(text, [*chosen, *(merges[index] for index in merge_order[:num_merges])])
