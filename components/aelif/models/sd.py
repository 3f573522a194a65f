"""Stable Diffusion 1.x and 2.x, and whatever has their parts: one CLIP encoder, AutoencoderKL, a U-Net.

Shape legend as in `aelif.models.adapter`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from aelif.models.condition import TextCondition
from aelif.models.diffusion import UNetDiffusion
from aelif.models.text import token_kinds


class StableDiffusion(UNetDiffusion):
    """Adapter of one diffusers folder (see `aelif.models.adapter.ModelAdapter`).

    Noise or velocity, 512 or 768 pixels, CLIP ViT-L or OpenCLIP ViT-H: the folder's configurations say which.
    """

    family = "sd"
    text_folders = ("tokenizer", "text_encoder")
    trainable_text = ("text_encoder",)

    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Return embeddings (B, 77, D): CLIP's last hidden states after its final layer norm, as the stock pipeline.

        Padding is attended to unless the encoder's configuration asks otherwise (`use_attention_mask`),
        for that is how these models were trained.
        """
        ids_BL, mask_BL = self._clip_tokens("", prompts)
        encoder = self._part("text_encoder")
        masked = getattr(encoder.config, "use_attention_mask", False)
        attention_BL = mask_BL.to(self._device) if masked else None
        return TextCondition(
            prompt_embeds=encoder(ids_BL.to(self._device), attention_mask=attention_BL)[0],
            pooled=None,
            token_kinds=token_kinds(mask_BL, begins=True).to(self._device),
            segments=(ids_BL.shape[1],),
        )

    def predict(
        self, noisy_BCHW: Tensor, times_B: Tensor, condition: TextCondition, *, guidance_scale: float = 1.0
    ) -> Tensor:
        """Return the U-Net's prediction in float32."""
        return self._run_unet(noisy_BCHW, times_B, condition)
