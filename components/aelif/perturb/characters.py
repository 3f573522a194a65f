"""Errors of the fingers: letters mistyped, added, lost, exchanged; words cut or run together.

Every function draws which letters it hits from `generator` and nothing else. `severity` is the
share of the prompt's letters hit, at least one, so that the edit distance it causes is nearly the
same for every family. Where no letter is eligible the text comes back unchanged, without edits.
"""

from __future__ import annotations

import string
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.spans import Span, choose, choose_pairs, count_hits, extends, find_letter_runs, find_words

if TYPE_CHECKING:
    import numpy as np

_KEY_POSITIONS = {
    key: (offset + column, row)
    for row, (offset, keys) in enumerate([(0.0, "qwertyuiop"), (0.25, "asdfghjkl"), (0.75, "zxcvbnm")])
    for column, key in enumerate(keys)
}

KEYBOARD_NEIGHBOURS = {
    key: "".join(
        other for other, (x, y) in _KEY_POSITIONS.items() if other != key and abs(x - x0) <= 1 and abs(y - y0) <= 1
    )
    for key, (x0, y0) in _KEY_POSITIONS.items()
}
"""Lower-case letter → letters on the adjoining keys of a QWERTY keyboard, whose rows are set off by ¼ and ½ key."""


def keyboard(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Hit the key beside the right one; only letters of a QWERTY keyboard can be."""
    letters = [letter for letter in _letters(text, protected) if letter.text[0].lower() in KEYBOARD_NEIGHBOURS]
    edits = []
    for letter in choose(letters, severity, generator):
        base = letter.text[0]
        wrong = _pick(KEYBOARD_NEIGHBOURS[base.lower()], generator)
        after = wrong.upper() if base.isupper() else wrong
        edits.append(Edit(kind="keyboard", start=letter.start, before=base, after=after))
    return make_edits(text, edits)


def insert(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Add a wrong letter of the same alphabet and case after the letters hit."""
    letters = [letter for letter in _letters(text, protected) if sister_letters(letter.text[0])]
    return make_edits(
        text,
        [
            Edit(kind="insert", start=letter.end, before="", after=_pick(sister_letters(letter.text[0]), generator))
            for letter in choose(letters, severity, generator)
        ],
    )


def delete(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Lose letters; every run of letters keeps at least one (losing words is `word_drop`'s business)."""
    runs = [run for run in find_letter_runs(text, protected) if len(run) > 1]
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


def swap(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Exchange adjacent, different letters; each swap hits two letters, and no letter moves twice."""
    runs = find_letter_runs(text, protected)
    pairs = [(a, b) for run in runs for a, b in pairwise(run) if a.text != b.text]
    count = count_hits(sum(map(len, runs)), severity, items_per_edit=2)
    return make_edits(
        text,
        [
            Edit(kind="swap", start=a.start, before=a.text + b.text, after=b.text + a.text)
            for a, b in choose_pairs(pairs, count, generator)
        ],
    )


def repeat(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Type letters twice."""
    letters = choose(_letters(text, protected), severity, generator)
    return make_edits(text, [Edit(kind="repeat", start=letter.end, before="", after=letter.text) for letter in letters])


def substitute(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Replace letters by any other of the same alphabet and case; marks upon them stay."""
    letters = [letter for letter in _letters(text, protected) if sister_letters(letter.text[0])]
    edits = []
    for letter in choose(letters, severity, generator):
        base = letter.text[0]
        after = _pick(sister_letters(base), generator)
        edits.append(Edit(kind="substitute", start=letter.start, before=base, after=after))
    return make_edits(text, edits)


def casing(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Turn small letters into capitals and the reverse, where an alphabet has both."""
    letters = [(letter.start, letter.text[0]) for letter in _letters(text, protected)]
    cased = [(start, base) for start, base in letters if base.swapcase() != base]
    return make_edits(
        text,
        [
            Edit(kind="casing", start=start, before=base, after=base.swapcase())
            for start, base in choose(cased, severity, generator)
        ],
    )


def spacing(
    text: str, severity: float, generator: np.random.Generator, *, protected: frozenset[str] = frozenset()
) -> Perturbed:
    """Put a space into a word or lose the one between two, equally often while both are possible."""
    runs = find_letter_runs(text, protected)
    splits = [Edit(kind="split", start=letter.start, before="", after=" ") for run in runs for letter in run[1:]]
    merges = [
        Edit(kind="merge", start=a.end, before=text[a.end : b.start], after="")
        for (a, a_open), (b, b_open) in pairwise(find_words(text, protected))
        if a_open and b_open
    ]
    count = min(count_hits(sum(map(len, runs)), severity), len(splits) + len(merges))
    split_order, merge_order = generator.permutation(len(splits)), generator.permutation(len(merges))
    num_merges = int(generator.binomial(count, 0.5))
    num_merges = min(max(num_merges, count - len(splits)), len(merges))
    chosen = [splits[index] for index in split_order[: count - num_merges]]
    return make_edits(text, [*chosen, *(merges[index] for index in merge_order[:num_merges])])


@lru_cache(maxsize=4096)
def sister_letters(letter: str) -> str:
    """Return the other letters of the same alphabet and case, as far as they are easily told.

    For ASCII that is the rest of a–z or A–Z; elsewhere the letters of the same script and category
    among the sixteen code points to either side, which for Cyrillic or Greek is most of the alphabet.
    """
    if letter.isascii():
        alphabet = string.ascii_uppercase if letter.isupper() else string.ascii_lowercase
        return alphabet.replace(letter, "")
    kind, script = unicodedata.category(letter), unicodedata.name(letter, "").split(" ")[0]
    code = ord(letter)
    nearby = [chr(other) for other in range(code - 16, min(code + 17, 0x110000)) if other != code]
    return "".join(
        other
        for other in nearby
        if unicodedata.category(other) == kind
        and unicodedata.name(other, "").split(" ")[0] == script
        and not extends(other)
    )


def _letters(text: str, protected: frozenset[str]) -> list[Span]:
    return [letter for run in find_letter_runs(text, protected) for letter in run]


def _pick(options: str, generator: np.random.Generator) -> str:
    return options[int(generator.integers(len(options)))]
