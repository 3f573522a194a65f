"""Shapes of the miniatures (SDXL, SD3 and their open_clip scorer): the real classes, made small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

IMAGE_SIZE = 64
"""Width and height of a miniature image, in pixels; latents are 8 × 8 × 16."""

MAX_TOKENS = 77
"""Prompt length of SDXL's text encoders, which the miniature keeps."""

SD3_TOKENS = 32
"""Prompt length of the SD3 miniature: every text token passes every block, so that 77 would double its cost."""

SD3_ABSENT_TOKENS = 16
"""Zeros that stand for the absent T5 (`max_sequence_length`); the stock pipeline's default is 256."""

SCORER: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 2, 2, 1], "width": 16, "head_width": 64},
    "text_cfg": {"context_length": 32, "width": 128, "heads": 4, "layers": 3},
}
"""Arguments of `open_clip.CLIP`, without the vocabulary size, which the tokenizer gives."""

SECOND_SCORER: dict[str, Any] = {
    "embed_dim": 96,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 32, "width": 96, "heads": 3, "layers": 2},
}
"""The same of the scorer that cross-checks the first: a vision transformer, where that is a convolutional network."""


def build_autoencoder() -> AutoencoderKL:
    """Return an untrained autoencoder: (B, 3, 64, 64) ↔ (B, 16, 8, 8)."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        scaling_factor=1.0,
        force_upcast=False,
    )


def build_text_encoders(vocab_size: int) -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """Return SDXL's pair of untrained text encoders, 96 and 128 wide."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    common = {
        "vocab_size": vocab_size,
        "max_position_embeddings": MAX_TOKENS,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "bos_token_id": vocab_size - 2,
        "eos_token_id": vocab_size - 1,
        "pad_token_id": vocab_size - 1,
    }
    first = CLIPTextConfig(hidden_size=96, intermediate_size=384, projection_dim=96, hidden_act="quick_gelu", **common)
    second = CLIPTextConfig(hidden_size=128, intermediate_size=512, projection_dim=128, hidden_act="gelu", **common)
    return CLIPTextModel(first), CLIPTextModelWithProjection(second)


def build_denoiser() -> UNet2DConditionModel:
    """Return an untrained U-Net over (B, 16, 8, 8) latents, conditioned as SDXL's."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 8,
        in_channels=16,
        out_channels=16,
        block_out_channels=(96, 144),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        layers_per_block=1,
        attention_head_dim=(3, 4),  # diffusers' name for the number of heads
        cross_attention_dim=96 + 128,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=128 + 6 * 32,
        use_linear_projection=True,
        norm_num_groups=16,
    )


def build_transformer() -> SD3Transformer2DModel:
    """Return an untrained diffusion transformer over (B, 16, 8, 8) latents, conditioned as SD3's."""
    from diffusers import SD3Transformer2DModel

    return SD3Transformer2DModel(
        sample_size=IMAGE_SIZE // 8,
        patch_size=1,
        in_channels=16,
        out_channels=16,
        num_layers=5,
        num_attention_heads=5,
        attention_head_dim=32,
        joint_attention_dim=96 + 128,
        caption_projection_dim=160,
        pooled_projection_dim=96 + 128,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
