import numpy as np
import pytest

from aelif.perturb.punctuation import ADDED, punctuation
from aelif.perturb.scope import Scope


def outcomes(text, severity=0.01, **options):
    return {punctuation(text, severity, np.random.default_rng(seed), **options).text for seed in range(400)}


def test_one_error_gives_exactly_the_known_texts():
    assert outcomes("cat") == {f"cat{mark}" for mark in ADDED}
    assert outcomes("cat,") == {"cat", "cat,,"}
    assert outcomes("don't") == {f"don't{mark}" for mark in ADDED} | {"dont", "don''t"}
    assert outcomes("cats") == {f"cats{mark}" for mark in ADDED} | {"cat's"}
    assert outcomes("is it...") == {f"is{mark} it..." for mark in ADDED} | {"is it..", "is it...."}


@pytest.mark.parametrize("text", ["", "...", "?!", "👍 ..."])
def test_marks_alone_stay(text):
    assert outcomes(text, 1.0) == {text}


def test_marks_within_protected_words_and_around_targets_stay():
    assert outcomes("<s1>", 1.0, scope=Scope(protected=frozenset({"<s1>"}))) == {"<s1>"}
    assert outcomes("a, cat", 1.0, scope=Scope(target=frozenset({"cat"}))) == {f"a, cat{mark}" for mark in ADDED}


def test_marks_that_carry_accents_stay():
    assert outcomes("a-\u0301b", 1.0) == {f"a-\u0301b{mark}" for mark in ADDED}
