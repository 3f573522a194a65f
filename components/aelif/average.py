"""The exponential average of trained weights, which is saved in their stead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


class WeightAverage:
    """average ← d·average + (1 - d)·weights, with d = min(decay, (step + 1) / (step + 10)) in its beginning."""

    def __init__(self, weights: Mapping[str, Tensor], *, decay: float) -> None:
        self._weights, self._decay = dict(weights), decay
        self._average = {name: weight.detach().clone() for name, weight in weights.items()} if decay else {}

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The averages by name, for checkpoints; none with decay 0."""
        return {f"average.{name}": tensor for name, tensor in self._average.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after an optimizer step, counted from 0."""
        if self._average:
            decay = min(self._decay, (step + 1) / (step + 10))
            torch._foreach_lerp_([*self._average.values()], [self._weights[n] for n in self._average], 1 - decay)

    def adopt(self) -> None:
        """Leave the model holding the averages."""
        self._copy(self._average)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the averages into the model; leaving, the weights are what they were, to the bit."""
        kept = {name: self._weights[name].detach().clone() for name in self._average}
        try:
            self.adopt()
            yield
        finally:
            self._copy(kept)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._weights[name].copy_(value)
