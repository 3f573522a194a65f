"""The table of families: what each does to a prompt, and what a prompt must hold for it."""

from __future__ import annotations

from collections.abc import Callable

from aelif.perturb import (
    characters,
    contexts,
    frames,
    grammar,
    human,
    keyboards,
    lookalikes,
    punctuation,
    synonyms,
    words,
)
from aelif.perturb.edits import Perturbed

FAMILY_FUNCTIONS: dict[str, Callable[..., Perturbed]] = {
    "keyboard": keyboards.keyboard,
    "insert": characters.insert,
    "delete": characters.delete,
    "swap": characters.swap,
    "repeat": characters.repeat,
    "substitute": characters.substitute,
    "casing": characters.casing,
    "spacing": characters.spacing,
    "punctuation": punctuation.punctuation,
    "word_drop": words.word_drop,
    "word_repeat": words.word_repeat,
    "word_swap": words.word_swap,
    "article": grammar.article,
    "filler": words.filler,
    "paper": human.paper,
    "misspelling": human.misspelling,
    "codespell": human.codespell,
    "keyboard_qwertz": keyboards.keyboard_qwertz,
    "keyboard_azerty": keyboards.keyboard_azerty,
    "keyboard_dvorak": keyboards.keyboard_dvorak,
    "ocr": lookalikes.ocr,
    "homoglyph": lookalikes.homoglyph,
    "preposition": grammar.preposition,
    "agreement": grammar.agreement,
    "tense": grammar.tense,
    "synonym": synonyms.synonym,
    "paraphrase": frames.paraphrase,
    "context": contexts.context,
}
"""Family → its function `(text, severity, generator, *, scope) -> Perturbed`."""

NEEDS = {
    "keyboard": "letter of a QWERTY keyboard",
    "insert": "letter of a known alphabet",
    "delete": "word of two letters or more",
    "swap": "pair of adjacent, different letters",
    "repeat": "letter",
    "substitute": "letter of a known alphabet",
    "casing": "letter with a small and a capital form",
    "spacing": "word of two letters, nor pair of words,",
    "punctuation": "word, nor mark,",
    "word_drop": "second word",
    "word_repeat": "word",
    "word_swap": "pair of adjacent, different words",
    "article": "article, nor place for one,",
    "filler": "word",
    "paper": f"word of {human.SHORTEST} letters or more",
    "misspelling": "word of the table of misspellings",
    "codespell": "word that codespell's dictionary has misspellings of",
    "keyboard_qwertz": "letter of a German keyboard",
    "keyboard_azerty": "letter of a French keyboard",
    "keyboard_dvorak": "letter of a Dvorak keyboard",
    "ocr": "sign that scanners misread",
    "homoglyph": "letter that looks like one of another script",
    "preposition": "preposition",
    "agreement": "known noun or verb",
    "tense": "verb",
    "synonym": "word with a known synonym",
    "paraphrase": "medium to begin with ('a photo of …')",
    "context": "word",
}
"""Family → what it lacks in a prompt that it cannot change."""


def explain_unchanged(family: str, *, is_limited: bool) -> str:
    """Return a sentence on why a family cannot change a prompt.

    Args:
        family: which.
        is_limited: whether a part of the prompt may not be hit.
    """
    return f"The prompt has no {NEEDS[family]} {'that may be hit' if is_limited else 'to change'}."
