from pathlib import Path

import numpy as np
import pytest
from rapidfuzz.distance import DamerauLevenshtein

from aelif.models.miniature.scenes import BACKGROUNDS, OBJECTS, TINTS
from aelif.perturb import human
from aelif.perturb.human import MISSPELLINGS, codespell, misspelling, paper, read_codespell
from aelif.perturb.scope import Scope


def outcomes(function, text, severity=0.01, **options):
    return {function(text, severity, np.random.default_rng(seed), **options).text for seed in range(300)}


def test_the_papers_examples_are_what_its_rule_gives():
    assert outcomes(paper, "photo") == {"poto", "phoo", "phto"}
    assert outcomes(paper, "a PHOTO, dog") == {"a POTO, dog", "a PHOO, dog", "a PHTO, dog"}
    assert outcomes(paper, "lamp") == {"lmp", "lap"}
    assert outcomes(paper, "e\u0301te\u0301s") == {"e\u0301e\u0301s", "e\u0301ts"}
    assert outcomes(paper, "of sks dog") == {"of sks dog"}


@pytest.mark.parametrize("severity", [0.1, 0.5, 1.0])
def test_the_paper_loses_one_inner_letter_of_each_word_hit(severity):
    text = "a picture of sks backpack here"
    for seed in range(50):
        result = paper(text, severity, np.random.default_rng(seed))
        assert len(result.edits) == max(1, round(severity * 3))
        for word, wrong in zip(text.split(), result.text.split(), strict=True):
            assert (word[0], word[-1]) == (wrong[0], wrong[-1])
            assert len(word) - len(wrong) in (0, 1)


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
    assert outcomes(misspelling, "photo") == set(MISSPELLINGS["photo"])
    assert outcomes(misspelling, "Photo,") == {f"{wrong.capitalize()}," for wrong in MISSPELLINGS["photo"]}
    assert outcomes(misspelling, "PHOTO") == {wrong.upper() for wrong in MISSPELLINGS["photo"]}


def test_words_outside_the_table_and_protected_ones_are_spared():
    assert outcomes(misspelling, "a lamp of sks", 1.0) == {"a lamp of sks"}
    scope = Scope(protected=frozenset({"Photo", "lamp"}))
    for function in (misspelling, paper):
        assert outcomes(function, "photo LAMP", 1.0, scope=scope) == {"photo LAMP"}


def test_severity_is_a_share_of_the_words():
    generator = np.random.default_rng(0)
    severities = (0, 0.1, 0.5, 0.75, 1)
    assert [len(misspelling("photo image picture dog of a", s, generator).edits) for s in severities] == [0, 1, 2, 3, 4]


def test_edits_name_the_word_and_what_became_of_it():
    edit = misspelling("a photo", 0.1, np.random.default_rng(0)).edits[0]
    assert (edit.kind, edit.start, edit.before) == ("misspelling", 2, "photo")


# ── codespell ──────────────────────────────────────────────────────────────────────────────────


def test_codespells_dictionary_is_read_backwards():
    package = pytest.importorskip("codespell_lib", reason="the optional package codespell is not installed")
    lines = (Path(package.__file__).parent / "data" / "dictionary.txt").read_text(encoding="utf-8").splitlines()
    table = read_codespell()
    assert "backround" in table["background"]
    assert outcomes(codespell, "Background") <= {wrong.capitalize() for wrong in table["background"]}
    known = set(lines)
    for word in ("background", "image", "table", "the"):
        assert all(f"{wrong}->{word}" in known for wrong in table[word])
        assert len(table[word]) == sum(line.endswith(f"->{word}") for line in lines)
    assert all(word.isalpha() and list(wrong) == sorted(wrong) for word, wrong in table.items())


def test_without_the_package_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr(human.util, "find_spec", lambda name: None)
    read_codespell.cache_clear()
    with pytest.raises(ValueError, match=r"pip install 'aelif\[codespell\]'"):
        codespell("a photo", 0.1, np.random.default_rng(0))
