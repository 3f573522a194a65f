"""Tiny random models and folders of the real formats, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from aelif.artifacts import ImageRecord, write_image_records
from aelif.models.miniature.tokenizer import write_tokenizer


def write_tiny_sd(folder: Path, *, prediction: str = "epsilon") -> Path:
    """Write an SD 1.5 folder of about 0.4 M random weights: 64 px, 4 latent channels, f = 8.

    Its index names a safety checker, as SD 1.5's does; the folder has none.
    """
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = len(write_tokenizer(folder / "tokenizer", max_tokens=77))
        CLIPTextModel(CLIPTextConfig(
            hidden_size=32, intermediate_size=64, projection_dim=32, vocab_size=size, max_position_embeddings=77,
            num_hidden_layers=2, num_attention_heads=2, bos_token_id=size - 2, eos_token_id=size - 1,
            pad_token_id=size - 1,
        )).save_pretrained(folder / "text_encoder")  # fmt: skip
        AutoencoderKL(
            block_out_channels=(8, 8, 16, 16), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1, latent_channels=4,
            norm_num_groups=8, sample_size=64,
        ).save_pretrained(folder / "vae")  # fmt: skip
        UNet2DConditionModel(
            sample_size=8, block_out_channels=(16, 32), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), layers_per_block=1, attention_head_dim=2,
            cross_attention_dim=32, norm_num_groups=8,
        ).save_pretrained(folder / "unet")  # fmt: skip
    PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1,
        prediction_type=prediction,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    index = {
        "_class_name": "StableDiffusionPipeline", "scheduler": ["diffusers", "PNDMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


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


def write_tiny_sd3(folder: Path, *, t5: bool = False) -> Path:
    """Write an SD3.5-like folder of 0.4 M random weights: 64 px, CLIPs of 32 tokens, dual attention in a block."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = len(write_tokenizer(folder / "tokenizer", max_tokens=32))
        write_tokenizer(folder / "tokenizer_2", max_tokens=32, pad_token="!")
        text = {"vocab_size": size, "max_position_embeddings": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}  # fmt: skip
        first = CLIPTextConfig(hidden_size=16, intermediate_size=32, projection_dim=16, **text)
        second = CLIPTextConfig(hidden_size=32, intermediate_size=64, projection_dim=32, hidden_act="gelu", **text)
        CLIPTextModelWithProjection(first).save_pretrained(folder / "text_encoder")
        CLIPTextModelWithProjection(second).save_pretrained(folder / "text_encoder_2")
        if t5:
            _write_tiny_t5(folder, suffix="_3", width=64)
        SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=48, pos_embed_max_size=16,
            dual_attention_layers=(0,), qk_norm="rms_norm",
        ).save_pretrained(folder / "transformer")  # fmt: skip
        AutoencoderKL(**_TINY_FLOW_AUTOENCODER).save_pretrained(folder / "vae")
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusion3Pipeline", "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "transformer": ["diffusers", "SD3Transformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "text_encoder_3": ["transformers", "T5EncoderModel"] if t5 else [None, None],
        "tokenizer_3": ["transformers", "T5TokenizerFast"] if t5 else [None, None],
        "image_encoder": [None, None], "feature_extractor": [None, None],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write_tiny_flux(folder: Path, *, guidance: bool = True) -> Path:
    """Write a FLUX.1 folder of about 0.3 M random weights: like dev, or like schnell without embedded guidance."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = len(write_tokenizer(folder / "tokenizer", max_tokens=77))
        CLIPTextModel(CLIPTextConfig(
            hidden_size=32, intermediate_size=64, projection_dim=32, vocab_size=size, max_position_embeddings=77,
            num_hidden_layers=2, num_attention_heads=2, bos_token_id=size - 2, eos_token_id=size - 1,
            pad_token_id=size - 1,
        )).save_pretrained(folder / "text_encoder")  # fmt: skip
        _write_tiny_t5(folder, suffix="_2", width=48)
        FluxTransformer2DModel(
            in_channels=64, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=48, pooled_projection_dim=32, guidance_embeds=guidance, axes_dims_rope=(4, 6, 6),
        ).save_pretrained(folder / "transformer")  # fmt: skip
        AutoencoderKL(**_TINY_FLOW_AUTOENCODER).save_pretrained(folder / "vae")
    shift = 3.0 if guidance else 1.0
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift, use_dynamic_shifting=guidance)
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "FluxPipeline", "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "text_encoder_2": ["transformers", "T5EncoderModel"], "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "image_encoder": [None, None], "feature_extractor": [None, None],
    }  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


_TINY_FLOW_AUTOENCODER: dict[str, Any] = {
    "block_out_channels": (8, 8, 16, 16), "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4, "layers_per_block": 1, "latent_channels": 16, "norm_num_groups": 8,
    "sample_size": 64, "scaling_factor": 1.5, "shift_factor": 0.06, "force_upcast": False,
    "use_quant_conv": False, "use_post_quant_conv": False,
}  # fmt: skip


def _write_tiny_t5(folder: Path, *, suffix: str, width: int) -> None:
    """Write a T5 encoder of `width`, and a tokenizer that knows letters and a few words."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    words = ("▁a", "▁of", "▁on", "▁the", "▁photo", "▁backpack", "▁beach", "▁red", "▁dog")
    pieces = ("▁", *"abcdefghijklmnopqrstuvwxyz", *words)
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((piece, -float(len(pieces))) for piece in pieces)]
    T5Tokenizer(vocab=vocabulary, extra_ids=0).save_pretrained(folder / f"tokenizer{suffix}")
    config = T5Config(
        vocab_size=len(vocabulary), d_model=width, d_kv=16, d_ff=64, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    T5EncoderModel(config).save_pretrained(folder / f"text_encoder{suffix}")


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
