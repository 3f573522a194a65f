"""Tiny random models and folders of the real formats, for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from aelif.artifacts import ImageRecord, write_image_records
from aelif.models.miniature.tokenizer import write_tokenizer


def write_tiny_sdxl(folder: Path, *, prediction: str = "epsilon", force_zeros: bool = True) -> Path:
    """Write an SDXL folder of about 0.6 M random weights: 64 px, 16 latent channels, f = 8."""
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = len(write_tokenizer(folder / "tokenizer", max_tokens=77))
        write_tokenizer(folder / "tokenizer_2", max_tokens=77, pad_token="!")
        text = {"vocab_size": size, "max_position_embeddings": 77, "num_hidden_layers": 2, "num_attention_heads": 2,
                "bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}  # fmt: skip
        first = CLIPTextConfig(hidden_size=16, intermediate_size=32, projection_dim=16, **text)
        second = CLIPTextConfig(hidden_size=32, intermediate_size=64, projection_dim=32, hidden_act="gelu", **text)
        CLIPTextModel(first).save_pretrained(folder / "text_encoder")
        CLIPTextModelWithProjection(second).save_pretrained(folder / "text_encoder_2")
        AutoencoderKL(
            block_out_channels=(8, 8, 16, 16), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=16,
            norm_num_groups=8, sample_size=64, scaling_factor=0.7, force_upcast=False,
        ).save_pretrained(folder / "vae")  # fmt: skip
        UNet2DConditionModel(
            sample_size=8, in_channels=16, out_channels=16, block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), layers_per_block=1, attention_head_dim=(2, 2),
            cross_attention_dim=48, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=32 + 6 * 8, use_linear_projection=True, norm_num_groups=8,
        ).save_pretrained(folder / "unet")  # fmt: skip
    EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="leading",
        steps_offset=1, prediction_type=prediction,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    index = {
        "_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": force_zeros,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write_photos(folder: Path, *, count: int, text: str, size: int = 64, seed: int = 0) -> Path:
    """Write an image folder of smooth random pictures, all with one caption."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    records = []
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        name = f"{index:04d}.png"
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(folder / name)
        records.append(ImageRecord(file_name=name, text=text, image_index=index))
    write_image_records(folder, records)
    return folder
