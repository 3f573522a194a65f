"""FLUX.1 (dev, schnell): T5 for the tokens, CLIP for the pooled embedding, AutoencoderKL, a transformer.

Shape legend as in `aelif.models.adapter`; N is the number of image tokens, L that of text tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from aelif.config import LoraTargets
from aelif.models.condition import TextCondition
from aelif.models.flow import FlowMatching

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
_WITH_FEED_FORWARD = (
    r".*\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out|ff(_context)?\.net\.(0\.proj|2)|proj_mlp)"
    r"|single_transformer_blocks\.\d+\.proj_out"
)
"""A pattern, because the transformer's last layer is called ``proj_out`` as well."""


class Flux(FlowMatching):
    """Adapter of one diffusers folder (see `aelif.models.adapter.ModelAdapter`).

    Neither variant takes an unconditional prediction. FLUX.1-dev reads the guidance scale as a
    number; FLUX.1-schnell, distilled to a few steps, reads none, and any scale gives the same
    images, as in the stock pipeline.
    """

    family = "flux"
    guidance = "embedded"
    text_folders = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
    trainable_text = ("text_encoder",)
    lora_targets: ClassVar[dict[LoraTargets, tuple[str, ...] | str]] = {
        "attention": _ATTENTION,
        "attention+mlp": _WITH_FEED_FORWARD,
        "all": "all-linear",
    }

    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Return T5's embeddings, and CLIP's hidden state at the end token as the pooled one."""
        embeds_BLD, kinds_BL = self._read_t5("_2", prompts)
        ids_BL, _ = self._clip_tokens("", prompts)
        return TextCondition(
            prompt_embeds=embeds_BLD,
            pooled=self._part("text_encoder")(ids_BL.to(self._device)).pooler_output,
            token_kinds=kinds_BL,
            segments=(self._max_sequence_length,),
        )

    def kept_text(self, prompt: str) -> str:
        """Return the part of the prompt that T5 reads; CLIP's pooled embedding may see less of it."""
        return self._t5_text("_2", prompt)

    def predict(
        self, noisy_BCHW: Tensor, times_B: Tensor, condition: TextCondition, *, guidance_scale: float = 1.0
    ) -> Tensor:
        """Return the transformer's prediction in float32; the scale is heeded by models that embed it."""
        assert condition.pooled is not None
        rows, _, height, width = noisy_BCHW.shape
        embeds_BLD = condition.prompt_embeds.to(self._dtype)
        guidance_B = None
        if self._denoiser_config.get("guidance_embeds", False):
            guidance_B = torch.full((rows,), guidance_scale, device=self._device)
        prediction_BND = self._part("transformer")(
            hidden_states=pack(noisy_BCHW.to(self._dtype)), timestep=times_B / 1000, guidance=guidance_B,
            pooled_projections=condition.pooled.to(self._dtype), encoder_hidden_states=embeds_BLD,
            txt_ids=torch.zeros(embeds_BLD.shape[1], 3, device=self._device),
            img_ids=image_positions(height, width, device=self._device), return_dict=False,
        )[0]  # fmt: skip
        return unpack(prediction_BND.float(), height, width)

    def _sampling_sigmas(self, steps: int) -> list[float]:
        """Return levels from 1 to 1/steps, as the stock pipeline gives its scheduler."""
        return [1 - step / steps for step in range(steps)]


def pack(latents_BCHW: Tensor) -> Tensor:
    """Return 2 × 2 patches of latents as tokens, row by row: (B, N, 4C)."""
    return latents_BCHW.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens_BND: Tensor, height: int, width: int) -> Tensor:
    """Return the latents (B, C, height, width) that `pack` made tokens of."""
    patches = tokens_BND.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def image_positions(height: int, width: int, *, device: torch.device) -> Tensor:
    """Return (0, row, column) of every image token, shape (N, 3), for latents of that size."""
    rows, columns = (torch.arange(side // 2, device=device, dtype=torch.float32) for side in (height, width))
    row_N, column_N = torch.cartesian_prod(rows, columns).unbind(1)
    return torch.stack([torch.zeros_like(row_N), row_N, column_N], dim=1)
