"""The CLIP byte-pair vocabulary, cut to its first merges: typos split as in the full one."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import CLIPTokenizer

NUM_MERGES = 3500


def read_merges() -> list[str]:
    """Return the first `NUM_MERGES` merges of CLIP's vocabulary (open_clip, MIT licence)."""
    import open_clip

    path = Path(open_clip.__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [line.rstrip("\n") for line in islice(file, 1, 1 + NUM_MERGES)]


def write_tokenizer(folder: Path, *, max_tokens: int, pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """Write `vocab.json` and `merges.txt` into `folder` and return the tokenizer."""
    from open_clip.tokenizer import bytes_to_unicode
    from transformers import CLIPTokenizer

    merges = read_merges()
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge.split()) for merge in merges)]
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    tokenizer = CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=max_tokens, pad_token=pad_token
    )
    tokenizer.save_pretrained(folder)
    return tokenizer
