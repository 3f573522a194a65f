import numpy as np
import pytest

from aelif.perturb import grammar
from aelif.perturb.inflection import OTHER_NUMBER, other_verb_forms, plural_of, regular_forms
from aelif.perturb.scope import EVERYWHERE, Scope


def outcomes(function, text, severity=0.01, scope=EVERYWHERE):
    return {function(text, severity, np.random.default_rng(seed), scope=scope).text for seed in range(300)}


def test_articles_are_wrong_lost_or_added():
    assert outcomes(grammar.article, "A cat") == {"An cat", "The cat", "cat"}
    assert outcomes(grammar.article, "the cat") == {"a cat", "cat"}
    assert outcomes(grammar.article, "of apple,") == {"of an apple,", "of the apple,"}
    assert outcomes(grammar.article, "photo of my cat") == {"a photo of my cat", "the photo of my cat"}
    assert outcomes(grammar.article, "sks") == {"sks"}
    assert outcomes(grammar.article, "a") == {"an", "the"}  # nothing would be left


def test_prepositions_are_taken_for_others_or_lost():
    assert outcomes(grammar.preposition, "photo Of cat") == {"photo Off cat", "photo From cat", "photo For cat",
                                                             "photo cat"}  # fmt: skip
    assert outcomes(grammar.preposition, "a cat") == {"a cat"}


def test_number_disagrees():
    assert outcomes(grammar.agreement, "a photo, xyz") == {"a photos, xyz"}
    assert outcomes(grammar.agreement, "Boxes") == {"Box"}
    assert outcomes(grammar.agreement, "he is HAS") == {"he are HAS", "he is HAVE"}
    assert outcomes(grammar.agreement, "these sks sit") == {"this sks sit", "these sks sits"}
    assert outcomes(grammar.agreement, "sks gizmo") == {"sks gizmo"}
    assert outcomes(grammar.agreement, "sks gizmo", scope=Scope(subject="sks gizmo")) == {"sks gizmos"}
    assert outcomes(grammar.agreement, "sks dog", scope=Scope(subject="sks dog")) == {"sks dogs"}
    assert outcomes(grammar.agreement, "dog sks", scope=Scope(subject="dog sks")) == {"dogs sks"}


def test_verbs_take_another_form():
    assert outcomes(grammar.tense, "a dog sitting") == {"a dog sit", "a dog sat", "a dog sits"}
    assert outcomes(grammar.tense, "Painted red") == {"Paint red", "Painting red", "Paints red"}
    assert outcomes(grammar.tense, "a dog is here") >= {"a dog was here", "a dog being here"}
    for prompt in ("a photo of sks backpack", "a painting of a red ring at evening", "a drawing", "собака"):
        assert outcomes(grammar.tense, prompt) == {prompt}


@pytest.mark.parametrize(
    ("verb", "forms"),
    [
        ("paint", "painted painted painting"),
        ("stop", "stopped stopped stopping"),
        ("smile", "smiled smiled smiling"),
        ("carry", "carried carried carrying"),
        ("play", "played played playing"),
        ("look", "looked looked looking"),
        ("open", "opened opened opening"),
        ("cover", "covered covered covering"),
        ("free", "freed freed freeing"),
    ],
)
def test_regular_forms(verb, forms):
    assert regular_forms(verb) == (verb, *forms.split())


def test_plurals():
    assert [plural_of(noun) for noun in ("cat", "box", "city", "toy", "brush", "vase")] == [
        "cats", "boxes", "cities", "toys", "brushes", "vases",
    ]  # fmt: skip
    for noun, other in OTHER_NUMBER.items():
        assert OTHER_NUMBER[other] == noun or noun == "glasses"
    assert (OTHER_NUMBER["men"], OTHER_NUMBER["leaf"], OTHER_NUMBER["photos"]) == ("man", "leaves", "photo")


def test_verbs_outside_the_table_are_known_by_their_ending():
    assert other_verb_forms("hovering") == ("hovered",)
    assert other_verb_forms("bearded") == ("bearding",)
    for word in ("ring", "red", "thing", "bed", "spring", "hundred", "seed", "of", "sks", "2ing", "crwth"):
        assert other_verb_forms(word) == ()


def test_protected_words_and_targets():
    spared = Scope(protected=frozenset({"sitting", "photo"}))
    for function in (grammar.tense, grammar.agreement):
        assert outcomes(function, "a photo sitting", 1.0, spared) == {"a photo sitting"}
    assert outcomes(grammar.preposition, "of of-of of", 1.0, Scope(target=frozenset({"on"}))) == {"of of-of of"}
