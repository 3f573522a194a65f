"""What a person calls one letter: a code point and the marks that combine with it."""

from __future__ import annotations

import string
import unicodedata
from functools import lru_cache


def extends(character: str) -> bool:
    """Return whether a character belongs to the one before it: a mark, a joiner, a Hangul vowel or final."""
    if character.isascii():
        return False
    return (
        unicodedata.category(character).startswith("M")
        or character in "\u200c\u200d"  # zero width non-joiner and joiner
        or "\u1160" <= character <= "\u11ff"
    )


def is_punctuation(character: str) -> bool:
    """Return whether a character is a comma, a full stop, a bracket, a quotation mark … of any script."""
    return unicodedata.category(character).startswith("P")


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


def match_case(word: str, model: str) -> str:
    """Return a word in small letters written as its model is: in capitals, with a capital, or as it stands."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if model[0].isupper() and word[0].islower() else word
