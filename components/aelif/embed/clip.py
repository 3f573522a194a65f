"""CLIP embeddings of images and prompts, by open_clip.

Legend: N images or prompts, C channels, H × W pixels, L tokens, D embedding width.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from aelif.config import nearest
from aelif.embed.batches import ImageEmbedder, unit_rows
from aelif.embed.cache import weights_digest
from aelif.imports import absent_modules, bare_packages

if TYPE_CHECKING:
    from open_clip import CLIP

BUILTIN = {"builtin:miniature-clip": "clip", "builtin:miniature-clip-vit": "clip-vit"}
"""Packaged scorer → its folder below `miniature/weights`; the second cross-checks the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer(ImageEmbedder):
    """An open_clip model with its preprocessing; made by `load_scorer`."""

    model: CLIP
    tokenize: Callable[[list[str]], Tensor]
    """Prompts → (N, L) int64."""

    def encode_pixels(self, pixels_NCHW: Tensor) -> Tensor:
        """Return features (N, D)."""
        return self.model.encode_image(pixels_NCHW)

    @torch.inference_mode()
    def embed_texts(self, prompts: Sequence[str], *, batch_size: int = 64) -> np.ndarray:
        """Return (N, D) float32 embeddings of unit length; what exceeds the model's context is cut off."""
        parts = []
        for start in range(0, len(prompts), batch_size):
            tokens_NL = self.tokenize(list(prompts[start : start + batch_size])).to(self.device)
            parts.append(unit_rows(self.model.encode_text(tokens_NL)))
        return np.concatenate(parts)


def load_scorer(name: str) -> Scorer:
    """Return a scorer on the accelerator, if there is one.

    Args:
        name: ``builtin:miniature-clip``, ``builtin:miniature-clip-vit``, a folder with `open_clip_config.json`,
            `open_clip_model.safetensors` and `tokenizer.json`, or open_clip's architecture and
            weights: ``ViT-L-14/openai``.

    Raises:
        ValueError: if there is no such model, or a folder lacks a file.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name in BUILTIN:
        return load_folder(Path(str(files("aelif") / "models" / "miniature" / "weights" / BUILTIN[name])), device)
    if name.startswith("builtin:"):
        raise ValueError(f"scorer = {name!r}: {nearest(name, BUILTIN)}")
    return load_folder(Path(name), device) if Path(name).is_dir() else load_named(name, device)


def load_folder(folder: Path, device: torch.device) -> Scorer:
    """Return a scorer from a local folder; CLIP's own towers load without the rest of open_clip.

    Raises:
        ValueError: if a file is missing or the weights do not fit the configuration.
    """
    from safetensors.torch import load_file

    for file in ("open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"):
        if not (folder / file).exists():
            raise ValueError(f"scorer = {str(folder)!r}: {file} is missing; give a folder with an open_clip model")
    config = json.loads((folder / "open_clip_config.json").read_text())
    architecture, preprocessing = config["model_cfg"], config.get("preprocess_cfg", {})
    try:
        model = _clip_class()(**architecture)
        model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    except (TypeError, RuntimeError) as error:  # unknown settings, towers from timm; weights of other shapes
        raise ValueError(f"scorer = {str(folder)!r}: its files do not make an open_clip.CLIP: {error}") from None
    return Scorer(
        model=model.eval().to(device),
        to_pixels=_preprocessing(architecture["vision_cfg"].get("image_size", 224), preprocessing),
        tokenize=_tokenizer(folder / "tokenizer.json", architecture["text_cfg"].get("context_length", 77)),
        digest=weights_digest(model),
        device=device,
    )


def load_named(name: str, device: torch.device) -> Scorer:
    """Return one of open_clip's published models, named as architecture/weights.

    Raises:
        ValueError: if open_clip knows no such architecture or weights.
    """
    import open_clip

    architecture, _, weights = name.partition("/")
    if architecture not in open_clip.list_models():
        close = difflib.get_close_matches(architecture, [*BUILTIN, *open_clip.list_models()], n=1)
        usual = f"give one such as {next(iter(BUILTIN))} or ViT-L-14/openai"
        remedy = f"did you mean {close[0]!r}?" if close else usual
        raise ValueError(f"scorer = {name!r}: there is no such folder or open_clip model; {remedy}")
    known = open_clip.list_pretrained_tags_by_model(architecture)
    if weights not in known:
        raise ValueError(f"scorer = {name!r}: {architecture} has no weights {weights!r}; {nearest(weights, known)}")
    model, _, to_pixels = open_clip.create_model_and_transforms(architecture, pretrained=weights, device=device)
    tokenize = open_clip.get_tokenizer(architecture)
    return Scorer(
        model=model.eval(), to_pixels=to_pixels, tokenize=tokenize, digest=weights_digest(model), device=device
    )


def _clip_class() -> type[CLIP]:
    """Return `open_clip.CLIP` without importing timm, transformers and torchvision's models, which it does not use."""
    with absent_modules("timm", "transformers"), bare_packages("open_clip", "torchvision", "torchvision.ops"):
        from open_clip.model import CLIP
    return CLIP


def _preprocessing(size: int, config: dict[str, Any]) -> Callable[[Image.Image], Tensor]:
    """Return open_clip's evaluation transform: shorter side to `size`, centre crop, (x / 255 − mean) / std."""
    mean_3, std_3 = (torch.tensor(config.get(name, [0.5, 0.5, 0.5])).view(3, 1, 1) for name in ("mean", "std"))

    def to_pixels(image: Image.Image) -> Tensor:
        if image.size != (size, size):
            scale = size / min(image.size)
            width, height = (max(size, int(side * scale)) for side in image.size)
            left, top = round((width - size) / 2), round((height - size) / 2)
            resized = image.resize((width, height), Image.Resampling.BICUBIC)
            image = resized.crop((left, top, left + size, top + size))
        pixels_HWC = torch.from_numpy(np.array(image, dtype=np.uint8))
        return (pixels_HWC.permute(2, 0, 1).float() / 255 - mean_3) / std_3

    return to_pixels


def _tokenizer(path: Path, context_length: int) -> Callable[[list[str]], Tensor]:
    """Return a CLIP tokenizer: ids padded with zeros after the end, which has the highest id as open_clip expects."""
    from tokenizers import Tokenizer  # the library below transformers' tokenizers, at a hundredth of their import

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(context_length)

    def tokenize(prompts: list[str]) -> Tensor:
        tokens_NL = torch.zeros(len(prompts), context_length, dtype=torch.int64)
        for row, encoding in enumerate(tokenizer.encode_batch(prompts)):
            tokens_NL[row, : len(encoding.ids)] = torch.tensor(encoding.ids)
        return tokens_NL

    return tokenize
