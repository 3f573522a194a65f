"""From pretraining checkpoints to the packaged folders, and the shipped example subject."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image, ImageDraw

from aelif.models.miniature.architecture import IMAGE_SIZE, MAX_TOKENS, SCORER, SD3_TOKENS
from aelif.models.miniature.scenes import glyph, paint_background, place_on, tint_glyph
from aelif.randomness import numpy_generator

WEIGHTS = Path(__file__).parent / "weights"
"""Where the package keeps the miniatures."""


def export_sdxl(work: Path, output: Path = WEIGHTS / "sdxl") -> None:
    """Write `builtin:miniature-sdxl` as a diffusers folder with half-precision safetensors."""
    import torch
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from aelif.models.miniature.pretrain_denoisers import SCHEDULE
    from aelif.models.miniature.tokenizer import write_tokenizer

    tokenizer = write_tokenizer(work / "text" / "tokenizer", max_tokens=MAX_TOKENS)
    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_pretrained(work / "autoencoder" / "model"),
        text_encoder=CLIPTextModel.from_pretrained(work / "text" / "first"),
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(work / "text" / "second"),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel.from_pretrained(work / "denoiser" / "model"),
        scheduler=EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="leading", steps_offset=1),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(output, safe_serialization=True)


def export_sd3(work: Path, output: Path = WEIGHTS / "sd3") -> None:
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
    autoencoder = AutoencoderKL.from_pretrained(work / "autoencoder" / "model")
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


def export_scorer(work: Path, output: Path = WEIGHTS / "clip") -> None:
    """Write `builtin:miniature-clip`: open_clip configuration, half-precision weights, tokenizer."""
    from safetensors.torch import load_file, save_file

    from aelif.models.miniature.tokenizer import write_tokenizer

    context = SCORER["text_cfg"]["context_length"]
    tokenizer = write_tokenizer(output, max_tokens=context)
    text_config = {**SCORER["text_cfg"], "vocab_size": len(tokenizer)}
    half = [0.5, 0.5, 0.5]
    config = {
        "model_cfg": {**SCORER, "text_cfg": text_config},
        "preprocess_cfg": {"mean": half, "std": half, "size": [IMAGE_SIZE, IMAGE_SIZE]},
    }
    (output / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    state = load_file(work / "scorer" / "model.safetensors")
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_file(halved, output / "open_clip_model.safetensors")


def draw_subject(output: Path, *, size: int = 256, seed: int = 7) -> None:
    """Draw the example subject, a purple backpack with a yellow star, as six photos with captions."""
    subject = tint_glyph(glyph("backpack"), 0.76)
    _draw_star(subject)
    output.mkdir(parents=True, exist_ok=True)
    for index, ground in enumerate(["white", "on the beach", "gray", "on the grass", "yellow", "in the snow"]):
        generator = numpy_generator(seed, "miniature/subject", index)
        photo = place_on(subject, paint_background(ground, size, generator), size, generator)
        photo.save(output / f"{index:02d}.jpg", quality=92)


def _draw_star(image: Image.Image) -> None:
    """Put a star on the backpack's pocket: the sign by which it is told from other backpacks."""
    import math

    center, radius = (image.width * 0.5, image.height * 0.68), image.width * 0.2
    corners = []
    for corner in range(10):
        angle, reach = math.pi * (corner / 5 - 0.5), radius * (1 if corner % 2 == 0 else 0.45)
        corners.append((center[0] + reach * math.cos(angle), center[1] + reach * math.sin(angle)))
    ImageDraw.Draw(image).polygon(corners, fill=(255, 214, 40, 255), outline=(150, 100, 0, 255))
