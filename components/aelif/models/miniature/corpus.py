"""Sentences that the text encoders read: captions, the same with slips, and captions of things outside their world.

A text encoder that has seen nothing but well-spelt captions gives the pieces of a misspelt word untrained, that
is random, embeddings. CLIP has read the web, slips, names and all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aelif.models.miniature.scenes import BACKGROUNDS, MEDIA, OBJECTS, PLACES, TINTS
from aelif.perturb.keyboards import NEIGHBOURS
from aelif.randomness import numpy_generator

GROUNDS = [*(f"on a {name} background" for name in BACKGROUNDS), *PLACES]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def mentions(text: str) -> tuple[int, int, int]:
    """Return which object, tint and background a caption names, as indices; past the end: none."""
    words = text.split()
    thing = next((i for i, name in enumerate(OBJECTS) if name in words), len(OBJECTS))
    before = words[words.index(list(OBJECTS)[thing]) - 1] if thing < len(OBJECTS) else ""
    tint = next((i for i, name in enumerate(TINTS) if name == before), len(TINTS))
    ground = next((i for i, phrase in enumerate(GROUNDS) if text.endswith(phrase)), len(GROUNDS))
    return thing, tint, ground


def slip(text: str, generator: np.random.Generator) -> str:
    """Drop, double or exchange one letter, or hit the key beside it."""
    place = int(generator.integers(len(text) - 1))
    first, second = text[place], text[place + 1]
    keys = NEIGHBOURS["qwerty"].get(first, first)
    slips = (second, first + first + second, second + first, keys[generator.integers(len(keys))] + second)
    return text[:place] + _pick(slips, generator) + text[place + 2 :]


def draw_sentences(captions: Sequence[str], words: Sequence[str], *, count: int, seed: int) -> tuple[list[str], int]:
    """Return `count` sentences and how many of them, at the beginning, are captions spelt as they should be.

    Half are captions of scenes, and captions in which a name precedes the object ("a photo of sks backpack");
    a quarter are these with one or two slips; a quarter tell of anything at all.

    Args:
        captions: of the scenes.
        words: a wide vocabulary.
        count: number of sentences.
        seed: of every choice; sentence `i` depends on (seed, i) and, by its quarter, on `count` alone.
    """
    sentences = []
    for index in range(count):
        generator = numpy_generator(seed, "text/sentence", index)
        kind = index * 4 // count
        if kind == 3:
            text = _anything(words, generator)
        elif generator.random() < 0.7:
            text = _pick(captions, generator)
        else:
            text = _named(words, generator)
        if kind == 2 or (kind == 3 and generator.random() < 0.3):
            for _ in range(1 + int(generator.random() < 0.3)):
                text = slip(text, generator)
        sentences.append(text)
    return sentences, -(-count // 2)


def _named(words: Sequence[str], generator: np.random.Generator) -> str:
    """Return a caption whose object has a name of its own: a word, or a few letters."""
    name = _pick(words, generator)
    if generator.random() < 0.6:
        name = "".join(_LETTERS[int(i)] for i in generator.integers(len(_LETTERS), size=int(generator.integers(2, 6))))
    where = f" {_pick(GROUNDS, generator)}" if generator.random() < 0.4 else ""
    return f"{_pick(MEDIA, generator)} {name} {_pick(list(OBJECTS), generator)}{where}"


def _anything(words: Sequence[str], generator: np.random.Generator) -> str:
    """Return a caption about two or three words of the vocabulary."""
    first, second, third = (words[int(i)] for i in generator.integers(len(words), size=3))
    forms = (f"a {first}", f"a {first} {second}", f"the {first} of a {second}", f"a {first} with a {second}",
             f"a {first} {second} in the {third}", f"{first} and {second}")  # fmt: skip
    medium = f"{_pick(MEDIA, generator)} " if generator.random() < 0.7 else ""
    return medium + _pick(forms, generator)


def _pick(items: Sequence[str], generator: np.random.Generator) -> str:
    return items[int(generator.integers(len(items)))]
