"""Errors that people make in prompts: seeded, recorded edit by edit, safe for any script."""

from collections.abc import Callable

from aelif.perturb import characters, human, words
from aelif.perturb.edits import Edit, Perturbed, apply_edits

FAMILY_FUNCTIONS: dict[str, Callable[..., Perturbed]] = {
    "keyboard": characters.keyboard,
    "insert": characters.insert,
    "delete": characters.delete,
    "swap": characters.swap,
    "repeat": characters.repeat,
    "substitute": characters.substitute,
    "casing": characters.casing,
    "spacing": characters.spacing,
    "word_drop": words.word_drop,
    "word_repeat": words.word_repeat,
    "word_swap": words.word_swap,
    "paper": human.paper,
}
"""Family → its function `(text, severity, generator, *, protected) -> Perturbed`."""

__all__ = ["FAMILY_FUNCTIONS", "Edit", "Perturbed", "apply_edits"]
