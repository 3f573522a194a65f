"""Rows that tell each other apart, and a pool that knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator

from aelif.models.condition import TextCondition, TokenKind

KINDS = (TokenKind.BOS, *[TokenKind.CONTENT] * 5, TokenKind.EOS, *[TokenKind.PAD] * 3)
VERSIONS = 8
NULL = -1.0


def make_condition(numbers: Sequence[int] = (0, 1, 2), *, width: int = 4, dtype=torch.float32) -> TextCondition:
    """Return a row for each number; row k has k % 3 words fewer than the others, and 3 + k in every place."""
    kinds = torch.tensor(KINDS, dtype=torch.int8).repeat(len(numbers), 1)
    for row, number in zip(kinds, numbers, strict=True):
        row[6 - number % 3] = int(TokenKind.EOS)
        row[7 - number % 3 :] = int(TokenKind.PAD)
    values = torch.tensor(numbers, dtype=dtype)[:, None] + 3
    return TextCondition(
        prompt_embeds=values[:, :, None].expand(-1, 10, width).clone(),
        pooled=values.expand(-1, 6).clone(),
        token_kinds=kinds,
        segments=(7, 3),
    )


@dataclass(frozen=True)
class FakePool:
    """Misspelt versions of row k are 100 k + version in every place, unconditional rows are -1."""

    clean: TextCondition

    def filled(self, values: Sequence[float]) -> TextCondition:
        column = torch.tensor(values, dtype=self.clean.prompt_embeds.dtype)
        return TextCondition(
            prompt_embeds=column[:, None, None].expand_as(self.clean.prompt_embeds).clone(),
            pooled=column[:, None].expand_as(self.clean.pooled).clone(),
            token_kinds=torch.full_like(self.clean.token_kinds, int(TokenKind.PAD)),
            segments=self.clean.segments,
        )

    def null(self) -> TextCondition:
        return self.filled([NULL] * len(self.clean.prompt_embeds))

    def misspelt(self, generators: Sequence[Generator], scope: str) -> TextCondition:
        versions = [int(torch.randint(VERSIONS, (), generator=generator)) for generator in generators]
        numbers = (self.clean.prompt_embeds[:, 0, 0] - 3).tolist()
        return self.filled([100 * number + version for number, version in zip(numbers, versions, strict=True)])
