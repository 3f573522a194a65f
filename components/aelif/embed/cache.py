"""Image embeddings kept by content: what was embedded once, by the same weights, is read back.

Legend: N images, C channels, H × W pixels, D embedding width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from aelif.artifacts import new_file


def weights_digest(model: nn.Module) -> str:
    """Return the hex SHA-256 over names and values of a model's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class EmbeddingCache:
    """A folder of embeddings, one small file each, named by the digest of pixels and weights.

    The pixels are the preprocessed ones, so the key covers the preprocessing as well. Files
    appear whole or not at all: several steps may share a folder. An embedding's last bit depends on
    the batch that it was computed in; from a cache it is that of the first time.
    """

    def __init__(self, folder: Path, model_digest: str) -> None:
        self._folder, self._model_digest = folder, model_digest

    def wrap(self, encode: Callable[[Tensor], np.ndarray]) -> Callable[[Tensor], np.ndarray]:
        """Return `encode`, (N, C, H, W) → (N, D), that computes only what the folder lacks."""

        def encode_missing(pixels_NCHW: Tensor) -> np.ndarray:
            paths = [self._path(pixels_CHW) for pixels_CHW in pixels_NCHW]
            missing = [row for row, path in enumerate(paths) if not path.exists()]
            if missing:
                for row, embedding_D in zip(missing, encode(pixels_NCHW[missing]), strict=True):
                    with new_file(paths[row]) as temporary, temporary.open("wb") as file:
                        np.save(file, embedding_D)
            return np.stack([np.load(path) for path in paths])

        return encode_missing

    def _path(self, pixels_CHW: Tensor) -> Path:
        digest = hashlib.sha256(self._model_digest.encode())
        digest.update(repr(tuple(pixels_CHW.shape)).encode())
        digest.update(pixels_CHW.contiguous().numpy().tobytes())
        name = digest.hexdigest()
        return self._folder / name[:2] / f"{name}.npy"
