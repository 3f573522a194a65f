"""What every family must keep to, whatever the text."""

import subprocess
import sys
import unicodedata
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from aelif.config import FAMILIES, OUT_OF_DISTRIBUTION
from aelif.perturb import FAMILY_FUNCTIONS, Scope, apply_edits
from aelif.perturb.families import NEEDS, explain_unchanged
from aelif.perturb.human import has_codespell

PROMPT = "a photo of sks backpack sitting on a table"
INSTALLED = [family for family in FAMILIES if family != "codespell" or has_codespell()]
CHARACTER_FAMILIES = [
    "keyboard", "insert", "delete", "swap", "repeat", "substitute", "casing", "spacing", "keyboard_qwertz",
    "keyboard_azerty", "keyboard_dvorak", "ocr", "homoglyph", "paper",
]  # fmt: skip
families = st.sampled_from(INSTALLED)
severities = st.floats(0.01, 1.0)
seeds = st.integers(0, 2**32)
latin = st.text("abcdeXYZé'-", min_size=1, max_size=8)
english = st.sampled_from(
    ["a", "An", "the", "photo", "of", "picture", "on", "dogs", "sitting", "painted", "is", "red,", "image.", "don't"]
)
scripts = st.sampled_from(
    ["photo", "рюкзак", "σακίδιο", "背包", "백팩", "बैग", "กระเป๋า", "حقيبة", "e\u0301te\u0301", "🎒", "2x"]
)
prompts = st.lists(st.one_of(latin, scripts, english, st.text(max_size=6)), max_size=8).map(" ".join) | st.text(
    max_size=60
)
property_test = settings(deadline=None, max_examples=150, derandomize=True)


def perturb(family, text, severity, seed, protected=(), target=(), subject=""):
    scope = Scope(protected=frozenset(protected), target=frozenset(target), subject=subject)
    return FAMILY_FUNCTIONS[family](text, severity, np.random.default_rng(seed), scope=scope)


def test_every_family_of_the_configuration_has_its_function():
    assert tuple(FAMILY_FUNCTIONS) == FAMILIES
    assert all(function.__name__ == family for family, function in FAMILY_FUNCTIONS.items())
    assert tuple(NEEDS) == FAMILIES
    assert explain_unchanged("tense", is_limited=False) == "The prompt has no verb to change."


@property_test
@given(families, prompts, severities, seeds)
def test_edits_lead_from_the_original_to_the_perturbed_text(family, text, severity, seed):
    result = perturb(family, text, severity, seed)
    assert apply_edits(text, result.edits) == result.text
    assert all(edit.before != edit.after for edit in result.edits)
    assert (result.text == text) == (not result.edits) or family == "spacing"  # a split may undo a merge
    assert [edit.start for edit in result.edits] == sorted(edit.start for edit in result.edits)


@property_test
@given(families, prompts, seeds)
def test_severity_0_is_the_identity(family, text, seed):
    result = perturb(family, text, 0.0, seed)
    assert (result.text, result.edits) == (text, ())


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
    assume(family not in ("paraphrase", "context", "ocr"))  # one rewording; groups of letters at once
    low, high = (perturb(family, text, severity, seed) for severity in pair)
    assert len(low.edits) <= len(high.edits)


@pytest.mark.parametrize("family", CHARACTER_FAMILIES)
def test_the_realised_error_rate_grows_with_severity(family):
    rates = [
        np.mean([Levenshtein.distance(PROMPT, perturb(family, PROMPT, severity, seed).text) for seed in range(40)])
        for severity in (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)
    ]
    assert rates[0] == 0
    assert all(low <= high for low, high in pairwise(rates))
    assert rates[-1] > 2 * rates[1]


@property_test
@given(families, st.lists(latin | scripts | english, max_size=5), st.lists(latin | scripts | english, max_size=5),
       severities, seeds, st.sampled_from(["sks", "SKS", "<s1>", "V*", "пкс", "stuffed  animal"]))  # fmt: skip
def test_protected_words_survive(family, before, after, severity, seed, word):
    text = " ".join([*before, word, *after])
    result = perturb(family, text, severity, seed, {word.lower()})
    assert all(result.text.split().count(part) >= text.split().count(part) for part in [word] if " " not in part)
    assert result.text.count(word) >= 1
    start = len(" ".join([*before, ""])) if before else 0
    inside = [edit for edit in result.edits if edit.start < start + len(word) and edit.start + len(edit.before) > start]
    assert family == "word_drop" or not inside  # a lost last word takes the space before it, no letter
    assert all(word not in edit.before.split() for edit in result.edits)


@property_test
@given(families, st.lists(english | scripts, max_size=5), st.lists(english | scripts, max_size=5), severities, seeds)
def test_targets_alone_are_hit(family, before, after, severity, seed):
    assume(family not in OUT_OF_DISTRIBUTION)  # no error: it hits no word
    text = " ".join([*before, "sks photo", *after])
    start = len(" ".join([*before, ""])) if before else 0
    result = perturb(family, text, severity, seed, target={"sks photo"})
    for edit in result.edits:
        touched = text[edit.start : edit.start + len(edit.before)].strip()
        first = edit.start + (len(edit.before) - len(edit.before.lstrip()))
        assert start <= first <= first + len(touched) <= start + len("sks photo")


@property_test
@given(families, st.lists(scripts.filter(str.isalpha), max_size=6), severities, seeds)
def test_nothing_happens_where_every_word_is_protected(family, words, severity, seed):
    assume(family not in OUT_OF_DISTRIBUTION)
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


@pytest.mark.parametrize("family", INSTALLED)
@pytest.mark.parametrize("severity", [0.05, 0.1, 0.5, 1.0])
def test_an_ordinary_prompt_is_always_changed(family, severity):
    for seed in range(20):
        assert perturb(family, PROMPT, severity, seed, subject="sks backpack").text != PROMPT


@pytest.mark.parametrize("family", [family for family in INSTALLED if family != "ocr"])
@pytest.mark.parametrize("text", ["", "   ", "1234", "👩‍👩‍👧"])
def test_a_text_without_letters_keeps_its_characters(family, text):
    result = perturb(family, text, 1.0, 0)
    assert set(result.text) <= set(text) | {" "} or (family, text) == ("context", "1234")
    assert family in ("word_repeat", "context") or result.text == text


def test_different_seeds_give_different_errors():
    for family in INSTALLED:
        assert len({perturb(family, PROMPT, 0.1, seed).text for seed in range(60)}) >= 3, family


def test_importing_the_families_loads_nothing_heavy():
    code = "import sys, aelif.perturb.plan; print({'numpy', 'pyarrow', 'rapidfuzz', 'kfp', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
