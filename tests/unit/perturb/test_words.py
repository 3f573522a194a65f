import numpy as np
import pytest

from aelif.perturb import words
from aelif.perturb.scope import EVERYWHERE, Scope


def outcomes(function, text, severity=0.01, scope=EVERYWHERE):
    return {function(text, severity, np.random.default_rng(seed), scope=scope).text for seed in range(200)}


def test_one_error_of_each_kind_gives_exactly_the_known_prompts():
    text = "a  red cat,"
    assert outcomes(words.word_drop, text) == {"red cat,", "a  cat,", "a  red"}
    assert outcomes(words.word_repeat, text) == {"a a  red cat,", "a  red red cat,", "a  red cat, cat,"}
    assert outcomes(words.word_swap, text) == {"red  a cat,", "a  cat, red"}


def test_fillers_come_before_words():
    assert outcomes(words.filler, "cat 1") == {f"{filler} cat 1" for filler in words.FILLERS}
    assert outcomes(words.filler, "a sks cat", 1.0, Scope(protected=frozenset({"sks cat"}))) == {
        f"{filler} a sks cat" for filler in words.FILLERS
    }


def test_two_lost_words_leave_single_spaces():
    assert outcomes(words.word_drop, "a b c d", 0.5) == {"a b", "a c", "a d", "b c", "b d", "c d"}
    assert outcomes(words.word_drop, " a b ", 0.5) == {" a ", " b "}


def test_one_word_is_always_left():
    assert outcomes(words.word_drop, "a b c", 1.0) == {"a", "b", "c"}
    assert outcomes(words.word_drop, "cat", 1.0) == {"cat"}


def test_protected_words_are_neither_lost_nor_moved_nor_repeated():
    sks = Scope(protected=frozenset({"sks"}))
    assert outcomes(words.word_drop, "a sks cat", 1.0, sks) == {"sks"}
    assert outcomes(words.word_swap, "a sks cat", 1.0, sks) == {"a sks cat"}
    assert outcomes(words.word_repeat, "a sks cat", 1.0, sks) == {"a a sks cat cat"}


def test_equal_words_are_not_swapped():
    assert outcomes(words.word_swap, "very very big") == {"very big very"}


@pytest.mark.parametrize(("name", "edits"), [("word_drop", 4), ("word_repeat", 4), ("word_swap", 2), ("filler", 4)])
def test_half_severity_hits_half_of_the_words(name, edits):
    for seed in range(20):
        result = getattr(words, name)("a b c d e f g h", 0.5, np.random.default_rng(seed))
        assert len(result.edits) == edits
