"""Loading single parts of a diffusers folder, safetensors only.

The classes' own modules are imported, not the packages' lazy indices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection
from transformers.models.clip.tokenization_clip import CLIPTokenizer

_DIFFUSERS: dict[str, Any] = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
_TRANSFORMERS: dict[str, Any] = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}


def load_part(name: str, folder: Path, *, dtype: torch.dtype) -> Any:
    """Load a module of a diffusers folder, from half-precision files where it has no others.

    Args:
        name: the part's name in `model_index.json`: ``unet``, ``vae``, ``text_encoder`` or ``text_encoder_2``.
        folder: where its weights are.
        dtype: what they become.

    Raises:
        ValueError: if the folder has no safetensors.
    """
    files = [path.name for path in folder.glob("*.safetensors")]
    if not files:
        raise ValueError(f"{folder}: no .safetensors file; other formats are not loaded")
    variant = "fp16" if all(".fp16" in file for file in files) else None
    known = {"variant": variant, "use_safetensors": True, "local_files_only": True}
    if name in _DIFFUSERS:
        return _DIFFUSERS[name].from_pretrained(folder, torch_dtype=dtype, **known)
    return _TRANSFORMERS[name].from_pretrained(folder, dtype=dtype, **known)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Load a CLIP tokenizer."""
    return CLIPTokenizer.from_pretrained(folder)
