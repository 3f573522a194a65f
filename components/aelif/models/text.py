"""Prompts as token ids, and what stands at each position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from aelif.models.condition import TokenKind


def tokenize(tokenizer: Any, prompts: Sequence[str], *, length: int) -> tuple[Tensor, Tensor]:
    """Return token ids and attention mask, both (B, length): cut or padded, as the stock pipelines do."""
    tokens = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens["input_ids"], tokens["attention_mask"]


def token_kinds(mask_BL: Tensor, *, begins: bool) -> Tensor:
    """Return `TokenKind`s (B, L) int8 from an attention mask: begin (CLIP alone has one), words, end, padding."""
    kinds_BL = mask_BL.to(torch.int8) * int(TokenKind.CONTENT)
    if begins:
        kinds_BL[:, 0] = int(TokenKind.BOS)
    last_B = mask_BL.sum(dim=1) - 1
    kinds_BL[torch.arange(len(mask_BL)), last_B] = int(TokenKind.EOS)
    return kinds_BL
