"""Names of the perturbation families."""

from __future__ import annotations

from collections.abc import Sequence

from aelif.config.reading import nearest, require

FAMILIES = (
    "keyboard", "insert", "delete", "swap", "repeat", "substitute", "casing",
    "spacing", "word_drop", "word_repeat", "word_swap", "paper",
)  # fmt: skip
"""Perturbation families, each a function in `aelif.perturb`."""


def check_families(field_name: str, families: Sequence[str]) -> None:
    """Refuse an empty list and unknown families.

    Raises:
        ValueError: names the field and the nearest family.
    """
    require(len(families) > 0, field_name, families, "give at least one")
    for family in families:
        require(family in FAMILIES, field_name, family, nearest(family, FAMILIES))
