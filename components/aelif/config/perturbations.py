"""Names of the perturbation families, and which of them are kept for honest claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aelif.config.reading import nearest, require

TUNING = (
    "keyboard", "insert", "delete", "swap", "repeat", "substitute", "casing", "spacing", "punctuation",
    "word_drop", "word_repeat", "word_swap", "article", "filler",
)  # fmt: skip
"""Families that one may train on and choose settings by."""

HELD_OUT = (
    "paper", "misspelling", "codespell", "keyboard_qwertz", "keyboard_azerty", "keyboard_dvorak", "ocr", "homoglyph",
    "preposition", "agreement", "tense", "synonym", "paraphrase",
)  # fmt: skip
"""Families that no training may see: what a variant gains on these, it gains on errors that it was not made for."""

OUT_OF_DISTRIBUTION = ("context",)
"""Families that are no errors: the prompt asks for the subject where, or as, no photo shows it."""

FAMILIES = (*TUNING, *HELD_OUT, *OUT_OF_DISTRIBUTION)
"""Perturbation families, each a function in `aelif.perturb`."""

GROUPS = {
    "tuning": TUNING,
    "held_out": tuple(family for family in HELD_OUT if family != "codespell"),  # which needs an optional package
}
"""Names that stand for several families in settings and on the command line."""


def check_families(field_name: str, families: Sequence[str]) -> None:
    """Refuse an empty list and unknown families.

    Raises:
        ValueError: names the field and the nearest family.
    """
    require(len(families) > 0, field_name, families, "give at least one")
    for family in families:
        require(family in FAMILIES or family in GROUPS, field_name, family, nearest(family, [*FAMILIES, *GROUPS]))


def expand_families(names: Iterable[str]) -> tuple[str, ...]:
    """Return the families that the names mean, each once, in order; `GROUPS` stand for their members."""
    return tuple(dict.fromkeys(family for name in names for family in GROUPS.get(name, (name,))))
