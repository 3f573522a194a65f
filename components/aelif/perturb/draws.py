"""One perturbed prompt that is new, or why there is none."""

from __future__ import annotations

from collections.abc import Collection

from aelif.perturb.edits import Perturbed
from aelif.perturb.families import FAMILY_FUNCTIONS, explain_unchanged
from aelif.perturb.scope import Scope
from aelif.randomness import numpy_generator

ATTEMPTS = 32
"""Draws before an error that only repeats known prompts is given up."""


def draw_new(
    clean: str,
    family: str,
    severity: float,
    *,
    seen: Collection[str],
    scope: Scope,
    seed: int,
    indices: tuple[int, ...],
) -> Perturbed | str:
    """Return the first draw that is not among the prompts seen, or a sentence on why there is none.

    Args:
        clean: the prompt.
        family: one of `config.FAMILIES`.
        severity: share of the letters or words to hit, in (0, 1].
        seen: prompts that are no news.
        scope: where errors may fall.
        seed: seed of the run.
        indices: position of the draw: clean prompt, severity, draw.
    """
    for attempt in range(ATTEMPTS):
        generator = numpy_generator(seed, f"perturb/{family}", *indices, attempt)
        perturbed = FAMILY_FUNCTIONS[family](clean, severity, generator, scope=scope)
        if not perturbed.edits:
            return explain_unchanged(family, is_limited=scope.is_limited)  # whatever is drawn
        if perturbed.text not in seen and perturbed.text.strip():
            return perturbed
    return f"Every version drawn ({ATTEMPTS}) is in the table already."
