"""Embedding-level stress: augmentations of clean prompts' embeddings when images are generated.

It shows the denoiser's own robustness, without the text encoder's share in what a misspelt prompt does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Generator

from aelif.augment.apply import FUNCTIONS
from aelif.augment.interface import Draw
from aelif.config import StressConfig
from aelif.config.training import StringScope
from aelif.models.condition import TextCondition
from aelif.randomness import torch_generator


def stress_condition(
    condition: TextCondition,
    *,
    row: Mapping[str, Any],
    image_indices: Sequence[int],
    config: StressConfig,
    seed: int,
) -> TextCondition:
    """Return one augmented row for each image of a stress prompt.

    Every image has a draw of its own, the same for all variants and magnitudes: what a small
    magnitude hits, a larger one hits as well, so that curves over the magnitude are smooth.

    Args:
        condition: the clean prompt's, one row.
        row: of the prompt table: ``family`` is the augmentation, ``severity`` its magnitude; ``clean_id``.
        image_indices: numbers of the images.
        config: the augmentations' settings.
        seed: of the draws.
    """
    purpose = f"synthesize/stress/{row['family']}"
    draw = Draw(
        magnitudes=torch.full((len(image_indices),), float(row["severity"]), dtype=torch.float64),
        generators=[torch_generator(seed, purpose, row["clean_id"], index) for index in image_indices],
        config=config.settings,
        pool=_NoPool(),
    )
    return FUNCTIONS[row["family"]](condition.repeat(len(image_indices)), draw)


class _NoPool:
    """`StressConfig` admits no augmentation that puts another prompt in a row's place."""

    def null(self) -> NoReturn:
        raise AssertionError("stress takes no unconditional rows")

    def misspelt(self, generators: Sequence[Generator], scope: StringScope) -> NoReturn:
        raise AssertionError("stress takes no misspelt rows")
