import numpy as np
import pytest

from aelif.perturb.scope import Scope
from aelif.perturb.spans import choose_pairs, count_hits, find_letter_runs, find_terms, find_words


def spell(text, *, protected=(), target=()):
    scope = Scope(protected=frozenset(protected), target=frozenset(target))
    return [[letter.text for letter in run] for run in find_letter_runs(text, scope)]


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("ab c", [["a", "b"], ["c"]]),
        ("don't 2x!", [["d", "o", "n"], ["t"], ["x"]]),
        ("e\u0301a", [["e\u0301", "a"]]),  # decomposed é is one letter
        ("क्ष", [["क्", "ष"]]),  # virama stays with its consonant
        ("\u1112\u1161\u11ab", [["\u1112\u1161\u11ab"]]),  # conjoining jamo make one syllable
        ("👩‍👩‍👧 🇩🇪 👍🏽", []),
        ("\u0301a", [["a"]]),
        ("", []),
    ],
)
def test_letters_are_what_a_person_calls_letters(text, runs):
    assert spell(text) == runs


@pytest.mark.parametrize(
    ("text", "protected", "runs"),
    [
        ("an sks, Sks", {"SKS"}, [["a", "n"]]),
        ("asks sks2 sks_a", {"sks"}, [list("asks"), list("sks"), list("sks"), ["a"]]),
        ("sks\u0301 b", {"sks"}, [["s", "k", "s\u0301"], ["b"]]),  # another word
        ("a\u0301sks", {"sks"}, [["a\u0301", "s", "k", "s"]]),
        ("a <s1> b", {"<s1>"}, [["a"], ["b"]]),
        ("a.c abc", {"a.c"}, [["a", "b", "c"]]),  # no pattern
        ("my stuffed  Animal, animal", {"stuffed animal"}, [list("my"), list("animal")]),
    ],
)
def test_only_whole_protected_words_are_left_out(text, protected, runs):
    assert spell(text, protected=protected) == runs


def test_words_are_cut_at_any_white_space():
    words = find_words("\ta  sks-dog,\u3000here\n", Scope(protected=frozenset({"sks"})))
    assert [(word.start, word.text, is_open) for word, is_open in words] == [
        (1, "a", True),
        (4, "sks-dog,", False),
        (13, "here", True),
    ]


def test_a_space_with_a_mark_is_no_cut():
    assert [word.text for word, _ in find_words("a \u0301b c")] == ["a \u0301b", "c"]


def test_targets_alone_are_found_and_protection_comes_first():
    assert spell("a sks dog, asks", target={"SKS"}) == [list("sks")]
    assert spell("a sks dog", target={"sks dog"}, protected={"dog"}) == [list("sks")]
    scope = Scope(target=frozenset({"stuffed animal"}))
    assert [is_open for _, is_open in find_words("a sks stuffed animal, animal", scope)] == [
        False, False, True, True, False,
    ]  # fmt: skip


def test_terms_lack_the_punctuation_around_them():
    terms = find_terms('"A photo," (of) t-shirt ... e\u0301\u0323! "', Scope(protected=frozenset({"of"})))
    assert [(term.text, is_open) for term, is_open in terms] == [
        ("A", True), ("photo", True), ("of", False), ("t-shirt", True), ("e\u0301\u0323", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("total", "severity", "per_edit", "hits"),
    [
        (0, 0.5, 1, 0),
        (1, 0.01, 1, 1),
        (20, 0.1, 1, 2),
        (25, 0.1, 1, 3),
        (20, 0.1, 2, 1),
        (7, 1.0, 1, 7),
        (7, 1.0, 2, 4),
        (7, 0.0, 1, 0),
    ],
)
def test_count_of_hits(total, severity, per_edit, hits):
    assert count_hits(total, severity, items_per_edit=per_edit) == hits


@pytest.mark.parametrize("severity", [-0.1, 1.5, float("nan")])
def test_severity_outside_its_range_is_refused(severity):
    with pytest.raises(ValueError, match=r"severity = .*share in"):
        count_hits(5, severity)


def test_pairs_share_no_item():
    pairs = [(i, i + 1) for i in range(50)]
    for seed in range(20):
        chosen = choose_pairs(pairs, 12, np.random.default_rng(seed))
        items = [item for pair in chosen for item in pair]
        assert len(chosen) == 12
        assert len(set(items)) == 24
