"""The frame of a prompt, "a photo of …", said otherwise; what it shows stays as it is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.graphemes import extends, is_punctuation
from aelif.perturb.scope import EVERYWHERE, Scope, closed_characters
from aelif.perturb.spans import pick

if TYPE_CHECKING:
    import numpy as np

_MEDIA = {
    "photo": ("snapshot", "shot", "photograph", "pic"),
    "photograph": ("snapshot", "shot", "photo"),
    "picture": ("depiction", "image", "visual"),
    "image": ("depiction", "picture", "visual"),
    "painting": ("painted picture", "canvas", "artwork"),
    "drawing": ("sketch", "pencil picture", "drawn picture"),
    "sketch": ("drawing", "rough drawing", "study"),
    "portrait": ("likeness", "study"),
    "illustration": ("drawing", "artwork", "plate"),
    "rendering": ("render", "computer graphic", "visualisation"),
}
"""Medium → other nouns for it."""

_PARTICIPLES = {
    "photo": "photographed", "photograph": "photographed", "picture": "pictured", "image": "pictured",
    "painting": "painted", "drawing": "drawn", "sketch": "sketched", "portrait": "portrayed",
    "illustration": "illustrated", "rendering": "rendered",
}  # fmt: skip

_FRAME = re.compile(
    r"\s*(?:(?:an?|the|this|one|my)\s+)?"
    rf"(?P<adjectives>(?:(?!(?:of|in|on|at|with|by|from|an?|the)\s)[a-z-]+\s+){{0,3}}?)"
    rf"(?P<medium>{'|'.join(_MEDIA)})"
    r"\s+(?:of|showing)\s+(?=\S)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """What stands before that which a prompt shows: the characters from `start` to `end`."""

    start: int
    end: int
    adjectives: str
    """"close-up ", or ""."""
    medium: str


def paraphrase(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Reword the medium: "a snapshot of X", "picture showing X", "X, photographed"; any severity above 0 means once.

    Prompts that do not begin with a medium ("a photo of …") cannot be changed, nor those whose
    frame holds a word that may not be hit.
    """
    frame = _find_frame(text)
    if severity <= 0 or frame is None or any(closed_characters(text, scope)[frame.start : frame.end]):
        return Perturbed(text=text, edits=())
    return make_edits(text, pick(_rewordings(text, frame), generator))


def _find_frame(text: str) -> _Frame | None:
    found = _FRAME.match(text)
    if not found or extends(text[found.end()]):
        return None
    first = next(at for at, character in enumerate(text) if not character.isspace())
    return _Frame(start=first, end=found.end(), adjectives=found["adjectives"].lower(), medium=found["medium"].lower())


def _rewordings(text: str, frame: _Frame) -> list[list[Edit]]:
    """Return the edits of every rewording."""
    medium, adjectives = frame.medium, frame.adjectives
    fronts = [_with_article(f"{adjectives}{noun}") + " of " for noun in _MEDIA[medium]]
    fronts += [f"{adjectives}{medium} showing ", _with_article(f"{adjectives}{medium}") + " that shows "]
    before, end = text[frame.start : frame.end], end_of_statement(text)
    capital = before[0].isupper()
    ways = [
        [Edit(kind="paraphrase", start=frame.start, before=before, after=after)]
        for after in ((front[0].upper() + front[1:] if capital else front) for front in fronts)
        if after != before
    ]
    lost = Edit(kind="paraphrase", start=frame.start, before=before, after="")
    backs = (f", {_PARTICIPLES[medium]}", f" in {_with_article(adjectives + medium)}")
    kept = backs[1:] if adjectives else backs  # a participle has no room for "close-up"
    return ways + [[lost, Edit(kind="paraphrase", start=end, before="", after=back)] for back in kept]


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def end_of_statement(text: str) -> int:
    """Return where words may be added at the end of a prompt: before its last punctuation and white space.

    Brackets and quotation marks that close belong to the words.
    """
    end = len(text)
    while end and (text[end - 1].isspace() or (is_punctuation(text[end - 1]) and text[end - 1] in ".,;:!?…。、！？")):
        end -= 1
    return end or len(text)
