"""Read, preprocess and embed images batch by batch, whatever the model.

Legend: N images, C channels, H × W pixels, D embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from aelif.embed.cache import EmbeddingCache

Report = Callable[[int, int], None]
"""Told how many images of how many are embedded."""


def embed_in_batches(
    images: Sequence[Path | Image.Image],
    *,
    to_pixels: Callable[[Image.Image], Tensor],
    encode: Callable[[Tensor], np.ndarray],
    batch_size: int,
    cache: EmbeddingCache | None,
    report: Report | None,
) -> np.ndarray:
    """Return (N, D) float32 embeddings.

    Args:
        images: files or images of any size.
        to_pixels: RGB image → (C, H, W) float32.
        encode: (N, C, H, W) → (N, D) float32.
        batch_size: images embedded at once.
        cache: keeps what was embedded; None: nothing is kept.
        report: told after every batch.

    Raises:
        ValueError: if there are no images.
    """
    if not images:
        raise ValueError("images = []: there is nothing to embed")
    known = encode if cache is None else cache.wrap(encode)
    parts = []
    for start in range(0, len(images), batch_size):
        pixels = [to_pixels(read_rgb(image)) for image in images[start : start + batch_size]]
        parts.append(known(torch.stack(pixels)))
        if report is not None:
            report(min(start + batch_size, len(images)), len(images))
    return np.concatenate(parts)


def read_rgb(image: Path | Image.Image) -> Image.Image:
    """Return an image in RGB, read if it is a file."""
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    with Image.open(image) as opened:
        return opened.convert("RGB")


def unit_rows(features_ND: Tensor) -> np.ndarray:
    """Return features as (N, D) float32 rows of unit length."""
    return F.normalize(features_ND.float(), dim=-1).cpu().numpy()
