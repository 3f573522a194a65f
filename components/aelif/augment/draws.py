"""The numbers that augmentations draw: each row's from a generator of its own, on the CPU.

So what happens to a row is a function of (seed, step, row) alone: not of the rows beside it, of how
a batch is cut over passes and devices, or of the kind of device. Shape legend: B rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from aelif.randomness import torch_generator

if TYPE_CHECKING:
    from aelif.config import Magnitude


def draw_uniform(generators: Sequence[Generator], *shape: int) -> Tensor:
    """Return float32 numbers from U(0, 1), shape (B, *shape); 1 itself never comes."""
    numbers = torch.empty(len(generators), *shape)
    for row, generator in zip(numbers, generators, strict=True):
        row.uniform_(generator=generator)
    return numbers


def draw_normal(generators: Sequence[Generator], *shape: int) -> Tensor:
    """Return float32 numbers from N(0, 1), shape (B, *shape)."""
    numbers = torch.empty(len(generators), *shape)
    for row, generator in zip(numbers, generators, strict=True):
        row.normal_(generator=generator)
    return numbers


def draw_magnitudes(
    magnitude: Magnitude, *, seed: int, purpose: str, step: int, slots: Sequence[int], done: float
) -> Tensor:
    """Return each row's magnitude, shape (B,), float64: constant, drawn per row, or grown with the training.

    A range has generators of its own, so that it hits the same positions as a constant magnitude.

    Args:
        magnitude: as the variant says.
        seed: the run's seed.
        purpose: what the numbers are for.
        step: optimizer step.
        slots: each row's number within the step.
        done: share of the training that is over, in [0, 1); a ramp is linear in it.
    """
    start, end = magnitude.start, magnitude.end
    if magnitude.kind == "range":
        generators = [torch_generator(seed, f"{purpose}/magnitude", step, slot) for slot in slots]
        shares = [torch.rand((), dtype=torch.float64, generator=generator).item() for generator in generators]
    else:
        shares = [done if magnitude.kind == "ramp" else 0.0] * len(slots)
    return torch.tensor([start + (end - start) * share for share in shares], dtype=torch.float64)
