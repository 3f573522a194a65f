"""A black-box search for the edits of a text that raise an objective most: seeded, batched, within a budget.

Texts are tried in rounds. The first fifth of the budget goes to random edits; every later round
changes the best texts so far: one edit is moved nearby, replaced, added or dropped, or two texts
share their edits. A few random ones stay in every round, so that one lucky start does not decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from aelif.attack.moves import combine
from aelif.perturb.edits import Edit, Perturbed

if TYPE_CHECKING:
    import numpy as np

Item = TypeVar("Item")
Objective = Callable[[Sequence[str]], Sequence[float]]
"""From texts to one number each; higher is worse for the model."""

ROUND = 8
"""Texts tried at once; of the search, not of the machine, so that the same seed finds the same everywhere."""
_FIRST_SHARE = 1 / 5
_PARENTS = 4
_RANDOM_SHARE = 1 / 16
_NEARBY = 2
"""Characters by which a moved edit may wander."""
_PATIENCE = 50
"""Vain proposals after which the remaining single edits are tried in random order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The worst text found, and how it was come by."""

    best: Perturbed
    value: float
    """The objective of `best`: a maximum over noisy values, and biased upwards like any."""
    best_so_far: tuple[float, ...]
    """The highest value after each text tried."""

    @property
    def tried(self) -> int:
        """Number of texts tried, all different."""
        return len(self.best_so_far)


def search(
    text: str,
    *,
    edits: Sequence[Edit],
    objective: Objective,
    budget: int,
    max_edits: int,
    generator: np.random.Generator,
) -> SearchResult:
    """Return the text, up to `max_edits` edits away, for which the objective is highest among `budget` tried.

    With ``max_edits`` 1 and a budget for all single edits, every one is tried.

    Args:
        text: the clean text; it is not tried itself.
        edits: single edits of the text (`aelif.attack.moves.possible_edits`), in the order of their places.
        objective: told up to `ROUND` texts at a time, none twice.
        budget: texts to try.
        max_edits: edits of one text at most.
        generator: draws every choice.

    Raises:
        ValueError: if there are no edits, or the budget or `max_edits` is below 1.
    """
    if not edits or budget < 1 or max_edits < 1:
        raise ValueError(f"edits = {len(edits)}, budget = {budget}, max_edits = {max_edits}: give at least one of each")
    proposals = _Proposals(text, edits, max_edits=max_edits, generator=generator)
    tried: list[tuple[float, Perturbed]] = []
    while len(tried) < budget:
        parents = [] if len(tried) < budget * _FIRST_SHARE else sorted(tried, key=lambda pair: -pair[0])[:_PARENTS]
        batch = proposals.draw(min(ROUND, budget - len(tried)), [parent for _, parent in parents])
        if not batch:
            break  # nothing new is left
        values = objective([candidate.text for candidate in batch])
        tried += [(float(value), candidate) for value, candidate in zip(values, batch, strict=True)]
    value, best = max(tried, key=lambda pair: pair[0])
    return SearchResult(best=best, value=value, best_so_far=tuple(accumulate((value for value, _ in tried), max)))


class _Proposals:
    """Draws candidates that were not drawn before."""

    def __init__(self, text: str, edits: Sequence[Edit], *, max_edits: int, generator: np.random.Generator) -> None:
        self._text, self._edits, self._max = text, list(edits), max_edits
        self._random, self._seen = generator, {text}
        self._nearby: dict[int, list[Edit]] = {}
        self._kinds = list(_by_place_and_kind(edits).values())
        self._rest: Iterator[int] = iter(generator.permutation(len(edits)).tolist())

    def draw(self, count: int, parents: Sequence[Perturbed]) -> list[Perturbed]:
        """Return up to `count` new candidates: children of the parents, or random ones where there are none."""
        batch: list[Perturbed] = []
        while len(batch) < count:
            candidate = self._fresh(parents) or self._left_over()
            if candidate is None:
                break
            self._seen.add(candidate.text)
            batch.append(candidate)
        return batch

    def _fresh(self, parents: Sequence[Perturbed]) -> Perturbed | None:
        for _ in range(_PATIENCE):
            blind = not parents or self._random.random() < _RANDOM_SHARE
            candidate = combine(self._text, self._blind() if blind else self._child(parents))
            if candidate is not None and candidate.text not in self._seen:
                return candidate
        return None

    def _left_over(self) -> Perturbed | None:
        """Return the next single edit that was not tried, None after the last."""
        for index in self._rest:
            candidate = combine(self._text, [self._edits[index]])
            if candidate is not None and candidate.text not in self._seen:
                return candidate
        return None

    def _blind(self) -> list[Edit]:
        return [self._one() for _ in range(int(self._random.integers(1, self._max + 1)))]

    def _one(self) -> Edit:
        """Return a random edit: a place, then a kind, then which; letters are many, deletions and spaces few."""
        return self._any(self._any(self._any(self._kinds)))

    def _child(self, parents: Sequence[Perturbed]) -> list[Edit]:
        """Return a parent's edits with one change."""
        # The better of two parents drawn: the best one has the most children, the last one still some.
        rank = int(self._random.integers(len(parents), size=2).min())
        edits = list(parents[rank].edits)
        ways = ["move", "move", "replace"] + ["add", "add", "cross"] * (self._max > 1) + ["drop"] * (len(edits) > 1)
        way = self._any(ways)
        if way == "cross":
            pool = list(dict.fromkeys([*edits, *self._any(parents).edits]))
            return [pool[index] for index in self._random.permutation(len(pool))[: self._max]]
        if way == "add" and len(edits) < self._max:
            return [*edits, self._one()]
        hit = edits.pop(int(self._random.integers(len(edits))))
        if way == "drop":
            return edits
        return [*edits, self._any(self._beside(hit)) if way == "move" else self._one()]

    def _beside(self, edit: Edit) -> list[Edit]:
        """Return the edits near one: at its place, or up to `_NEARBY` characters away."""
        if edit.start not in self._nearby:
            near = [other for other in self._edits if abs(other.start - edit.start) <= _NEARBY]
            self._nearby[edit.start] = near
        return self._nearby[edit.start]

    def _any(self, items: Sequence[Item]) -> Item:
        return items[int(self._random.integers(len(items)))]


def _by_place_and_kind(edits: Sequence[Edit]) -> dict[int, list[list[Edit]]]:
    places: dict[int, dict[str, list[Edit]]] = {}
    for edit in edits:
        places.setdefault(edit.start, {}).setdefault(edit.kind, []).append(edit)
    return {place: list(kinds.values()) for place, kinds in places.items()}
