"""Synonyms, paraphrases and contexts: other words for the same, and the same elsewhere."""

import numpy as np
import pytest

from aelif.perturb import synonyms
from aelif.perturb.contexts import CONTEXTS, LOOKS, PLACES, context, put_in_context
from aelif.perturb.frames import paraphrase
from aelif.perturb.scope import EVERYWHERE, Scope
from aelif.perturb.synonyms import SYNONYMS, synonym


def outcomes(function, text, severity=0.01, scope=EVERYWHERE):
    return {function(text, severity, np.random.default_rng(seed), scope=scope).text for seed in range(300)}


# ── Synonyms ───────────────────────────────────────────────────────────────────────────────────


def test_synonyms_are_other_words():
    for word, others in SYNONYMS.items():
        assert word not in others
        assert len(set(others)) == len(others) >= 2


def test_a_synonym_takes_the_words_place_case_and_article():
    assert outcomes(synonym, "Backpack!") == {"Rucksack!", "Knapsack!", "Bag!"}
    assert outcomes(synonym, "an image") == {"a picture", "a photo", "a visual"}
    assert outcomes(synonym, "A  CAR x") == {"An  AUTOMOBILE x", "An  AUTO x"}
    assert outcomes(synonym, "sks xyz") == {"sks xyz"}
    assert outcomes(synonym, "an image", 1.0, Scope(protected=frozenset({"an"}))) == {
        "an picture", "an photo", "an visual",
    }  # fmt: skip


WORDNET = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.0.dtd">
<LexicalResource xmlns:dc="http://purl.org/dc/elements/1.1/">
  <Lexicon id="tiny" label="Tiny" language="en" email="none@example.org" license="CC0" version="1">
    <LexicalEntry id="tiny-1"><Lemma writtenForm="gizmo" partOfSpeech="n"/>
      <Sense id="tiny-s1" synset="tiny-x1"/></LexicalEntry>
    <LexicalEntry id="tiny-2"><Lemma writtenForm="gadget" partOfSpeech="n"/>
      <Sense id="tiny-s2" synset="tiny-x1"/></LexicalEntry>
    <LexicalEntry id="tiny-3"><Lemma writtenForm="widget thing" partOfSpeech="n"/>
      <Sense id="tiny-s3" synset="tiny-x1"/></LexicalEntry>
    <Synset id="tiny-x1" ili="" partOfSpeech="n"/>
  </Lexicon>
</LexicalResource>
"""


def test_an_installed_wordnet_knows_words_outside_the_table(tmp_path, monkeypatch):
    wn = pytest.importorskip("wn", reason="the optional package wn is not installed")
    monkeypatch.setattr(wn.config, "data_directory", str(tmp_path))
    synonyms._look_up.cache_clear()
    assert synonyms.synonyms_of("gizmo") == ()
    assert list(tmp_path.iterdir()) == [], "asking makes no database"
    synonyms._look_up.cache_clear()
    (tmp_path / "tiny.xml").write_text(WORDNET)
    wn.add(tmp_path / "tiny.xml", progress_handler=None)
    assert outcomes(synonym, "sks Gizmo") == {"sks Gadget"}
    assert synonyms.synonyms_of("gadget") == ("gizmo",)
    assert synonyms.synonyms_of("photo") == SYNONYMS["photo"]
    synonyms._look_up.cache_clear()


# ── Paraphrases ────────────────────────────────────────────────────────────────────────────────


def test_the_medium_is_reworded_and_the_subject_untouched():
    found = outcomes(paraphrase, "a photo of sks dog.", 1.0)
    assert found == {
        "a snapshot of sks dog.", "a shot of sks dog.", "a photograph of sks dog.", "a pic of sks dog.",
        "photo showing sks dog.", "a photo that shows sks dog.", "sks dog, photographed.", "sks dog in a photo.",
    }  # fmt: skip
    assert "A nice depiction of sks dog" in outcomes(paraphrase, "A nice picture of sks dog")
    assert "sks dog in an oil painting" in outcomes(paraphrase, "an oil painting of sks dog")
    assert not any("photographed" in text for text in outcomes(paraphrase, "a good photo of sks dog"))


@pytest.mark.parametrize(
    "text", ["sks dog", "a photo of", "a photo of ", "a dog in a photo of a dog", "photos of dogs"]
)
def test_prompts_without_a_medium_stay(text):
    assert outcomes(paraphrase, text) == {text}


def test_a_protected_frame_stays():
    assert outcomes(paraphrase, "a photo of sks", scope=Scope(protected=frozenset({"photo"}))) == {"a photo of sks"}
    assert outcomes(paraphrase, "a photo of sks", scope=Scope(target=frozenset({"sks"}))) == {"a photo of sks"}


# ── Contexts ───────────────────────────────────────────────────────────────────────────────────


def test_the_25_contexts_give_dreambooths_prompts():
    assert (len(PLACES), len(LOOKS), len(set(CONTEXTS))) == (20, 5, 25)
    made = [put_in_context("a sks dog", words, subject="sks dog").text for words in CONTEXTS]
    assert made[0] == "a sks dog in the jungle"
    assert made[12] == "a sks dog with the Eiffel Tower in the background"
    assert made[20] == "a red sks dog"
    assert made[24] == "a cube shaped sks dog"


def test_places_stand_before_the_last_mark_and_looks_before_the_subject():
    assert put_in_context("a photo of sks dog. ", "in the snow", subject="").text == "a photo of sks dog in the snow. "
    assert put_in_context("an olis toy, olis toy", "wet", subject="olis  toy").text == "a wet olis toy, olis toy"
    assert put_in_context("a dog", "wet", subject="sks").edits == ()
    assert put_in_context("...", "in the snow", subject="").edits == ()


def test_looks_are_asked_for_where_the_subject_is_known():
    assert outcomes(context, "sks dog") == {f"sks dog {place}" for place in PLACES}
    every = outcomes(context, "sks dog", scope=Scope(subject="sks dog"))
    assert every == {f"sks dog {place}" for place in PLACES} | {f"{look} sks dog" for look in LOOKS}
    assert outcomes(context, "sks dog", severity=0) == {"sks dog"}
