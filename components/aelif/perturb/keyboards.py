"""The key beside the right one, on the keyboards that people have.

Neighbours follow from the keys' places: rows are set off by ¼ and ½ of a key, and a key's
neighbours are those at most one key away in either direction. What holds for the American board
(ANSI) holds for ISO boards as well: their extra key is left of the lowest row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.scope import EVERYWHERE, Scope
from aelif.perturb.spans import choose, find_letters, pick

if TYPE_CHECKING:
    import numpy as np

_OFFSETS = (0.0, 0.25, 0.75)
"""Where the rows begin, in keys."""

_ROWS = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
    "dvorak": ("',.pyfgcrl", "aoeuidhtns", ";qjkxbmwvz"),
}


def _find_neighbours(rows: tuple[str, ...]) -> dict[str, str]:
    """Return, for every letter, the letters on the adjoining keys."""
    places = {
        key: (offset + column, row)
        for row, (offset, keys) in enumerate(zip(_OFFSETS, rows, strict=True))
        for column, key in enumerate(keys)
        if key.isalpha()
    }
    return {
        key: "".join(
            other for other, (x, y) in places.items() if other != key and abs(x - x0) <= 1 and abs(y - y0) <= 1
        )
        for key, (x0, y0) in places.items()
    }


NEIGHBOURS = {layout: _find_neighbours(rows) for layout, rows in _ROWS.items()}
"""Layout → lower-case letter → letters on the adjoining keys."""


def keyboard(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Hit the key beside the right one on a QWERTY keyboard; severity is the share of its letters hit."""
    return _mistype(text, severity, generator, scope=scope, neighbours=NEIGHBOURS["qwerty"])


def keyboard_qwertz(
    text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE
) -> Perturbed:
    """The same on a German keyboard, umlauts included."""
    return _mistype(text, severity, generator, scope=scope, neighbours=NEIGHBOURS["qwertz"])


def keyboard_azerty(
    text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE
) -> Perturbed:
    """The same on a French keyboard."""
    return _mistype(text, severity, generator, scope=scope, neighbours=NEIGHBOURS["azerty"])


def keyboard_dvorak(
    text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE
) -> Perturbed:
    """The same on a Dvorak keyboard."""
    return _mistype(text, severity, generator, scope=scope, neighbours=NEIGHBOURS["dvorak"])


def _mistype(
    text: str, severity: float, generator: np.random.Generator, *, scope: Scope, neighbours: Mapping[str, str]
) -> Perturbed:
    letters = [letter for letter in find_letters(text, scope) if letter.text[0].lower() in neighbours]
    edits = []
    for letter in choose(letters, severity, generator):
        base = letter.text[0]
        wrong = pick(neighbours[base.lower()], generator)
        after = wrong.upper() if base.isupper() else wrong
        edits.append(Edit(kind="keyboard", start=letter.start, before=base, after=after))
    return make_edits(text, edits)
