"""The text condition: what text encoders hand to the denoiser, and what augmentation changes.

Shape legend: B rows, L token positions, D width of a prompt embedding, P width of the pooled embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

from aelif.config import Eligible

if TYPE_CHECKING:
    from torch import Tensor


class TokenKind(IntEnum):
    """What stands at a token position."""

    PAD = 0
    CONTENT = 1
    BOS = 2
    EOS = 3
    IDENTIFIER = 4
    """A word, and the one that names the subject; told from others in training alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCondition:
    """What the text encoders make of B prompts: everything that the denoiser reads of them."""

    prompt_embeds: Tensor
    """(B, L, D)."""
    pooled: Tensor | None
    """(B, P); None in families without a pooled embedding (SD 1.5)."""
    token_kinds: Tensor
    """(B, L) int8, values of `TokenKind`."""
    segments: tuple[int, ...]
    """Number of positions that each kind of encoder fills, in order: (77,) for CLIP, (77, 256) for CLIP and T5."""
    attention_mask: Tensor | None = None
    """(B, L) booleans, the positions that the denoiser attends to; None: all of them, as the stock pipelines do."""

    def eligible_positions(self, eligible: Eligible) -> Tensor:
        """Return which positions augmentation may hit, as booleans of shape (B, L).

        ``all``: every position, BOS and padding included (the paper's literal reading); ``not_bos``: all
        but BOS; ``not_identifier``: all but the words that name the subject ("sks"); ``content``: words alone;
        ``content+eos``: words and the end token.
        """
        kinds_BL = self.token_kinds
        if eligible == "all":
            return kinds_BL >= 0
        if eligible == "not_bos":
            return kinds_BL != TokenKind.BOS
        if eligible == "not_identifier":
            return kinds_BL != TokenKind.IDENTIFIER
        content_BL = (kinds_BL == TokenKind.CONTENT) | (kinds_BL == TokenKind.IDENTIFIER)
        return content_BL | (kinds_BL == TokenKind.EOS) if eligible == "content+eos" else content_BL

    def select(self, rows: Tensor) -> TextCondition:
        """Return the given rows, in that order; `rows` is an integer tensor and may repeat."""
        pooled_BP, mask_BL = self.pooled, self.attention_mask
        return replace(
            self,
            prompt_embeds=self.prompt_embeds.index_select(0, rows),
            pooled=None if pooled_BP is None else pooled_BP.index_select(0, rows),
            token_kinds=self.token_kinds.index_select(0, rows),
            attention_mask=None if mask_BL is None else mask_BL.index_select(0, rows),
        )

    def repeat(self, rows: int) -> TextCondition:
        """Return the one row of this condition, `rows` times."""
        assert len(self.prompt_embeds) == 1
        return self.select(self.token_kinds.new_zeros(rows).long())

    def where(self, chosen_B: Tensor, other: TextCondition) -> TextCondition:
        """Return this condition's rows where `chosen_B` is true, and `other`'s elsewhere."""
        pooled_BP, masks = self.pooled, (self.attention_mask, other.attention_mask)
        if pooled_BP is not None:
            assert other.pooled is not None
            pooled_BP = pooled_BP.where(chosen_B[:, None], other.pooled)
        mask_BL = None
        if any(mask is not None for mask in masks):
            own_BL, others_BL = (_all_attended(c) if mask is None else mask
                                 for c, mask in zip((self, other), masks, strict=True))  # fmt: skip
            mask_BL = own_BL.where(chosen_B[:, None], others_BL)
        return replace(
            self,
            prompt_embeds=self.prompt_embeds.where(chosen_B[:, None, None], other.prompt_embeds),
            pooled=pooled_BP,
            token_kinds=self.token_kinds.where(chosen_B[:, None], other.token_kinds),
            attention_mask=mask_BL,
        )


def concatenate(conditions: Sequence[TextCondition]) -> TextCondition:
    """Return one condition with the rows of all, in order; all are of one family."""
    import torch

    pooled = [c.pooled for c in conditions if c.pooled is not None]
    masks = [c.attention_mask for c in conditions]
    filled = [_all_attended(c) if mask is None else mask for c, mask in zip(conditions, masks, strict=True)]
    return TextCondition(
        prompt_embeds=torch.cat([c.prompt_embeds for c in conditions]),
        pooled=torch.cat(pooled) if pooled else None,
        token_kinds=torch.cat([c.token_kinds for c in conditions]),
        segments=conditions[0].segments,
        attention_mask=None if all(mask is None for mask in masks) else torch.cat(filled),
    )


def _all_attended(condition: TextCondition) -> Tensor:
    """Return the attention mask (B, L) that leaves nothing out."""
    return condition.token_kinds >= 0
