"""From pretraining checkpoints to the packaged folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from aelif.models.miniature.architecture import IMAGE_SIZE, MAX_TOKENS, SCORER, SD3_TOKENS, SECOND_SCORER

WEIGHTS = Path(__file__).parent / "weights"
"""Where the package keeps the miniatures."""


def export_sdxl(work: Path, output: Path) -> None:
    """Write `builtin:miniature-sdxl` as a diffusers folder with half-precision safetensors."""
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from aelif.models.miniature.pretrain_denoisers import SCHEDULE
    from aelif.models.miniature.tokenizer import write_tokenizer

    tokenizer = write_tokenizer(work / "text" / "tokenizer", max_tokens=MAX_TOKENS)
    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_pretrained(work / "decoder" / "model"),
        text_encoder=CLIPTextModel.from_pretrained(work / "text" / "first"),
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(work / "text" / "second"),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel.from_pretrained(work / "unet" / "model"),
        scheduler=EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading", steps_offset=1),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(output, safe_serialization=True)


def export_sd3(work: Path, output: Path) -> None:
    """Write `builtin:miniature-sd3`: the same autoencoder and text encoders, SD3's transformer, no T5.

    SD3 takes a pooled embedding of both encoders, so the first gets a projection: the identity.
    """
    import torch
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from aelif.models.miniature.tokenizer import write_tokenizer

    tokenizer = write_tokenizer(work / "text" / "tokenizer_sd3", max_tokens=SD3_TOKENS)
    first = CLIPTextModel.from_pretrained(work / "text" / "first")
    projected = CLIPTextModelWithProjection(first.config)
    projected.text_model.load_state_dict(first.state_dict())
    torch.nn.init.eye_(projected.text_projection.weight)
    autoencoder = AutoencoderKL.from_pretrained(work / "decoder" / "model")
    autoencoder.register_to_config(shift_factor=0.0)
    pipeline = StableDiffusion3Pipeline(
        vae=autoencoder,
        text_encoder=projected,
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(work / "text" / "second"),
        text_encoder_3=None,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=None,
        transformer=SD3Transformer2DModel.from_pretrained(work / "transformer" / "model"),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(output, safe_serialization=True)


def export_scorer(work: Path, output: Path, *, name: str, shape: dict[str, Any]) -> None:
    """Write a scorer: open_clip configuration, half-precision weights, tokenizer."""
    from safetensors.torch import load_file, save_file

    from aelif.models.miniature.tokenizer import write_tokenizer

    tokenizer = write_tokenizer(output, max_tokens=shape["text_cfg"]["context_length"])
    text_config = {**shape["text_cfg"], "vocab_size": len(tokenizer)}
    half = [0.5, 0.5, 0.5]
    config = {
        "model_cfg": {**shape, "text_cfg": text_config},
        "preprocess_cfg": {"mean": half, "std": half, "size": [IMAGE_SIZE, IMAGE_SIZE]},
    }
    (output / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = load_file(work / name / "model.safetensors")
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_file(halved, output / "open_clip_model.safetensors")


EXPORTS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "sdxl": ("unet/model", export_sdxl),
    "sd3": ("transformer/model", export_sd3),
    "clip": ("scorer/model.safetensors", partial(export_scorer, name="scorer", shape=SCORER)),
    "clip-vit": ("second-scorer/model.safetensors", partial(export_scorer, name="second-scorer", shape=SECOND_SCORER)),
}
"""Packaged folder → what it is made of, and what writes it."""
