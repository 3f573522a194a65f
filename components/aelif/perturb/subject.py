"""How a run's prompts name their subject, and which of its words errors spare or hit."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from aelif.config import DataConfig, PromptConfig, Subject, require
from aelif.config.evaluation import SubjectPart
from aelif.perturb.scope import Scope


def subject_of(data: Subject) -> str:
    """Return how the instance prompt names its subject: from the identifier on ("sks backpack").

    An identifier that comes last ("a photo of backpack sks") takes with it what stands before it,
    back to where the two prompts part.
    """
    words, class_words = data.instance_prompt.split(), data.class_prompt.lower().split()
    start = next(index for index, word in enumerate(words) if word.lower() not in class_words)
    if start == len(words) - 1:
        shared = zip(words, class_words, strict=False)
        start = next((index for index, (word, other) in enumerate(shared) if word.lower() != other), start)
    return _bare(" ".join(words[start:]))


def _bare(text: str) -> str:
    """Return a text without the punctuation that ends it, if that leaves anything."""
    return text.rstrip(".,;:!?") or text


def subject_parts(data: Subject) -> dict[SubjectPart, frozenset[str]]:
    """Return the phrases that are the identifier, and those that name the class ("stuffed animal").

    Words of a part that stand together are one phrase, so that "a" in a class's name is not any "a".
    """
    identifier = {_bare(word) for word in data.identifier.lower().split()}
    parts: dict[SubjectPart, set[str]] = {"identifier": set(), "class_word": set()}
    words = subject_of(data).split()
    for is_identifier, phrase in groupby(words, key=lambda word: _bare(word.lower()) in identifier):
        parts["identifier" if is_identifier else "class_word"].add(" ".join(phrase))
    return {part: frozenset(phrases) for part, phrases in parts.items()}


def scope_of(config: PromptConfig, data: DataConfig) -> Scope:
    """Return where a run's errors may fall.

    Raises:
        ValueError: if errors shall hit the class word alone, and the subject is named without one.
    """
    parts = subject_parts(data)

    def phrases_of(names: Iterable[SubjectPart]) -> frozenset[str]:
        return frozenset(phrase for name in names for phrase in parts[name])

    target = phrases_of(config.target)
    require(bool(target) or not config.target, "target", ", ".join(config.target),
            f"the prompts name the subject {subject_of(data)!r}, without a class word; leave it out")  # fmt: skip
    return Scope(protected=phrases_of(config.protect), target=target, subject=subject_of(data))
