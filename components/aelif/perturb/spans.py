"""The letters and words of a prompt that errors may hit, and how many of them a severity means.

A letter here is what a person would call one: a code point and the marks that combine with it,
so that no edit tears an accent, a vowel sign or a joiner from its base. Emoji, digits and
punctuation are no letters; most character errors leave them alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from aelif.perturb.graphemes import extends
from aelif.perturb.scope import EVERYWHERE, Scope, closed_characters, is_open

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


@lru_cache(maxsize=1024)
def find_letter_runs(text: str, scope: Scope = EVERYWHERE) -> tuple[tuple[Span, ...], ...]:
    """Return the letters of a text that may be hit, grouped into runs with nothing between them."""
    closed = closed_characters(text, scope)
    runs: list[list[Span]] = []
    position = 0
    while position < len(text):
        start, position = position, position + 1
        while position < len(text) and extends(text[position]):
            position += 1
        if not text[start].isalpha() or any(closed[start:position]):
            continue
        if not runs or runs[-1][-1].end != start:
            runs.append([])
        runs[-1].append(Span(start=start, text=text[start:position]))
    return tuple(map(tuple, runs))


def find_letters(text: str, scope: Scope = EVERYWHERE) -> list[Span]:
    """Return the letters of a text that may be hit."""
    return [letter for run in find_letter_runs(text, scope) for letter in run]


@lru_cache(maxsize=1024)
def find_words(text: str, scope: Scope = EVERYWHERE) -> tuple[tuple[Span, bool], ...]:
    """Return the words of a text, cut at white space, each with whether it may be hit.

    A space that carries a combining mark is part of a word: cutting there would move the mark.
    """
    cuts = [
        position
        for position, character in enumerate(text)
        if character.isspace() and not (position + 1 < len(text) and extends(text[position + 1]))
    ]
    words = []
    for before, after in zip([-1, *cuts], [*cuts, len(text)], strict=True):
        if before + 1 < after:
            word = Span(start=before + 1, text=text[before + 1 : after])
            words.append((word, is_open(text, word.start, word.end, scope)))
    return tuple(words)


@lru_cache(maxsize=1024)
def find_terms(text: str, scope: Scope = EVERYWHERE) -> tuple[tuple[Span, bool], ...]:
    """Return the words without the punctuation around them ("table," is table), as a dictionary has them."""
    terms = []
    for word, may_be_hit in find_words(text, scope):
        kernel = [at for at, character in enumerate(word.text) if character.isalnum() or extends(character)]
        if kernel and not extends(word.text[kernel[0]]):
            first, last = kernel[0], kernel[-1] + 1
            terms.append((Span(start=word.start + first, text=word.text[first:last]), may_be_hit))
    return tuple(terms)


def spell(run: Sequence[Span]) -> str:
    """Return the word that a run of letters makes."""
    return "".join(letter.text for letter in run)


def count_hits(total: int, severity: float, *, items_per_edit: int = 1) -> int:
    """Return how many edits hit a share of `total` items: the nearest whole number, at least one if there is any.

    Args:
        total: eligible letters or words.
        severity: share to hit, in [0, 1]; 0 hits none.
        items_per_edit: 2 where one edit changes two of them, such as a swap.

    Raises:
        ValueError: if the severity is not in [0, 1].
    """
    if not 0.0 <= severity <= 1.0:
        raise ValueError(f"severity = {severity!r}: give a share in [0, 1]")
    if not total or severity == 0:
        return 0
    return max(1, math.floor(severity * total / items_per_edit + 0.5))


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


def pick(options: Sequence[Item], generator: np.random.Generator) -> Item:
    """Return one of the options, each as likely as the other."""
    return options[int(generator.integers(len(options)))]
