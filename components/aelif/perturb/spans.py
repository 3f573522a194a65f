"""Where errors may fall: letters and words of a prompt, without the protected ones.

A letter here is what a person would call one: a code point and the marks that combine with it,
so that no edit tears an accent, a vowel sign or a joiner from its base. Emoji, digits and
punctuation are no letters; character errors leave them alone.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A letter or a word, and where it stands in the prompt."""

    start: int
    """In characters of the prompt."""
    text: str

    @property
    def end(self) -> int:
        """First character after it."""
        return self.start + len(self.text)


def extends(character: str) -> bool:
    """Return whether a character belongs to the one before it: a mark, a joiner, a Hangul vowel or final."""
    if character.isascii():
        return False
    return (
        unicodedata.category(character).startswith("M")
        or character in "\u200c\u200d"  # zero width non-joiner and joiner
        or "\u1160" <= character <= "\u11ff"
    )


@lru_cache(maxsize=1024)
def find_letter_runs(text: str, protected: frozenset[str] = frozenset()) -> tuple[tuple[Span, ...], ...]:
    """Return the unprotected letters of a text, grouped into runs with nothing between them.

    Args:
        text: the prompt.
        protected: words to leave out, compared as whole words whatever their case.
    """
    shields = _find_protected(text, protected)
    runs: list[list[Span]] = []
    position = 0
    while position < len(text):
        start, position = position, position + 1
        while position < len(text) and extends(text[position]):
            position += 1
        if not text[start].isalpha() or _overlaps(start, position, shields):
            continue
        if not runs or runs[-1][-1].end != start:
            runs.append([])
        runs[-1].append(Span(start=start, text=text[start:position]))
    return tuple(map(tuple, runs))


@lru_cache(maxsize=1024)
def find_words(text: str, protected: frozenset[str] = frozenset()) -> tuple[tuple[Span, bool], ...]:
    """Return the words of a text, cut at white space, each with whether it may be touched.

    A space that carries a combining mark is part of a word: cutting there would move the mark.
    """
    shields = _find_protected(text, protected)
    cuts = [
        position
        for position, character in enumerate(text)
        if character.isspace() and not (position + 1 < len(text) and extends(text[position + 1]))
    ]
    words = []
    for before, after in zip([-1, *cuts], [*cuts, len(text)], strict=True):
        if before + 1 < after:
            word = Span(start=before + 1, text=text[before + 1 : after])
            words.append((word, not _overlaps(word.start, word.end, shields)))
    return tuple(words)


def _find_protected(text: str, protected: frozenset[str]) -> list[tuple[int, int]]:
    """Return (start, end) of every protected word; a part of a longer word does not count."""
    matches = (
        match for word in sorted(protected) if word for match in re.finditer(re.escape(word), text, re.IGNORECASE)
    )
    spans = (match.span() for match in matches)
    return [(start, end) for start, end in spans if not _in_word(text, start - 1) and not _in_word(text, end)]


def _in_word(text: str, position: int) -> bool:
    """Return whether the character at `position` would make a neighbouring word longer."""
    if not 0 <= position < len(text):
        return False
    return text[position].isalnum() or text[position] == "_" or extends(text[position])


def _overlaps(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < last and first < end for first, last in spans)


def count_hits(total: int, severity: float, *, items_per_edit: int = 1) -> int:
    """Return how many edits hit a share of `total` items: the nearest whole number, at least one if there is any.

    Args:
        total: eligible letters or words.
        severity: share to hit, in (0, 1].
        items_per_edit: 2 where one edit changes two of them, such as a swap.

    Raises:
        ValueError: if the severity is not in (0, 1].
    """
    if not 0.0 < severity <= 1.0:
        raise ValueError(f"severity = {severity!r}: give a share in (0, 1]")
    return max(1, math.floor(severity * total / items_per_edit + 0.5)) if total else 0


def choose(items: Sequence[Item], severity: float, generator: np.random.Generator) -> list[Item]:
    """Return a random share of the items, in their order, drawn without replacement."""
    count = count_hits(len(items), severity)
    return [items[index] for index in sorted(generator.permutation(len(items))[:count])]


def choose_pairs(
    pairs: Sequence[tuple[Item, Item]], count: int, generator: np.random.Generator
) -> list[tuple[Item, Item]]:
    """Return up to `count` random pairs of which no two share an item: each item is hit once at most."""
    chosen: list[tuple[Item, Item]] = []
    used: set[Item] = set()
    for index in generator.permutation(len(pairs)):
        if len(chosen) == count:
            break
        if used.isdisjoint(pairs[index]):
            chosen.append(pairs[index])
            used.update(pairs[index])
    return chosen
