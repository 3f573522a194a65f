"""Stable Diffusion 3 and 3.5: two CLIP encoders, T5 where the model has it, AutoencoderKL, a transformer.

Shape legend as in `aelif.models.adapter`; L is the number of token positions, D the width of a
prompt embedding, P that of the pooled one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from aelif.config import LoraTargets
from aelif.models.attention import PerTensor, count_equal_tail, weigh_tails
from aelif.models.condition import TextCondition, TokenKind
from aelif.models.flow import FlowMatching

_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
_FEED_FORWARD = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")


class StableDiffusion3(FlowMatching):
    """Adapter of one diffusers folder (see `aelif.models.adapter.ModelAdapter`)."""

    family = "sd3"
    text_folders = ("tokenizer", "tokenizer_2", "tokenizer_3", "text_encoder", "text_encoder_2", "text_encoder_3")
    trainable_text = ("text_encoder", "text_encoder_2")
    lora_targets: ClassVar[dict[LoraTargets, tuple[str, ...] | str]] = {
        "attention": _ATTENTION,  # SD3.5's second attention (attn2) included
        "attention+mlp": (*_ATTENTION, *_FEED_FORWARD),
        "all": "all-linear",
    }

    def __init__(self, base: Path, **options: Any) -> None:
        super().__init__(base, **options)
        self.patch_size = int(self._denoiser_config["patch_size"])
        self.size_multiple = self._factor * self.patch_size
        self._tail = PerTensor(count_equal_tail)
        self._weighs_tails = False

    # ── Text ───────────────────────────────────────────────────────────────────────────────────

    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """Return CLIP's positions, widened by zeros, then T5's; pooled are both CLIPs' projections (B, P)."""
        clip_BLD, outputs, clip_kinds_BL = self._read_two_clips(prompts)
        t5_BLD, t5_kinds_BL = self._read_third(prompts)
        clip_BLD = functional.pad(clip_BLD, (0, t5_BLD.shape[-1] - clip_BLD.shape[-1]))
        return TextCondition(
            prompt_embeds=torch.cat([clip_BLD, t5_BLD], dim=1),
            pooled=torch.cat([output.text_embeds for output in outputs], dim=-1),
            token_kinds=torch.cat([clip_kinds_BL, t5_kinds_BL], dim=1),
            segments=(clip_BLD.shape[1], t5_BLD.shape[1]),
        )

    def kept_text(self, prompt: str) -> str:
        """Return the part of the prompt that every encoder reads: CLIP's 77 tokens, or T5's where they end sooner."""
        texts = [self._clip_text(prompt)]
        if self._has("text_encoder_3"):
            texts.append(self._t5_text("_3", prompt).lower())
        return min(texts, key=lambda text: len("".join(text.split())))  # CLIP spaces its tokens out

    def _read_third(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return T5's embeddings and `TokenKind`s; without T5 as many zeros, which are padding."""
        if self._has("text_encoder_3"):
            return self._read_t5("_3", prompts)
        places = (len(prompts), self._max_sequence_length)
        return (
            torch.zeros(*places, int(self._denoiser_config["joint_attention_dim"]), device=self._device),
            torch.full(places, int(TokenKind.PAD), dtype=torch.int8, device=self._device),
        )

    # ── Denoiser ───────────────────────────────────────────────────────────────────────────────

    def prepare_sampling(self) -> None:
        """Lay the transformer out for inference; equal text tokens at the end are computed as one."""
        super().prepare_sampling()
        weigh_tails(self._part("transformer"))
        self._weighs_tails = True

    def predict(
        self, noisy_BCHW: Tensor, times_B: Tensor, condition: TextCondition, *, guidance_scale: float = 1.0
    ) -> Tensor:
        """Return the transformer's prediction in float32."""
        assert condition.pooled is not None
        embeds_BLD, options = condition.prompt_embeds, {}
        if self._weighs_tails and (tail := self._tail(embeds_BLD)) > 1:
            embeds_BLD, options = embeds_BLD[:, : 1 - tail], {"joint_attention_kwargs": {"tail": tail}}
        prediction_BCHW = self._part("transformer")(
            hidden_states=noisy_BCHW.to(self._dtype), timestep=times_B,
            encoder_hidden_states=embeds_BLD.to(self._dtype),
            pooled_projections=condition.pooled.to(self._dtype), return_dict=False, **options,
        )[0]  # fmt: skip
        return prediction_BCHW.float()
