"""Read, preprocess and embed images batch by batch, whatever the model.

Legend: N images, C channels, H × W pixels, D embedding width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from aelif.embed.cache import EmbeddingCache

Report = Callable[[int, int], None]
"""Told how many images of how many are embedded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEmbedder(ABC):
    """A model that embeds images, with its preprocessing."""

    model: nn.Module
    to_pixels: Callable[[Image.Image], Tensor]
    """RGB image → (C, H, W) float32, as the model was trained."""
    digest: str
    """Digest of the weights: embeddings of different models have no distance."""
    device: torch.device

    @abstractmethod
    def encode_pixels(self, pixels_NCHW: Tensor) -> Tensor:
        """Return features (N, D) of preprocessed images on the model's device."""

    @torch.inference_mode()
    def embed_images(
        self,
        images: Sequence[Path | Image.Image],
        *,
        batch_size: int = 64,
        cache: Path | None = None,
        report: Report | None = None,
    ) -> np.ndarray:
        """Return (N, D) float32 embeddings of unit length.

        Args:
            images: files or images of any size.
            batch_size: images embedded at once.
            cache: folder that keeps embeddings by the content of image and model; none: not kept.
            report: told after every batch.

        Raises:
            ValueError: if there are no images.
        """
        if not images:
            raise ValueError("images = []: there is nothing to embed")
        known = self._encode if cache is None else EmbeddingCache(cache, self.digest).wrap(self._encode)
        parts = []
        for start in range(0, len(images), batch_size):
            pixels = [self.to_pixels(read_rgb(image)) for image in images[start : start + batch_size]]
            parts.append(known(torch.stack(pixels)))
            if report is not None:
                report(min(start + batch_size, len(images)), len(images))
        return np.concatenate(parts)

    def _encode(self, pixels_NCHW: Tensor) -> np.ndarray:
        return unit_rows(self.encode_pixels(pixels_NCHW.to(self.device)))


def read_rgb(image: Path | Image.Image) -> Image.Image:
    """Return an image in RGB, read if it is a file."""
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    with Image.open(image) as opened:
        return opened.convert("RGB")


def unit_rows(features_ND: Tensor) -> np.ndarray:
    """Return features as (N, D) float32 rows of unit length."""
    return F.normalize(features_ND.float(), dim=-1).cpu().numpy()
