"""The search against exhaustive and random search, on objectives that are known."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aelif.attack.moves import combine, possible_edits
from aelif.attack.search import ROUND, SearchResult, search
from aelif.perturb.edits import apply_edits
from aelif.perturb.scope import Scope
from aelif.randomness import derive_seed, numpy_generator

PROMPT = "a photo of sks backpack"


def run(objective, *, text: str = PROMPT, budget: int = 60, max_edits: int = 2, seed: int = 0) -> SearchResult:
    return search(text, edits=possible_edits(text), objective=objective, budget=budget, max_edits=max_edits,
                  generator=numpy_generator(seed, "test"))  # fmt: skip


def damage(text: str, seed: int) -> float:
    """Words hurt by how much of them is lost; each word and each pair of letters has a weight of its own."""
    total = 0.0
    for word in PROMPT.split():
        if word not in text.split():
            total += derive_seed(seed, word) % 1000 / 1000
    pairs = {one + other for one, other in pairwise(text)}
    return total + sum((derive_seed(seed, pair) % 1000 / 1000) ** 4 for pair in pairs) / 4


def test_every_single_change_is_there_once():
    found = {combine("ab c", [edit]).text: edit.kind for edit in possible_edits("ab c")}
    assert len(found) == len(possible_edits("ab c"))
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    expected = {text for letter in alphabet for text in (
        f"{letter}b c", f"a{letter} c", f"ab {letter}", f"{letter}ab c", f"a{letter}b c", f"ab{letter} c",
        f"ab {letter}c", f"ab c{letter}",
    )}  # fmt: skip
    assert set(found) == (expected | {"b c", "a c", "a b c", "abc"}) - {"ab c"}
    assert {found[text] for text in ("b c", "a c")} == {"delete"}
    assert (found["a b c"], found["abc"]) == ("split", "merge")


def test_only_what_the_scope_allows_is_hit():
    target = Scope(target=frozenset({"sks"}))
    for edit in possible_edits(PROMPT, target):
        text = combine(PROMPT, [edit]).text
        assert text.startswith("a photo of ")
        assert text.endswith(" backpack")
    protected = Scope(protected=frozenset({"sks backpack"}))
    assert all(combine(PROMPT, [edit]).text.endswith(" sks backpack") for edit in possible_edits(PROMPT, protected))
    assert possible_edits(PROMPT, Scope(target=frozenset({"dog"}))) == ()


def test_letters_keep_their_alphabet_case_and_marks():
    kinds = {edit.after for edit in possible_edits("Ёж") if edit.kind == "substitute"}
    assert kinds
    assert all("CYRILLIC" in unicodedata.name(letter) for letter in kinds)
    assert all(edit.after.isupper() for edit in possible_edits("A b") if edit.kind == "substitute" and edit.start == 0)
    deleted = [edit for edit in possible_edits("cafe\u0301") if edit.kind == "delete"]
    assert deleted[-1].before == "e\u0301", "an accent goes with its letter"


def test_overlapping_or_vain_combinations_are_refused():
    substitute = next(edit for edit in possible_edits(PROMPT) if edit.kind == "substitute" and edit.start == 2)
    delete = next(edit for edit in possible_edits(PROMPT) if edit.kind == "delete" and edit.start == 2)
    insert = next(edit for edit in possible_edits(PROMPT) if edit.kind == "insert" and edit.start == 2)
    assert combine(PROMPT, [substitute, delete]) is None
    assert combine(PROMPT, [substitute, substitute]) is None
    assert combine(PROMPT, []) is None
    both = combine(PROMPT, [substitute, insert])
    assert both.text == "a " + insert.after + substitute.after + PROMPT[3:]
    assert apply_edits(PROMPT, both.edits) == both.text


@given(seed=st.integers(0, 2**31), budget=st.integers(1, 40), max_edits=st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_search_keeps_its_budget_tries_nothing_twice_and_records_its_edits(seed, budget, max_edits):
    asked: list[str] = []

    def objective(texts):
        assert 1 <= len(texts) <= ROUND
        asked.extend(texts)
        return [damage(text, seed) for text in texts]

    result = run(objective, budget=budget, max_edits=max_edits, seed=seed)
    assert len(asked) == len(set(asked)) == result.tried == budget
    assert PROMPT not in asked
    assert 1 <= len(result.best.edits) <= max_edits
    assert apply_edits(PROMPT, result.best.edits) == result.best.text
    values = [damage(text, seed) for text in asked]
    assert result.value == max(values) == damage(result.best.text, seed)
    assert result.best_so_far == tuple(np.maximum.accumulate(values))


def test_the_same_seed_finds_the_same_and_another_one_looks_elsewhere():
    one, again, other = (run(lambda texts: [damage(t, 5) for t in texts], seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.best_so_far != other.best_so_far


@pytest.mark.parametrize("seed", range(3))
def test_with_one_edit_and_enough_budget_the_optimum_is_found(seed):
    text = "an ox"
    every = [combine(text, [edit]).text for edit in possible_edits(text)]
    result = run(
        lambda texts: [float(derive_seed(seed, t)) for t in texts], text=text, budget=len(every) + 5, max_edits=1
    )
    assert result.tried == len(every)
    assert result.value == max(float(derive_seed(seed, other)) for other in every)


def random_search(objective, *, budget: int, max_edits: int, seed: int) -> float:
    """Try random combinations of 1 to k edits, none twice."""
    generator, edits, seen = numpy_generator(seed, "test/random"), possible_edits(PROMPT), {PROMPT}
    best = -np.inf
    while len(seen) <= budget:
        drawn = [edits[index] for index in generator.integers(len(edits), size=generator.integers(1, max_edits + 1))]
        candidate = combine(PROMPT, drawn)
        if candidate is not None and candidate.text not in seen:
            seen.add(candidate.text)
            best = max(best, *objective([candidate.text]))
    return best


@pytest.mark.parametrize(("budget", "max_edits"), [(40, 2), (80, 3)])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_it_beats_random_search_on_average_at_equal_budget(budget, max_edits, noise):
    gains = []
    for seed in range(30):

        def objective(texts, seed=seed):
            errors = [noise * numpy_generator(seed, text).standard_normal() for text in texts]
            return [damage(text, seed) + error for text, error in zip(texts, errors, strict=True)]

        found = run(objective, budget=budget, max_edits=max_edits, seed=seed)
        gains.append(found.value - random_search(objective, budget=budget, max_edits=max_edits, seed=seed))
    assert np.mean(gains) > 2 * np.std(gains) / np.sqrt(len(gains))


@pytest.mark.parametrize("wrong", [{"edits": ()}, {"budget": 0}, {"max_edits": 0}])
def test_nothing_to_try_is_an_error(wrong):
    settings_ = {
        "edits": possible_edits(PROMPT),
        "objective": lambda texts: [0.0] * len(texts),
        "budget": 3,
        "max_edits": 1,
    }
    with pytest.raises(ValueError, match="give at least one of each"):
        search(PROMPT, **{**settings_, **wrong}, generator=numpy_generator(0, "test"))
