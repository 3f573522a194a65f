"""Signs taken for others: what optical character recognition confuses, and letters of other scripts that look alike.

Both tables were written by hand. Unicode's list of confusables has thousands of pairs; these are
the ones that people meet in scanned text, and in names made to deceive.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import extends
from aelif.perturb.scope import EVERYWHERE, Scope, closed_characters
from aelif.perturb.spans import choose, count_hits, find_letters, pick

if TYPE_CHECKING:
    import numpy as np

OCR_PAIRS = (
    "rn m", "cl d", "vv w", "li h", "ri n", "ii u", "in m", "lc k", "l 1", "l I", "I 1", "o 0", "O 0", "D O", "Q O",
    "e c", "h b", "S 5", "s 5", "B 8", "g 9", "g q", "Z 2", "z 2", "G 6", "b 6", "C G", "E F", "P F", "i j", "i l",
    "t f", "u v", "y v", "a o", "n u",
)  # fmt: skip
"""Signs or groups of signs that look alike in print; each is taken for the other."""

_LOOKALIKES = """
a аɑａ   b ｂ   c сϲｃ   d ԁｄ   e еｅ   f ｆ   g ɡｇ   h һｈ   i іｉ   j јｊ   k κｋ   l ӏｌ   m ｍ
n ｎ   o оοｏ   p рρｐ   q ԛｑ   r ｒ   s ѕｓ   t ｔ   u υｕ   v νѵｖ   w ԝｗ   x хｘ   y уγｙ   z ｚ
A АΑ   B ВΒ   C СϹ   D Ｄ   E ЕΕ   F Ϝ   G Ԍ   H НΗ   I ІΙ   J Ј   K КΚ   L Ｌ   M МΜ
N Ν   O ОΟ   P РΡ   Q Ԛ   R Ｒ   S Ѕ   T ТΤ   U Ｕ   V Ѵ   W Ԝ   X ХΧ   Y ҮΥ   Z Ζ
"""


def _both_ways(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return what each sign may be taken for, in the order of the pairs."""
    table: defaultdict[str, list[str]] = defaultdict(list)
    for one, other in pairs:
        table[one].append(other)
        table[other].append(one)
    return {sign: tuple(others) for sign, others in table.items()}


_CELLS = _LOOKALIKES.split()
OCR_CONFUSIONS = _both_ways((one, other) for one, other in (pair.split() for pair in OCR_PAIRS))
"""Sign or group of signs → what a scanner reads instead."""
HOMOGLYPHS = _both_ways(
    (latin, other) for latin, others in zip(_CELLS[::2], _CELLS[1::2], strict=True) for other in others
)
"""Letter → letters of Cyrillic, Greek, or full width (and back to Latin) that look like it."""


def ocr(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Read signs as a scanner does: rn for m, 1 for l, c for e; digits may be misread, too.

    Severity is the share of the signs that can be misread, at least one; groups count their signs.
    """
    closed = closed_characters(text, scope)
    sites = [
        (start, sign)
        for sign in OCR_CONFUSIONS
        for start in range(len(text) - len(sign) + 1)
        if text.startswith(sign, start)
        and not any(closed[start : start + len(sign)])
        and not (start + len(sign) < len(text) and extends(text[start + len(sign)]))
    ]
    total = len({at for start, sign in sites for at in range(start, start + len(sign))})
    budget, taken, edits = count_hits(total, severity), set[int](), []
    for index in generator.permutation(len(sites)):
        start, sign = sites[index]
        places = range(start, start + len(sign))
        if len(taken) >= budget:
            break
        if taken.isdisjoint(places):
            taken.update(places)
            after = pick(OCR_CONFUSIONS[sign], generator)
            edits.append(Edit(kind="ocr", start=start, before=sign, after=after))
    return make_edits(text, edits)


def homoglyph(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Replace letters by ones of another script that look alike; severity is the share of the letters that have one.

    People see no error, tokenizers see other bytes.
    """
    letters = [letter for letter in find_letters(text, scope) if letter.text[0] in HOMOGLYPHS]
    return make_edits(
        text,
        [
            Edit(kind="homoglyph", start=letter.start, before=letter.text[0],
                 after=pick(HOMOGLYPHS[letter.text[0]], generator))
            for letter in choose(letters, severity, generator)
        ],
    )  # fmt: skip
