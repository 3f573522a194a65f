"""Errors of grammar as learners of English make them: articles, prepositions, number, tense.

`severity` is the share of the words that a family can get wrong, at least one. All of it is English;
in other languages nothing is found, and the text comes back unchanged, without edits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import match_case
from aelif.perturb.inflection import OTHER_NUMBER, OTHER_PERSON, other_verb_forms, plural_of
from aelif.perturb.scope import EVERYWHERE, Scope
from aelif.perturb.spans import Span, choose, find_terms, pick

if TYPE_CHECKING:
    import numpy as np

PREPOSITIONS = {
    "of": ("off", "from", "for"), "on": ("in", "at", "onto"), "in": ("on", "at", "into"), "at": ("in", "on"),
    "with": ("by", "of"), "by": ("from", "with"), "for": ("to", "of"), "to": ("at", "for"), "from": ("of", "off"),
    "into": ("in", "to"), "onto": ("on", "to"), "over": ("on", "above"), "under": ("below", "down"),
    "behind": ("after", "back"), "near": ("by", "next"), "beside": ("besides", "by"), "between": ("among", "in"),
    "around": ("about", "round"), "against": ("at", "to"), "inside": ("in", "into"), "through": ("by", "across"),
    "above": ("over", "on"), "below": ("under", "down"), "without": ("no", "with"), "during": ("while", "in"),
}  # fmt: skip
"""Preposition → what learners write for it."""

_ARTICLES = {"a": ("an", "the"), "an": ("a", "the"), "the": ("a",)}
_DETERMINERS = frozenset((
    *_ARTICLES, "this", "that", "these", "those", "my", "your", "his", "her", "its", "our", "their", "some", "any",
    "no", "every", "each", "one", "two", "three", "all",
))  # fmt: skip


def article(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Lose a, an or the, take one for another, or put one where there is none (after a preposition, before a noun)."""
    terms, sites = find_terms(text, scope), []
    for index, (word, is_open) in enumerate(terms):
        if not is_open:
            continue
        lower, before = word.text.lower(), terms[index - 1][0].text.lower() if index else ""
        if lower in _ARTICLES:
            wrong = [_replace("article", word, after) for after in _ARTICLES[lower]]
            sites.append([*wrong, *_lose("article_lost", text, terms, index)])
        elif _may_take_article(lower, before):
            some = "an" if lower[0] in "aeiou" else "a"
            sites.append([Edit(kind="article_added", start=word.start, before="", after=f"{it} ") for it in
                          (some, "the")])  # fmt: skip
    return _make(text, sites, severity, generator)


def _may_take_article(word: str, before: str) -> bool:
    """Return whether an article could stand before a word, given the word before it ("" at the beginning)."""
    if word in _DETERMINERS or word in PREPOSITIONS or not word[0].isalpha():
        return False
    return before in PREPOSITIONS or (before == "" and word in OTHER_NUMBER)


def preposition(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Take one preposition for another (of: off, from, for), or lose it."""
    terms, sites = find_terms(text, scope), []
    for index, (word, is_open) in enumerate(terms):
        if is_open and word.text.lower() in PREPOSITIONS:
            wrong = [_replace("preposition", word, after) for after in PREPOSITIONS[word.text.lower()]]
            sites.append([*wrong, *_lose("preposition_lost", text, terms, index)])
    return _make(text, sites, severity, generator)


def agreement(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Take the singular of a noun, a verb or "this" for the plural, or the reverse ("a photos", "dogs sits").

    Known are nouns common in prompts, and the subject's last word.
    """
    head, sites = _unknown_head(scope.subject), []
    for word, is_open in find_terms(text, scope):
        lower = word.text.lower()
        other = OTHER_NUMBER.get(lower) or OTHER_PERSON.get(lower) or (plural_of(lower) if lower == head else "")
        if is_open and other:
            sites.append([_replace("agreement", word, other)])
    return _make(text, sites, severity, generator)


def _unknown_head(subject: str) -> str:
    """Return the subject's last word, where it names a thing that the tables do not know; else ""."""
    words = subject.lower().split()
    if len(words) < 2 or any(word in OTHER_NUMBER for word in words):
        return ""
    return words[-1] if words[-1].isascii() and words[-1].isalpha() else ""


def tense(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Take a form of a verb for another ("sitting" for "sit", "painted" for "paint").

    Words that are nouns as often ("a painting", "a walk") count as nouns; a prompt without a verb cannot be changed.
    """
    sites = [
        [_replace("tense", word, other) for other in other_verb_forms(word.text.lower())]
        for word, is_open in find_terms(text, scope)
        if is_open and other_verb_forms(word.text.lower())
    ]
    return _make(text, sites, severity, generator)


def _replace(kind: str, word: Span, after: str) -> Edit:
    """Return the edit that puts another word in a word's place, in its case."""
    return Edit(kind=kind, start=word.start, before=word.text, after=match_case(after, word.text))


def _lose(kind: str, text: str, terms: Sequence[tuple[Span, bool]], index: int) -> list[Edit]:
    """Return the edit that leaves a word out with the space after it; none where something else follows."""
    for (word, _), (following, _) in pairwise(terms[index : index + 2]):
        if text[word.end : following.start].isspace():
            return [Edit(kind=kind, start=word.start, before=text[word.start : following.start], after="")]
    return []


def _make(text: str, sites: Sequence[Sequence[Edit]], severity: float, generator: np.random.Generator) -> Perturbed:
    """Make one edit at each of the sites chosen."""
    return make_edits(text, [pick(options, generator) for options in choose(sites, severity, generator)])
