"""Embeddings by a self-supervised model, by timm: they see the subject's identity, which CLIP's words blur.

DINO's self-similarity is the mean cosine between generated and true images in such a space (Ruiz et al.,
arXiv 2208.12242, section 4.2: ViT-S/16 DINO). timm takes seconds to import, so only who asks for it pays.

Legend: N images, C channels, H × W pixels, E embedding width.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from aelif.embed.batches import ImageEmbedder
from aelif.embed.cache import weights_digest

EXAMPLE = "vit_small_patch16_224.dino"
"""The model of the DreamBooth paper, in timm's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DinoScorer(ImageEmbedder):
    """A timm model without its classifier, with its own preprocessing; made by `load_dino`."""

    def encode_pixels(self, pixels_NCHW: Tensor) -> Tensor:
        """Return features (N, E)."""
        features_NE: Tensor = self.model(pixels_NCHW)
        return features_NE


def load_dino(name: str) -> DinoScorer:
    """Return a timm model on the accelerator, if there is one.

    Args:
        name: a published timm model with weights, ``vit_small_patch16_224.dino``, or a folder with
            ``config.json`` and ``model.safetensors`` as `timm.models.save_for_hf` writes them.

    Raises:
        ValueError: if there is no such model, a folder lacks a file, or its weights do not fit.
    """
    import timm

    source = _folder_source(Path(name)) if Path(name).is_dir() else _published(name)
    try:
        model = timm.create_model(source, pretrained=True, num_classes=0)
    except (RuntimeError, KeyError, TypeError) as error:  # weights of other shapes; unknown architecture or settings
        raise ValueError(f"dino = {name!r}: its files do not make a timm model: {error}") from None
    preprocessing = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return DinoScorer(
        model=model.eval().to(device), to_pixels=preprocessing, digest=weights_digest(model), device=device
    )


def _folder_source(folder: Path) -> str:
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).exists():
            raise ValueError(f"dino = {str(folder)!r}: {file} is missing; give a folder that timm's save_for_hf wrote")
    return f"local-dir:{folder}"


def _published(name: str) -> str:
    import timm

    known = timm.list_pretrained()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {close[0]!r}?" if close else f"give one such as {EXAMPLE}"
        raise ValueError(f"dino = {name!r}: there is no such folder, and timm has no such weights; {remedy}")
    return name
