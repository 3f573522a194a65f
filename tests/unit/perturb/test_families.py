"""What every family must keep to, whatever the text."""

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aelif.config import FAMILIES
from aelif.perturb import FAMILY_FUNCTIONS, apply_edits

PROMPT = "a photo of sks backpack on the beach, at night"
families = st.sampled_from(FAMILIES)
severities = st.floats(0.01, 1.0)
seeds = st.integers(0, 2**32)
latin = st.text("abcdeXYZé'-", min_size=1, max_size=8)
scripts = st.sampled_from(
    ["photo", "рюкзак", "σακίδιο", "背包", "백팩", "बैग", "กระเป๋า", "حقيبة", "e\u0301te\u0301", "🎒", "2x"]
)
prompts = st.lists(st.one_of(latin, scripts, st.text(max_size=6)), max_size=8).map(" ".join) | st.text(max_size=60)
property_test = settings(deadline=None, max_examples=150, derandomize=True)


def perturb(family, text, severity, seed, protected=()):
    return FAMILY_FUNCTIONS[family](text, severity, np.random.default_rng(seed), protected=frozenset(protected))


def test_every_family_of_the_configuration_has_its_function():
    assert tuple(FAMILY_FUNCTIONS) == FAMILIES
    assert all(function.__name__ == family for family, function in FAMILY_FUNCTIONS.items())


@property_test
@given(families, prompts, severities, seeds)
def test_edits_lead_from_the_original_to_the_perturbed_text(family, text, severity, seed):
    result = perturb(family, text, severity, seed)
    assert apply_edits(text, result.edits) == result.text
    assert all(edit.before != edit.after for edit in result.edits)
    assert (result.text == text) == (not result.edits) or family == "spacing"  # a split may undo a merge
    assert [edit.start for edit in result.edits] == sorted(edit.start for edit in result.edits)


@property_test
@given(families, prompts, severities, seeds)
def test_the_result_is_valid_unicode_and_not_empty(family, text, severity, seed):
    result = perturb(family, text, severity, seed)
    assert result.text.encode().decode() == result.text
    assert bool(result.text.strip()) == bool(text.strip())


@property_test
@given(families, prompts, severities, seeds)
def test_the_same_generator_gives_the_same_result(family, text, severity, seed):
    assert perturb(family, text, severity, seed) == perturb(family, text, severity, seed)


@property_test
@given(families, prompts, st.tuples(severities, severities).map(sorted), seeds)
def test_higher_severity_never_makes_fewer_edits(family, text, pair, seed):
    low, high = (perturb(family, text, severity, seed) for severity in pair)
    assert len(low.edits) <= len(high.edits)


@property_test
@given(families, st.lists(latin | scripts, max_size=5), st.lists(latin | scripts, max_size=5), severities, seeds,
       st.sampled_from(["sks", "SKS", "<s1>", "V*", "пкс"]))  # fmt: skip
def test_protected_words_survive(family, before, after, severity, seed, word):
    text = " ".join([*before, word, *after])
    result = perturb(family, text, severity, seed, {word.lower()})
    assert result.text.split().count(word) >= text.split().count(word)
    start = len(" ".join([*before, ""])) if before else 0
    inside = [edit for edit in result.edits if edit.start < start + len(word) and edit.start + len(edit.before) > start]
    assert family == "word_drop" or not inside  # a lost last word takes the space before it, no letter
    assert all(word not in edit.before.split() for edit in result.edits)


@property_test
@given(families, st.lists(scripts.filter(str.isalpha), max_size=6), severities, seeds)
def test_nothing_happens_where_every_word_is_protected(family, words, severity, seed):
    result = perturb(family, " ".join(words), severity, seed, words)
    assert (result.text, result.edits) == (" ".join(words), ())


accented = st.lists(st.sampled_from(["a", "o\u0302", "e\u0301\u0323", "ñ", "s", "ष्"]), min_size=1).map("".join)


@property_test
@given(families, st.lists(accented, min_size=1).map(" ".join), severities, seeds)
def test_marks_stay_on_a_letter(family, prompt, severity, seed):
    text = perturb(family, prompt, severity, seed).text
    for position, character in enumerate(text):
        if unicodedata.combining(character):
            assert position > 0
            assert text[position - 1].isalpha() or unicodedata.combining(text[position - 1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("severity", [0.05, 0.1, 0.5, 1.0])
def test_an_ordinary_prompt_is_always_changed(family, severity):
    for seed in range(20):
        assert perturb(family, PROMPT, severity, seed).text != PROMPT


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["", "   ", "1234", "👩‍👩‍👧"])
def test_a_text_without_letters_keeps_its_characters(family, text):
    result = perturb(family, text, 1.0, 0)
    assert set(result.text) <= set(text) | {" "}
    assert family == "word_repeat" or result.text == text


def test_different_seeds_give_different_errors():
    for family in FAMILIES:
        assert len({perturb(family, PROMPT, 0.1, seed).text for seed in range(30)}) > 4


def test_importing_the_families_loads_nothing_heavy():
    code = "import sys, aelif.perturb.plan; print({'numpy', 'pyarrow', 'rapidfuzz', 'kfp', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
