"""Loading single parts of a diffusers folder, safetensors only.

The classes' own modules are imported, not the packages' lazy indices.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from aelif.config import nearest

_MODULES = {
    "AutoencoderKL": "diffusers.models.autoencoders.autoencoder_kl",
    "UNet2DConditionModel": "diffusers.models.unets.unet_2d_condition",
    "SD3Transformer2DModel": "diffusers.models.transformers.transformer_sd3",
    "FluxTransformer2DModel": "diffusers.models.transformers.transformer_flux",
    "CLIPTextModel": "transformers.models.clip.modeling_clip",
    "CLIPTextModelWithProjection": "transformers.models.clip.modeling_clip",
    "T5EncoderModel": "transformers.models.t5.modeling_t5",
    "CLIPTokenizer": "transformers.models.clip.tokenization_clip",
    "T5Tokenizer": "transformers.models.t5.tokenization_t5",
}
"""Class in `model_index.json` → module that defines it."""

_RENAMED = {"T5TokenizerFast": "T5Tokenizer"}
"""Class of older transformers, which published models name → the one that took its place."""


def import_class(name: str) -> Any:
    """Return a class of diffusers or transformers that `model_index.json` names.

    Raises:
        ValueError: if no family is made of such a part.
    """
    name = _RENAMED.get(name, name)
    if name not in _MODULES:
        raise ValueError(f"model_index.json names a part of class {name!r}; {nearest(name, _MODULES)}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def load_part(class_name: str, folder: Path, *, dtype: torch.dtype) -> Any:
    """Load a module of a diffusers folder, from half-precision files where it has no others.

    Args:
        class_name: its class in `model_index.json`.
        folder: where its weights are.
        dtype: what they become.

    Raises:
        ValueError: if the folder has no safetensors.
    """
    files = [path.name for path in folder.glob("*.safetensors")]
    if not files:
        others = ", ".join(sorted(path.name for path in folder.glob("*") if path.suffix != ".json")) or "nothing else"
        raise ValueError(f"{folder}: no .safetensors file, but {others}; other formats are not loaded: convert it "
                         "with pipeline.save_pretrained(folder, safe_serialization=True)")  # fmt: skip
    variant = "fp16" if all(".fp16" in file for file in files) else None
    known = {"variant": variant, "use_safetensors": True, "local_files_only": True}
    keyword = "torch_dtype" if _MODULES.get(class_name, "").startswith("diffusers.") else "dtype"
    return import_class(class_name).from_pretrained(folder, **{keyword: dtype}, **known)


def load_tokenizer(class_name: str, folder: Path) -> Any:
    """Load a tokenizer of CLIP or T5."""
    return import_class(class_name).from_pretrained(folder)
