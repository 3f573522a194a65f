"""The stock diffusers pipeline with trained weights in it: nothing of ours inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aelif.artifacts import read_json
from aelif.models.completeness import UNUSED_PARTS, family_of

if TYPE_CHECKING:
    import torch
    from diffusers import DiffusionPipeline


def open_pipeline(
    base: Path, model: Path | None, *, dtype: torch.dtype, device: torch.device | str
) -> DiffusionPipeline:
    """Return the pipeline that `base` names, with the weights that `save_trained` wrote to `model`.

    LoRA is put in by the pipeline's own `load_lora_weights`, and stays unmerged; a fully trained
    denoiser takes the place of the base model's. Without safety checker and watermark: pictures
    come out as the model made them, to be measured.

    Args:
        base: diffusers folder of the base model.
        model: folder with `pytorch_lora_weights.safetensors`, the denoiser, or both; None: the base model.
        dtype: of all parts.
        device: where the pipeline goes.

    Raises:
        ValueError: if the base is of an unknown family, or `model` holds no trained weights.
    """
    import diffusers

    from aelif.models.lora import LORA_FILE, trained_files

    index = read_json(base / "model_index.json")
    family = family_of(index, uri=str(base))
    denoiser = "unet" if "unet" in index else "transformer"
    absent = [name for name, value in index.items() if value == [None, None]]  # SD3 asks for its T5 by name
    parts: dict[str, Any] = dict.fromkeys([*absent, *(name for name in UNUSED_PARTS if name in index)])
    if family == "sd":
        parts["requires_safety_checker"] = False
    if family == "sdxl":
        parts["add_watermarker"] = False
    has_lora, has_denoiser = trained_files(model, denoiser=denoiser, family=family) if model else (False, False)
    if model is not None and has_denoiser:
        from aelif.models.loading import load_part

        parts[denoiser] = load_part(index[denoiser][1], model / denoiser, dtype=dtype)
    stock = getattr(diffusers, index["_class_name"])
    pipeline = stock.from_pretrained(base, torch_dtype=dtype, use_safetensors=True, local_files_only=True, **parts)
    if has_lora:
        pipeline.load_lora_weights(model, weight_name=LORA_FILE, local_files_only=True)
    return pipeline.to(device)
