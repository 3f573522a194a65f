"""Pretraining of the text encoders: what captions say, and what words mean; both generators share them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aelif.models.miniature.architecture import MAX_TOKENS, build_text_encoders
from aelif.models.miniature.corpus import GROUNDS, draw_sentences, mentions
from aelif.models.miniature.data import read_scenes
from aelif.models.miniature.loop import pretrain
from aelif.models.miniature.scenes import OBJECTS, TINTS
from aelif.models.miniature.teacher import WIDTH, embed_sentences, read_words
from aelif.models.miniature.tokenizer import write_tokenizer
from aelif.randomness import numpy_generator

NUM_SENTENCES = 60_000
TEXT_TOKENS = 24
"""Nearly all sentences are shorter than this; the encoders are causal, so later positions change nothing."""


class TextReader(nn.Module):
    """Both text encoders with heads that tell object, tint and background, and what the teacher makes of the text."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.first, self.second = build_text_encoders(vocab_size)
        classes = (len(OBJECTS) + 1, len(TINTS) + 1, len(GROUNDS) + 1)
        self.facts = nn.ModuleList(nn.Linear(width, n) for width in (96, 128) for n in classes)
        self.meanings = nn.ModuleList(nn.Linear(width, WIDTH) for width in (96, 128))

    def forward(self, tokens_BL: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return six (B, classes) logits, three facts read by each encoder, and two (B, 384) meanings."""
        one, two = self.first(tokens_BL).pooler_output, self.second(tokens_BL).text_embeds
        facts = [head(features) for head, features in zip(self.facts, [one] * 3 + [two] * 3, strict=True)]
        return facts, [head(features) for head, features in zip(self.meanings, (one, two), strict=True)]


def pretrain_text(work: Path, *, steps: int, seed: int) -> None:
    """Train both text encoders to say what a caption describes, and what a sentence encoder makes of any sentence.

    What slips do to a caption's meaning is for the teacher to say: captions with slips have no facts.
    """
    tokenizer = write_tokenizer(work / "text" / "tokenizer", max_tokens=MAX_TOKENS)
    captions = sorted({text for texts in read_scenes(work / "train").captions for text in texts})
    sentences, spelt = draw_sentences(captions, read_words(), count=NUM_SENTENCES, seed=seed)
    facts_N3 = torch.tensor([mentions(text) for text in sentences])
    facts_N3[spelt:] = -100  # what cross_entropy leaves out
    meanings = _teach(sentences, work / "text" / "meanings.safetensors")
    tokens_NL = tokenizer(sentences, padding="max_length", max_length=TEXT_TOKENS, truncation=True,
                          return_tensors="pt")["input_ids"]  # fmt: skip
    torch.manual_seed(seed)
    model = TextReader(len(tokenizer)).train()

    def loss_of_step(step: int) -> Tensor:
        generator = numpy_generator(seed, "text/batch", step)
        picks = np.concatenate([generator.integers(spelt, size=32), generator.integers(spelt, len(sentences), size=32)])
        facts, meant = model(tokens_NL[picks])
        told = torch.stack([F.cross_entropy(one, facts_N3[picks, i % 3]) for i, one in enumerate(facts)]).mean()
        near = torch.stack([F.cosine_similarity(one, meanings[picks], dim=-1).mean() for one in meant]).mean()
        return told + (1 - near)

    pretrain(model, loss_of_step, folder=work / "text", steps=steps, learning_rate=1.5e-3)
    model.first.save_pretrained(work / "text" / "first")
    model.second.save_pretrained(work / "text" / "second")


def _teach(sentences: list[str], path: Path) -> Tensor:
    """Return the teacher's embedding of every sentence, (N, 384); it is asked once."""
    if not path.exists():
        save_file({"meanings": embed_sentences(sentences)}, path)
    return load_file(path)["meanings"]


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
