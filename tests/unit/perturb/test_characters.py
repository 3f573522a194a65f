from collections import Counter

import numpy as np
import pytest

from aelif.perturb import characters
from aelif.perturb.graphemes import sister_letters
from aelif.perturb.scope import Scope

PROMPT = "a photo of sks backpack"  # 19 letters, 4 gaps


def outcomes(function, text, severity=0.01, seeds=300, **options):
    return {function(text, severity, np.random.default_rng(seed), **options).text for seed in range(seeds)}


def test_one_error_of_each_kind_gives_exactly_the_known_words():
    assert outcomes(characters.delete, "cat") == {"at", "ct", "ca"}
    assert outcomes(characters.swap, "cat") == {"act", "cta"}
    assert outcomes(characters.swap, "boo") == {"obo"}  # o and o are no swap
    assert outcomes(characters.repeat, "cat") == {"ccat", "caat", "catt"}
    assert outcomes(characters.casing, "cAt") == {"CAt", "cat", "cAT"}
    assert outcomes(characters.spacing, "cat is") == {"c at is", "ca t is", "catis", "cat i s"}
    assert outcomes(characters.substitute, "B", seeds=600) == set("ACDEFGHIJKLMNOPQRSTUVWXYZ")
    assert outcomes(characters.insert, "b", seeds=600) == {f"b{letter}" for letter in "acdefghijklmnopqrstuvwxyz"}


@pytest.mark.parametrize(
    ("name", "edits"),
    [("insert", 10), ("repeat", 10), ("substitute", 10), ("casing", 10), ("spacing", 10),
     ("delete", 9), ("swap", 5)],
)  # fmt: skip
def test_half_severity_hits_half_of_the_letters(name, edits):
    """Of 19 letters 10; the 18 in words of more than one letter for deletions; two for each swap."""
    for seed in range(10):
        assert len(getattr(characters, name)(PROMPT, 0.5, np.random.default_rng(seed)).edits) == edits


def test_every_letter_is_hit_equally_often():
    counts = Counter(
        edit.start
        for seed in range(4000)
        for edit in characters.repeat("abcdefgh", 0.25, np.random.default_rng(seed)).edits
    )
    assert set(counts) == set(range(1, 9))
    assert min(counts.values()) > 850  # of 1000 expected
    assert max(counts.values()) < 1150


def test_spaces_are_lost_and_put_in_about_equally_often():
    kinds = Counter(
        edit.kind for seed in range(1000) for edit in characters.spacing(PROMPT, 0.1, np.random.default_rng(seed)).edits
    )
    assert 0.45 < kinds["merge"] / kinds.total() < 0.55


def test_no_space_is_lost_beside_a_protected_word():
    assert outcomes(characters.spacing, "a sks b", scope=Scope(protected=frozenset({"sks"}))) == {"a sks b"}


def test_every_word_keeps_a_letter():
    for seed in range(50):
        words = characters.delete(PROMPT, 1.0, np.random.default_rng(seed)).text.split()
        assert [len(word) for word in words] == [1] * 5


def test_letters_of_other_scripts():
    assert set("бгдежз") <= set(sister_letters("в"))
    assert not set(sister_letters("в")) & set("ВБa")
    assert sister_letters("µ") == ""  # the micro sign stands alone
    assert characters.swap("рю", 1.0, np.random.default_rng(0)).text == "юр"
    assert characters.casing("背包", 1.0, np.random.default_rng(0)).edits == ()


def test_accents_stay_when_their_letter_changes():
    text = characters.substitute("e\u0301", 1.0, np.random.default_rng(0)).text
    assert text[0] != "e"
    assert text[1:] == "\u0301"
    assert characters.casing("e\u0301", 1.0, np.random.default_rng(0)).text == "E\u0301"
    assert characters.delete("e\u0301a", 0.1, np.random.default_rng(0)).text in {"e\u0301", "a"}
