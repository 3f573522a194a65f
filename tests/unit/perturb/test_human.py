import numpy as np
import pytest
from rapidfuzz.distance import DamerauLevenshtein

from aelif.models.miniature.scenes import BACKGROUNDS, OBJECTS, TINTS
from aelif.perturb.human import MISSPELLINGS, paper


def outcomes(text, severity=0.01, **options):
    return {paper(text, severity, np.random.default_rng(seed), **options).text for seed in range(300)}


def test_the_papers_own_typos_come_first():
    assert MISSPELLINGS["photo"][:3] == ("poto", "phoo", "phto")


@pytest.mark.parametrize("word", MISSPELLINGS)
def test_misspellings_are_near_their_word_and_are_no_other_word_of_the_table(word):
    assert word.islower()
    assert len(set(MISSPELLINGS[word])) == len(MISSPELLINGS[word]) >= 2
    for wrong in MISSPELLINGS[word]:
        assert wrong not in MISSPELLINGS
        assert 1 <= DamerauLevenshtein.distance(word, wrong) <= 2


def test_the_table_covers_what_the_miniatures_know():
    assert {*OBJECTS, *TINTS, *BACKGROUNDS, "photo", "picture", "image"} <= set(MISSPELLINGS)


def test_words_of_the_table_are_misspelt_in_their_case():
    assert outcomes("photo") == set(MISSPELLINGS["photo"])
    assert outcomes("Photo,") == {f"{wrong.capitalize()}," for wrong in MISSPELLINGS["photo"]}
    assert outcomes("PHOTO") == {wrong.upper() for wrong in MISSPELLINGS["photo"]}


def test_other_words_err_in_their_middle():
    assert outcomes("lamp") == {"lmp", "lap", "laamp", "lammp", "lmap"}
    assert outcomes("LAMP") == {"LMP", "LAP", "LAAMP", "LAMMP", "LMAP"}
    assert outcomes("e\u0301te\u0301s") == {
        "e\u0301e\u0301s", "e\u0301ts", "e\u0301tte\u0301s", "e\u0301te\u0301e\u0301s", "e\u0301e\u0301ts",
    }  # fmt: skip


def test_short_unknown_words_and_protected_ones_are_spared():
    assert outcomes("a of sks zwx", 1.0) == {"a of sks zwx"}
    assert outcomes("photo LAMP", 1.0, protected=frozenset({"Photo", "lamp"})) == {"photo LAMP"}


def test_severity_is_a_share_of_the_words():
    generator = np.random.default_rng(0)
    assert [len(paper("photo image picture dog of a", s, generator).edits) for s in (0.1, 0.5, 0.75, 1)] == [1, 2, 3, 4]


def test_edits_name_the_word_and_what_became_of_it():
    edit = paper("a photo", 0.1, np.random.default_rng(0)).edits[0]
    assert (edit.kind, edit.start, edit.before) == ("misspelling", 2, "photo")
    assert paper("a lamp", 0.1, np.random.default_rng(0)).edits[0].kind in {"drop", "double", "transpose"}
