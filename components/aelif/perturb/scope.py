"""Where errors may fall: what they spare, what alone they hit, and which words name the subject."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from aelif.perturb.graphemes import extends


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What of a prompt may be hit. Words and phrases stand for themselves wherever they occur, whatever their case."""

    protected: frozenset[str] = frozenset()
    """Words or phrases ("sks", "stuffed animal") that errors spare; the space inside a phrase is spared too."""
    target: frozenset[str] = frozenset()
    """Words or phrases that alone are hit; none: the whole prompt is."""
    subject: str = ""
    """How the prompt names its subject ("sks backpack"): where an adjective goes, and which word is the noun."""

    @property
    def is_limited(self) -> bool:
        """Whether errors may fall on a part of the prompt only."""
        return bool(self.protected or self.target)


EVERYWHERE = Scope()
"""The scope that spares nothing and knows no subject."""


def find_phrase(text: str, phrase: str) -> list[tuple[int, int]]:
    """Return (start, end) of every occurrence of a phrase by itself; a part of a longer word does not count.

    Case does not matter, and any white space stands for that between its words.
    """
    pattern = r"\s+".join(map(re.escape, phrase.split()))
    spans = (match.span() for match in re.finditer(pattern, text, re.IGNORECASE)) if pattern else ()
    return [(start, end) for start, end in spans if not _in_word(text, start - 1) and not _in_word(text, end)]


@lru_cache(maxsize=1024)
def closed_characters(text: str, scope: Scope) -> tuple[bool, ...]:
    """Return, for every character of a text, whether the scope forbids touching it."""
    closed = [bool(scope.target)] * len(text)
    for phrases, is_closed in ((scope.target, False), (scope.protected, True)):
        for phrase in sorted(phrases):
            for start, end in find_phrase(text, phrase):
                closed[start:end] = [is_closed] * (end - start)
    return tuple(closed)


def is_open(text: str, start: int, end: int, scope: Scope) -> bool:
    """Return whether a word may be touched: all its letters and digits may, or all of it where it has none.

    Punctuation beside a word ("sks,") goes with it.
    """
    closed = closed_characters(text, scope)
    kernel = [at for at in range(start, end) if _in_word(text, at)] or range(start, end)
    return not any(closed[at] for at in kernel) and not (scope.protected and _holds_protected(text, start, end, scope))


def _holds_protected(text: str, start: int, end: int, scope: Scope) -> bool:
    """Return whether protected characters, be they punctuation ("<", "*"), stand in a word."""
    spans = (span for phrase in scope.protected for span in find_phrase(text, phrase))
    return any(start < last and first < end for first, last in spans)


def _in_word(text: str, position: int) -> bool:
    """Return whether the character at `position` would make a neighbouring word longer."""
    if not 0 <= position < len(text):
        return False
    return text[position].isalnum() or text[position] == "_" or extends(text[position])
