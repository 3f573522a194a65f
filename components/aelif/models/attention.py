"""Attention for sampling: what depends on the prompt alone is done once, not at every denoising step.

Both processors compute what diffusers' own compute, up to rounding. Shape legend: B rows, N image
tokens, L text positions, H heads, D width of a token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0, JointAttnProcessor2_0
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakTensorKeyDictionary

Value = TypeVar("Value")


class PerTensor(Generic[Value]):
    """Values made from tensors, each once, and kept as long as its tensor lives.

    Only tensors made in inference mode count: no gradient is taken of them. Nobody may change them
    in place, and a value may not refer to its tensor, or neither would ever be freed.
    """

    def __init__(self, make: Callable[[Tensor], Value]) -> None:
        self._make, self._values = make, WeakTensorKeyDictionary()

    def __call__(self, tensor: Tensor) -> Value:
        """Return the value of this tensor."""
        if not tensor.is_inference():
            return self._make(tensor)
        if tensor not in self._values:
            self._values[tensor] = self._make(tensor)
        value: Value = self._values[tensor]
        return value


# ── U-Nets ─────────────────────────────────────────────────────────────────────────────────────


def keep_prompts(unet: nn.Module) -> None:
    """Let every plain cross-attention of a U-Net keep the prompts' keys and values from step to step."""
    empty_rows = PerTensor(count_empty_rows)
    for module in unet.modules():
        if isinstance(module, Attention) and _is_plain_cross_attention(module):
            module.set_processor(KeptPrompts(module, empty_rows))


def _is_plain_cross_attention(attention: Attention) -> bool:
    """Return whether `KeptPrompts` does all that this layer's own processor would."""
    layer: Any = attention
    extras = (layer.spatial_norm, layer.group_norm, layer.norm_cross, layer.norm_q, layer.norm_k, layer.to_v.bias)
    return (
        layer.is_cross_attention
        and type(layer.processor) is AttnProcessor2_0
        and all(extra is None for extra in extras)
        and not layer.residual_connection
        and layer.rescale_output_factor == 1
    )


def count_empty_rows(prompt_embeds_BLD: Tensor) -> int:
    """Return how many of the first rows hold zeros alone, as SDXL's unconditional rows do."""
    filled_B = prompt_embeds_BLD.flatten(1).any(dim=1)
    return int((filled_B.cumsum(0) == 0).sum())


class KeptPrompts:
    """Cross-attention that computes the keys and values of a batch of prompts once.

    First rows of zeros have zero values, and attention to those is zero whatever is asked: they get
    the last layer's answer to zero, its bias.
    """

    def __init__(self, attention: Attention, empty_rows: PerTensor[int]) -> None:
        self._empty_rows = empty_rows
        to_k, to_v, heads = attention.to_k, attention.to_v, attention.heads

        def read(prompt_embeds_BLD: Tensor) -> tuple[Tensor, Tensor]:
            filled_BLD = prompt_embeds_BLD[empty_rows(prompt_embeds_BLD) :]
            return _split_heads(to_k(filled_BLD), heads), _split_heads(to_v(filled_BLD), heads)

        self._keys_and_values = PerTensor(read)

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return what image tokens (B, N, D) read from prompts (B, L, ·); the mask is (B, 1, L), added to scores."""
        layer: Any = attn
        empty = self._empty_rows(encoder_hidden_states)
        key_BHLD, value_BHLD = self._keys_and_values(encoder_hidden_states)
        rows, tokens, _ = hidden_states.shape
        read_BND = hidden_states[:0]
        if rows > empty:
            bias = None if attention_mask is None else attention_mask[empty:].unsqueeze(1)
            query_BHND = _split_heads(layer.to_q(hidden_states[empty:]), layer.heads)
            read_BHND = scaled_dot_product_attention(query_BHND, key_BHLD, value_BHLD, attn_mask=bias)
            read_BND = layer.to_out[0](_join_heads(read_BHND))
        if empty:
            nothing_1D = layer.to_out[0](hidden_states.new_zeros(1, layer.to_out[0].in_features))
            read_BND = torch.cat([nothing_1D.expand(empty, tokens, -1), read_BND])
        return read_BND


# ── Joint attention (SD3) ──────────────────────────────────────────────────────────────────────


def count_equal_tail(prompt_embeds_BLD: Tensor) -> int:
    """Return how many last positions hold one and the same embedding within each row; at least 1."""
    differs_L = (prompt_embeds_BLD != prompt_embeds_BLD[:, -1:]).any(dim=-1).any(dim=0)
    return int((differs_L.flip(0).cumsum(0) == 0).sum())


def weigh_tails(transformer: nn.Module) -> None:
    """Let every joint attention heed `tail`: how many equal text tokens the last one stands for."""
    for module in transformer.modules():
        if isinstance(module, Attention) and type(module.processor) is JointAttnProcessor2_0:
            module.set_processor(WeighedTail())


class WeighedTail:
    """Joint attention in which the last text token stands for `tail` equal ones.

    Text tokens have no positions, so equal ones stay equal through all layers: those of an absent
    T5 are computed once, and attended to `tail` times.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        tail: int = 1,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the image tokens (B, N, D), and the text tokens (B, L, D) where there are any."""
        layer: Any = attn
        query_BHND = _project(layer, hidden_states, "to_q", "norm_q")
        key_BHND = _project(layer, hidden_states, "to_k", "norm_k")
        value_BHND = _project(layer, hidden_states, "to_v", None)
        if encoder_hidden_states is None:
            read_BHND = scaled_dot_product_attention(query_BHND, key_BHND, value_BHND)
            return layer.to_out[0](_join_heads(read_BHND))
        asked_BHLD = _project(layer, encoder_hidden_states, "add_q_proj", "norm_added_q")
        keys_BHLD = _project(layer, encoder_hidden_states, "add_k_proj", "norm_added_k")
        values_BHLD = _project(layer, encoder_hidden_states, "add_v_proj", None)
        read_BHND = scaled_dot_product_attention(
            torch.cat([query_BHND, asked_BHLD], dim=2),
            torch.cat([key_BHND, keys_BHLD, _repeat_last(keys_BHLD, tail - 1)], dim=2),
            torch.cat([value_BHND, values_BHLD, _repeat_last(values_BHLD, tail - 1)], dim=2),
        )
        image_BHND, text_BHLD = read_BHND.tensor_split([hidden_states.shape[1]], dim=2)
        text_BLD = _join_heads(text_BHLD)
        if not layer.context_pre_only:
            text_BLD = layer.to_add_out(text_BLD)
        return layer.to_out[0](_join_heads(image_BHND)), text_BLD


def _project(layer: Any, tokens_BLD: Tensor, name: str, norm: str | None) -> Tensor:
    """Return one projection of tokens, split into heads and normalised where the model does so."""
    parts_BHLD = _split_heads(getattr(layer, name)(tokens_BLD), layer.heads)
    normalise = getattr(layer, norm) if norm else None
    return parts_BHLD if normalise is None else normalise(parts_BHLD)


def _repeat_last(tokens_BHLD: Tensor, times: int) -> Tensor:
    """Return the last token, `times` times."""
    return tokens_BHLD[:, :, -1:].expand(-1, -1, times, -1)


def _split_heads(tokens_BLD: Tensor, heads: int) -> Tensor:
    """Return (B, H, L, D / H)."""
    return tokens_BLD.unflatten(-1, (heads, -1)).transpose(1, 2)


def _join_heads(tokens_BHLD: Tensor) -> Tensor:
    """Return (B, L, D), contiguous."""
    return tokens_BHLD.transpose(1, 2).flatten(2)
