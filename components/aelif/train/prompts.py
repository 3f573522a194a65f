"""The prompts of a training: encoded once, or at every use where text encoders are trained.

Shape legend: B rows of a batch, U texts: distinct prompts, then their misspelt versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from aelif.augment.aelif import whole_tokens
from aelif.augment.apply import most_eligible
from aelif.config import AugmentationConfig, Subject, Variant, expand_families
from aelif.config.data import holds_words
from aelif.config.evaluation import SubjectPart
from aelif.config.training import StringScope
from aelif.config.variants import AELIF, MISSPELLING
from aelif.models.adapter import ModelAdapter
from aelif.models.condition import TextCondition, TokenKind, concatenate
from aelif.perturb.plan import preview
from aelif.perturb.scope import Scope, find_phrase
from aelif.perturb.subject import subject_parts
from aelif.progress import StepProgress
from aelif.randomness import derive_seed, numpy_generator

_ENCODE_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBook:
    """Conditions of every text that a training may see, by row number."""

    texts: tuple[str, ...]
    """U texts."""
    versions: Mapping[StringScope, tuple[tuple[int, ...], ...]]
    """Scope of errors → rows of each distinct prompt's misspelt versions, none where the prompt holds nothing of the
    scope; the scopes are those that the variant reads."""
    adapter: ModelAdapter
    device: torch.device
    cached: TextCondition | None
    """All U conditions; None where text encoders are trained."""
    empty: TextCondition | None
    """The unconditional row, likewise."""
    identifiers: tuple[str, ...] = ()
    """Words that name subjects."""

    def conditions(self, rows: Sequence[int]) -> TextCondition:
        """Return the condition of each row's text; gradients flow where text encoders are trained."""
        if self.cached is not None:
            return self.cached.select(self._index(rows))
        distinct = sorted(set(rows))
        encoded = encode(self.adapter, [self.texts[row] for row in distinct], identifiers=self.identifiers)
        return encoded.select(self._index([distinct.index(row) for row in rows]))

    def null(self, count: int) -> TextCondition:
        """Return unconditional rows."""
        return self.adapter.null_condition(count) if self.empty is None else self.empty.select(self._index([0] * count))

    def row_of(self, text: str) -> int:
        """Return the row of a distinct prompt."""
        return self.texts.index(text)

    def _index(self, rows: Sequence[int]) -> Tensor:
        return torch.tensor(rows, dtype=torch.long).to(self.device, non_blocking=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPool:
    """What the rows of a batch may be replaced by (see `aelif.augment.interface.TextPool`)."""

    book: PromptBook
    rows: Sequence[int] = field(default_factory=tuple)
    """Each row's prompt in the book."""

    def null(self) -> TextCondition:
        """Return B unconditional rows."""
        return self.book.null(len(self.rows))

    def misspelt(self, generators: Sequence[Generator], scope: StringScope) -> TextCondition:
        """Return B rows: a misspelt version of each row's prompt, chosen by the row's generator."""
        chosen = []
        for row, generator in zip(self.rows, generators, strict=True):
            versions = self.book.versions[scope][row] or (row,)
            chosen.append(versions[int(torch.randint(len(versions), (), generator=generator))])
        return self.book.conditions(chosen)


def open_book(
    adapter: ModelAdapter,
    prompts: Sequence[str],
    *,
    variant: Variant,
    augmentation: AugmentationConfig,
    seed: int,
    device: torch.device,
    trains_text: bool,
    subjects: Sequence[Subject] = (),
) -> PromptBook:
    """Return the book of the distinct prompts, encoded now unless text encoders are trained.

    Misspelt versions are made where a term of the variant reads them.

    Raises:
        ValueError: if the families of `string_families` cannot change a prompt.
    """
    distinct = sorted(set(prompts))
    texts = list(distinct)
    identifiers = tuple(subject.identifier for subject in subjects)
    own = [term.settings(augmentation) for term in variant.terms if term.augmentation in MISSPELLING]
    versions: dict[StringScope, tuple[tuple[int, ...], ...]] = {}
    for scope in dict.fromkeys(settings.string_scope for settings in own):
        rows = []
        for index, prompt in enumerate(distinct):
            target = _phrases(scope, prompt, subjects)
            key = derive_seed(seed, "train/misspelt", index)
            misspelt = misspell(prompt, augmentation, seed=key, target=target) if target or scope == "prompt" else []
            rows.append(tuple(range(len(texts), len(texts) + len(misspelt))))
            texts += misspelt
        versions[scope] = tuple(rows)
    cached = empty = None
    if not trains_text:
        with torch.no_grad():
            batches = [texts[i : i + _ENCODE_BATCH] for i in range(0, len(texts), _ENCODE_BATCH)]
            cached = concatenate([encode(adapter, batch, identifiers=identifiers) for batch in batches])
            empty = adapter.null_condition(1)
    return PromptBook(
        texts=tuple(texts), versions=versions, adapter=adapter, device=device, cached=cached, empty=empty,
        identifiers=identifiers,
    )  # fmt: skip


def encode(adapter: ModelAdapter, texts: Sequence[str], *, identifiers: Sequence[str]) -> TextCondition:
    """Return the texts' condition, in which CLIP's tokens of the identifiers are told from other words.

    CLIP splits a word alike wherever it stands, so that its tokens can be found again in any prompt. Where T5's come
    first (FLUX), none are told.
    """
    condition = adapter.encode_text(list(texts))
    kinds_BL = condition.token_kinds.clone()
    names = [adapter.token_ids(identifier) for identifier in identifiers]
    for kinds_L, text in zip(kinds_BL, texts, strict=True):
        ids = adapter.token_ids(text) if kinds_L[0] == TokenKind.BOS else []
        for wanted in names:
            for start in range(len(ids) - len(wanted) + 1):
                if ids[start : start + len(wanted)] == wanted:
                    kinds_L[1 + start : 1 + start + len(wanted)] = int(TokenKind.IDENTIFIER)  # after BOS
    return replace(condition, token_kinds=kinds_BL)


def _phrases(scope: StringScope, prompt: str, subjects: Sequence[Subject]) -> frozenset[str]:
    """Return the phrases of a prompt that a scope other than the whole prompt lets errors fall on."""
    names: dict[StringScope, tuple[SubjectPart, ...]] = {
        "prompt": (), "subject": ("identifier", "class_word"), "identifier": ("identifier",),
    }  # fmt: skip
    phrases = {phrase for subject in subjects for name in names[scope] for phrase in subject_parts(subject)[name]}
    return frozenset(phrase for phrase in phrases if find_phrase(prompt, phrase))


def misspell(prompt: str, config: AugmentationConfig, *, seed: int, target: frozenset[str] = frozenset()) -> list[str]:
    """Return up to `string_draws` different misspelt versions of a prompt, spread over the families.

    Args:
        prompt: the prompt.
        config: families, their severity, how many versions.
        seed: of the draws.
        target: words or phrases that alone are hit; none: the whole prompt is.

    Raises:
        ValueError: if no family can change the prompt.
    """
    draws = math.ceil(config.string_draws / len(expand_families(config.string_families)))
    planned = preview(
        prompt, families=config.string_families, severity=config.string_severity, draws=draws, seed=seed,
        scope=Scope(target=target),
    )  # fmt: skip
    rows = [row for row in planned if row["prompt"] != prompt]
    if not rows:
        raise ValueError(f"string_families = {', '.join(config.string_families)!r}: none of them can change "
                         f"{prompt!r}; add another")  # fmt: skip
    order = numpy_generator(seed, "train/misspelt/order").permutation(len(rows))
    return [rows[index]["prompt"] for index in sorted(order[: config.string_draws].tolist())]


def check_caption(
    adapter: ModelAdapter, path: Path, caption: str, identifiers: Sequence[str], progress: StepProgress
) -> None:
    """Refuse a caption without any subject's identifier; say where text encoders cut it.

    Raises:
        ValueError: if an identifier is missing, or stands behind the text encoders' limit; names the file.
    """
    named = [identifier for identifier in identifiers if holds_words(caption, identifier)]
    if not named:
        raise ValueError(f"{path}: its caption {caption!r} lacks the identifier "
                         f"{' or '.join(map(repr, identifiers))}; add it")  # fmt: skip
    kept = adapter.kept_text(caption)
    for identifier in named:
        if _squeezed(identifier) not in _squeezed(kept):
            raise ValueError(f"{path}: the identifier {identifier!r} stands behind the text encoders' limit; "
                             f"move it forward in {caption!r}")  # fmt: skip
    report_cut(kept, caption, f"{path.name}: the caption", progress)


def report_idle(
    book: PromptBook, prompts: Sequence[str], *, variant: Variant, augmentation: AugmentationConfig,
    progress: StepProgress,
) -> None:  # fmt: skip
    """Say so if a share of AELIF's is less than one token of every prompt: the term leaves them as they are."""
    terms = [term for term in variant.terms if term.augmentation in AELIF]
    if not terms:
        return
    with torch.no_grad():
        condition = book.conditions([book.row_of(prompt) for prompt in dict.fromkeys(prompts)])
    for term in terms:
        own, share = term.settings(augmentation), max(term.magnitude.start, term.magnitude.end)
        if own.pooled and condition.pooled is not None:
            continue
        tokens = most_eligible(condition, own)
        if whole_tokens(torch.tensor(tokens), torch.tensor(share, dtype=torch.float64)) == 0:
            remedy = f"give {math.ceil(100 / tokens) / 100:g} or more" if tokens else "choose other tokens"
            progress.emit("warning", message=f"{term} augments nothing: {share:g} of {tokens} eligible tokens is no "
                          f"whole one; {remedy}")  # fmt: skip


def report_cut(kept: str, prompt: str, name: str, progress: StepProgress) -> None:
    """Say so if text encoders read only a part of a prompt."""
    if len(_squeezed(kept)) < len(_squeezed(prompt)):
        progress.emit("warning", message=f"{name} was cut to {kept!r}")


def _squeezed(text: str) -> str:
    """Return the text as tokenizers leave it: lower case, spacing aside."""
    return "".join(text.lower().split())
