"""Pretraining of the text encoders, on what captions mean; both generators share them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aelif.models.miniature.architecture import MAX_TOKENS, build_text_encoders
from aelif.models.miniature.data import read_scenes
from aelif.models.miniature.loop import pretrain
from aelif.models.miniature.scenes import BACKGROUNDS, OBJECTS, PLACES, TINTS
from aelif.models.miniature.tokenizer import write_tokenizer
from aelif.randomness import numpy_generator

GROUNDS = [*(f"on a {name} background" for name in BACKGROUNDS), *PLACES]
TEXT_TOKENS = 24
"""Captions are shorter than this; the encoders are causal, so later positions change nothing."""

TYPO_RATE = 0.08
"""Share of the text encoders' captions with one slip: web text, too, is not spelt perfectly."""


def mentions(text: str) -> tuple[int, int, int]:
    """Return which object, tint and background a caption names, as indices; past the end: none."""
    words = text.split()
    thing = next((i for i, name in enumerate(OBJECTS) if name in words), len(OBJECTS))
    before = words[words.index(list(OBJECTS)[thing]) - 1] if thing < len(OBJECTS) else ""
    tint = next((i for i, name in enumerate(TINTS) if name == before), len(TINTS))
    ground = next((i for i, phrase in enumerate(GROUNDS) if text.endswith(phrase)), len(GROUNDS))
    return thing, tint, ground


def slip(text: str, generator: np.random.Generator) -> str:
    """Drop, double or exchange one letter."""
    place = int(generator.integers(len(text) - 1))
    first, second = text[place], text[place + 1]
    slips = (second, first + first + second, second + first)
    return text[:place] + slips[generator.integers(len(slips))] + text[place + 2 :]


class TextReader(nn.Module):
    """Both text encoders with heads that must tell object, tint and background."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.first, self.second = build_text_encoders(vocab_size)
        classes = (len(OBJECTS) + 1, len(TINTS) + 1, len(GROUNDS) + 1)
        self.heads = nn.ModuleList(nn.Linear(width, n) for width in (96, 128) for n in classes)

    def forward(self, tokens_BL: Tensor) -> list[Tensor]:
        """Return six (B, classes) logits: three facts, read by each encoder."""
        pooled = [self.first(tokens_BL).pooler_output] * 3 + [self.second(tokens_BL).text_embeds] * 3
        return [head(features) for head, features in zip(self.heads, pooled, strict=True)]


def pretrain_text(work: Path, *, steps: int, seed: int) -> None:
    """Train both text encoders to say what a caption, sometimes misspelt, describes."""
    tokenizer = write_tokenizer(work / "text" / "tokenizer", max_tokens=MAX_TOKENS)
    captions = sorted({text for texts in read_scenes(work / "train").captions for text in texts})
    facts = torch.tensor([mentions(text) for text in captions])
    torch.manual_seed(seed)
    model = TextReader(len(tokenizer)).train()

    def loss_of_step(step: int) -> Tensor:
        generator = numpy_generator(seed, "text/batch", step)
        picks = generator.integers(len(captions), size=64)
        texts = [captions[i] for i in picks]
        texts = [slip(text, generator) if generator.random() < TYPO_RATE else text for text in texts]
        tokens = tokenizer(texts, padding="max_length", max_length=TEXT_TOKENS, truncation=True, return_tensors="pt")
        logits = model(tokens["input_ids"])
        target = facts[picks]
        return torch.stack([F.cross_entropy(one, target[:, i % 3]) for i, one in enumerate(logits)]).mean()

    pretrain(model, loss_of_step, folder=work / "text", steps=steps, learning_rate=1e-3)
    model.first.save_pretrained(work / "text" / "first")
    model.second.save_pretrained(work / "text" / "second")


@torch.no_grad()
def encode_captions(work: Path, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Return prompt_embeds (N, L, 224) in half precision, and the pooled output of each encoder (N, 96 + 128)."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(work / "text" / "tokenizer")
    first = CLIPTextModel.from_pretrained(work / "text" / "first").eval()
    second = CLIPTextModelWithProjection.from_pretrained(work / "text" / "second").eval()
    prompt_embeds = torch.empty(len(captions), MAX_TOKENS, 96 + 128, dtype=torch.float16)
    pooled = torch.empty(len(captions), 96 + 128)
    for at in range(0, len(captions), 64):
        tokens = tokenizer(captions[at : at + 64], padding="max_length", return_tensors="pt")["input_ids"]
        one, two = (encoder(tokens, output_hidden_states=True) for encoder in (first, second))
        prompt_embeds[at : at + 64] = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1)
        pooled[at : at + 64] = torch.cat([one.pooler_output, two.text_embeds], -1)
    return prompt_embeds, pooled
