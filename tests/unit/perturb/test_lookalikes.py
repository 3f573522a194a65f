import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aelif.perturb.lookalikes import HOMOGLYPHS, OCR_CONFUSIONS, homoglyph, ocr
from aelif.perturb.scope import Scope


def outcomes(function, text, severity=0.01, **options):
    return {function(text, severity, np.random.default_rng(seed), **options).text for seed in range(300)}


def test_both_tables_go_both_ways():
    for table in (OCR_CONFUSIONS, HOMOGLYPHS):
        assert all(sign in table[other] for sign, others in table.items() for other in others)
        assert all(sign not in others and len(set(others)) == len(others) for sign, others in table.items())
    assert sum(map(len, HOMOGLYPHS.values())) // 2 >= 60
    assert {"rn", "cl", "vv", "0", "1"} <= set(OCR_CONFUSIONS)


def test_every_latin_letter_has_a_lookalike_of_another_script():
    for letter in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        for other in HOMOGLYPHS[letter]:
            assert other.isalpha()
            assert not other.isascii()
            assert other.isupper() == letter.isupper()
            assert unicodedata.name(other).split()[0] in ("CYRILLIC", "GREEK", "FULLWIDTH", "LATIN")


def test_one_misreading_gives_exactly_the_known_words():
    assert outcomes(ocr, "m") == {"rn", "in"}
    assert outcomes(ocr, "rn") == {"m", "ru", "rri"}
    assert outcomes(ocr, "d5") == {"cl5", "dS", "ds"}
    assert outcomes(ocr, "x") == {"x"}
    assert outcomes(homoglyph, "aг") == {"аг", "ɑг", "ａг"}
    assert outcomes(homoglyph, "рюкзаκ") >= {"pюкзаκ", "рюкзаk", "рюкзaκ"}


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.text("rnmclda10O x,\u0301", max_size=30), st.floats(0, 1), st.integers(0, 2**32))
def test_edits_come_from_the_tables(text, severity, seed):
    for function, table in ((ocr, OCR_CONFUSIONS), (homoglyph, HOMOGLYPHS)):
        for edit in function(text, severity, np.random.default_rng(seed)).edits:
            assert edit.after in table[edit.before]


def test_severity_counts_the_signs_that_can_be_misread():
    for seed in range(20):
        edits = ocr("xxxx mmmm", 0.5, np.random.default_rng(seed)).edits
        assert [edit.before for edit in edits] == ["m", "m"]
    assert ocr("mmmm", 0, np.random.default_rng(0)).edits == ()


def test_groups_across_the_bounds_of_a_protected_word_are_spared():
    assert outcomes(ocr, "xcl", 1.0, scope=Scope(protected=frozenset({"xcl"}))) == {"xcl"}
    assert outcomes(ocr, "d x", 1.0, scope=Scope(target=frozenset({"d"}))) == {"cl x"}
