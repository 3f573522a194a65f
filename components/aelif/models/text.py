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


def clip_text(tokenizer: Any, prompt: str, *, length: int) -> str:
    """Return the part of a prompt that CLIP reads, lower-cased as it does.

    Begin and end are cut off by place: OpenCLIP pads with "!", which prompts may hold as well.
    """
    ids_BL, mask_BL = tokenize(tokenizer, [prompt], length=length)
    return str(tokenizer.decode(ids_BL[0, mask_BL[0].bool()][1:-1]))


def content_ids(tokenizer: Any, prompt: str, *, length: int) -> list[int]:
    """Return the ids of a prompt's words as far as CLIP reads them: without begin, end and padding."""
    ids_BL, mask_BL = tokenize(tokenizer, [prompt], length=length)
    return [int(token) for token in ids_BL[0, mask_BL[0].bool()][1:-1]]


def token_kinds(mask_BL: Tensor, *, begins: bool) -> Tensor:
    """Return `TokenKind`s (B, L) int8 from an attention mask: begin (CLIP alone has one), words, end, padding."""
    kinds_BL = mask_BL.to(torch.int8) * int(TokenKind.CONTENT)
    if begins:
        kinds_BL[:, 0] = int(TokenKind.BOS)
    last_B = mask_BL.sum(dim=1) - 1
    kinds_BL[torch.arange(len(mask_BL)), last_B] = int(TokenKind.EOS)
    return kinds_BL
