"""What every augmentation takes and returns, so that all compete on equal terms.

Shape legend: B rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Generator, Tensor

from aelif.config import AugmentationConfig
from aelif.config.training import StringScope
from aelif.models.condition import TextCondition


class TextPool(Protocol):
    """Other conditions that a row may be replaced by; cached, or encoded now where text encoders are trained."""

    def null(self) -> TextCondition:
        """Return B unconditional rows."""

    def misspelt(self, generators: Sequence[Generator], scope: StringScope) -> TextCondition:
        """Return B rows: one misspelt version of each row's own prompt, chosen by the row's generator.

        Its errors lie within the scope; a prompt that holds nothing of it stays as it is.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What one augmentation may use for B rows."""

    magnitudes: Tensor
    """(B,) float64 on the CPU."""
    generators: Sequence[Generator]
    """One CPU generator per row: a function of (seed, step, row, term); rows share no generator object."""
    config: AugmentationConfig
    pool: TextPool

    def misspelt(self) -> TextCondition:
        """Return a misspelt version of each row's prompt, drawn anew at every call; errors fall where the term says."""
        return self.pool.misspelt(self.generators, self.config.string_scope)


Augmentation = Callable[[TextCondition, Draw], TextCondition]
"""From B clean rows to B augmented ones; the input is not changed."""
