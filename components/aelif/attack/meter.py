"""How far from the photos the images of prompts lie: many prompts at once, images of one noise.

Shape legend: M photos, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from aelif.config import SynthesisConfig
from aelif.models.adapter import ModelAdapter
from aelif.models.condition import concatenate
from aelif.models.sampling import sample
from aelif.randomness import torch_generator
from aelif.score.wasserstein import wasserstein

if TYPE_CHECKING:
    from aelif.embed.clip import Scorer


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A trained model, and the photos that its images are measured against. Text encoders stay loaded."""

    adapter: ModelAdapter
    scorer: Scorer
    reference: np.ndarray
    """(M, D) embeddings of the photos."""
    config: SynthesisConfig
    image_size: int

    def paint(self, prompts: Sequence[str], *, purpose: str, clean_id: int, count: int) -> list[list[Image.Image]]:
        """Return `count` images of each prompt; image i of every prompt starts from the same noise.

        Batches mix prompts, up to ``config.batch_size`` images.

        Args:
            prompts: what to paint.
            purpose: key of the noise.
            clean_id: the attacked prompt, another key of the noise: variants get the same.
            count: images of each prompt.
        """
        conditions = concatenate([self.adapter.encode_text([prompt]) for prompt in prompts])
        wanted = [(row, index) for row in range(len(prompts)) for index in range(count)]
        painted: list[list[Image.Image]] = [[] for _ in prompts]
        for start in range(0, len(wanted), self.config.batch_size):
            batch = wanted[start : start + self.config.batch_size]
            rows = torch.tensor([row for row, _ in batch], device=conditions.prompt_embeds.device)
            generators = [torch_generator(self.config.seed, purpose, clean_id, index) for _, index in batch]
            pixels = sample(
                self.adapter, conditions.select(rows), generators, config=self.config, image_size=self.image_size
            )
            for (row, _), image in zip(batch, pixels, strict=True):
                painted[row].append(Image.fromarray(image.numpy()))
        return painted

    def distances(self, painted: Sequence[Sequence[Image.Image]]) -> list[float]:
        """Return W1 between each prompt's images and the photos."""
        embeddings = self.scorer.embed_images([image for images in painted for image in images])
        ends = np.cumsum([len(images) for images in painted])[:-1]
        return [wasserstein(group_ND, self.reference, order=1) for group_ND in np.split(embeddings, ends)]
