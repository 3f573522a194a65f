"""Stable Diffusion XL, and whatever has its parts: two CLIP encoders, AutoencoderKL, a U-Net.

Shape legend as in `aelif.models.adapter`; S is the number of size numbers (6).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from aelif.artifacts import read_json
from aelif.models.condition import TextCondition, TokenKind
from aelif.models.diffusion import UNetDiffusion


class StableDiffusionXL(UNetDiffusion):
    """Adapter of one diffusers folder (see `aelif.models.adapter.ModelAdapter`)."""

    family = "sdxl"
    text_folders = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
    trainable_text = ("text_encoder", "text_encoder_2")

    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Return embeddings (B, 77, D) of both encoders side by side, and the second's pooled one.

        The embeddings are the last but one hidden states, as in the stock pipeline.
        """
        hidden_BLD, outputs, kinds_BL = self._read_two_clips(prompts)
        return TextCondition(
            prompt_embeds=hidden_BLD, pooled=outputs[1][0], token_kinds=kinds_BL, segments=(hidden_BLD.shape[1],)
        )

    def _encode_null(self) -> TextCondition:
        """Return zeros where the model asks for them (`force_zeros_for_empty_prompt`), else the empty prompt."""
        if not self._index.get("force_zeros_for_empty_prompt", True):
            return super()._encode_null()
        widths = [read_json(self._base / f"text_encoder{s}" / "config.json") for s in ("", "_2")]
        shape = (1, self._clip_length, sum(int(config["hidden_size"]) for config in widths))
        return TextCondition(
            prompt_embeds=torch.zeros(shape, device=self._device),
            pooled=torch.zeros(1, int(widths[1]["projection_dim"]), device=self._device),
            token_kinds=torch.full(shape[:2], int(TokenKind.PAD), dtype=torch.int8, device=self._device),
            segments=(shape[1],),
        )

    def predict(
        self, noisy_BCHW: Tensor, times_B: Tensor, condition: TextCondition, *, guidance_scale: float = 1.0
    ) -> Tensor:
        """Return the U-Net's prediction in float32, told that the image is uncropped and of the latents' size."""
        assert condition.pooled is not None
        height, width = (side * self._factor for side in noisy_BCHW.shape[-2:])
        sizes_S = torch.tensor([height, width, 0, 0, height, width], device=self._device, dtype=self._dtype)
        added = {"text_embeds": condition.pooled.to(self._dtype), "time_ids": sizes_S.expand(len(noisy_BCHW), -1)}
        return self._run_unet(noisy_BCHW, times_B, condition, added_cond_kwargs=added)
