"""The subject where no photo shows it, or as none does: DreamBooth's prompts for objects.

The 25 contexts are those of the dataset of Ruiz et al., "DreamBooth", CVPR 2023
(https://github.com/google/dreambooth, `dataset/prompts_and_classes.txt`), CC BY 4.0, in its order;
"a {0} {1}" of each has become the prompt at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aelif.perturb.edits import Edit, Perturbed, make_edits
from aelif.perturb.frames import end_of_statement
from aelif.perturb.scope import EVERYWHERE, Scope, find_phrase
from aelif.perturb.spans import pick

if TYPE_CHECKING:
    import numpy as np

PLACES = (
    "in the jungle",
    "in the snow",
    "on the beach",
    "on a cobblestone street",
    "on top of pink fabric",
    "on top of a wooden floor",
    "with a city in the background",
    "with a mountain in the background",
    "with a blue house in the background",
    "on top of a purple rug in a forest",
    "with a wheat field in the background",
    "with a tree and autumn leaves in the background",
    "with the Eiffel Tower in the background",
    "floating on top of water",
    "floating in an ocean of milk",
    "on top of green grass with sunflowers around it",
    "on top of a mirror",
    "on top of the sidewalk in a crowded street",
    "on top of a dirt road",
    "on top of a white rug",
)
"""What is said after the subject."""

LOOKS = ("red", "purple", "shiny", "wet", "cube shaped")
"""What is said before it; none begins with a vowel."""

CONTEXTS = (*PLACES, *LOOKS)


def context(text: str, severity: float, generator: np.random.Generator, *, scope: Scope = EVERYWHERE) -> Perturbed:
    """Put the subject into one of the 25 contexts; any severity above 0 means one.

    That is no error: no word is hit, so that it matters not which are protected or targets. Looks are
    among the choices where the scope names a subject and the prompt holds it.
    """
    if severity <= 0:
        return Perturbed(text=text, edits=())
    choices = CONTEXTS if find_phrase(text, scope.subject) else PLACES
    return put_in_context(text, pick(choices, generator), subject=scope.subject)


def put_in_context(text: str, words: str, *, subject: str) -> Perturbed:
    """Return the prompt with one of `CONTEXTS`: places at its end, looks before its subject.

    Without words to add to, or without the subject where a look is asked for, the prompt stays as it is.
    """
    if not any(map(str.isalnum, text)):
        return Perturbed(text=text, edits=())
    if words in PLACES:
        return make_edits(text, [Edit(kind="context", start=end_of_statement(text), before="", after=f" {words}")])
    found = find_phrase(text, subject)
    if not found:
        return Perturbed(text=text, edits=())
    start, before = found[0][0], text[: found[0][0]]
    edits = [Edit(kind="context", start=start, before="", after=f"{words} ")]
    if before.lower().endswith((" an ", "\tan ")) or before.lower() == "an ":
        edits.append(Edit(kind="context", start=start - 2, before=text[start - 2], after=""))  # an olis toy: a red …
    return make_edits(text, edits)
