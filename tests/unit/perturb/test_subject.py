import pytest

from aelif.config import DataConfig, PromptConfig
from aelif.perturb.subject import scope_of, subject_of, subject_parts


def named(instance, class_prompt):
    return DataConfig(instance_images="photos", instance_prompt=instance, class_prompt=class_prompt)


@pytest.mark.parametrize(
    ("instance", "class_prompt", "subject", "identifier", "class_words"),
    [
        ("a photo of sks backpack", "a photo of a backpack", "sks backpack", {"sks"}, {"backpack"}),
        ("A photo of a SKS red dog.", "a photo of a red dog.", "SKS red dog", {"SKS"}, {"red dog"}),
        ("sks backpack", "a photo of a backpack", "sks backpack", {"sks"}, {"backpack"}),
        ("photo of <s1> <s2> dog", "a photo of a dog", "<s1> <s2> dog", {"<s1> <s2>"}, {"dog"}),
        ("a photo of backpack sks.", "a photo of a backpack", "backpack sks", {"sks"}, {"backpack"}),
        ("a photo of sks", "a photo of a backpack", "sks", {"sks"}, set()),
        ("a photo of olis stuffed animal", "a stuffed animal", "of olis stuffed animal", None, None),
        ("a photo of olis stuffed animal", "a photo of a stuffed animal", "olis stuffed animal", {"olis"},
         {"stuffed animal"}),
    ],
)  # fmt: skip
def test_subject_of_the_instance_prompt_and_its_parts(instance, class_prompt, subject, identifier, class_words):
    data = named(instance, class_prompt)
    if identifier is None:  # a class prompt without its frame: the frame passes for a part of the identifier
        assert data.identifier == "photo of olis"
        return
    assert subject_of(data) == subject
    assert subject_parts(data) == {"identifier": identifier, "class_word": class_words}


def test_the_scope_follows_the_configuration():
    data = named("a photo of olis stuffed animal", "a photo of a stuffed animal")
    scope = scope_of(PromptConfig(protect=("identifier",), target=("class_word",)), data)
    assert (scope.protected, scope.target) == ({"olis"}, {"stuffed animal"})
    assert scope.subject == "olis stuffed animal"
    assert not scope_of(PromptConfig(), data).is_limited


def test_a_class_word_that_is_not_named_cannot_be_the_target():
    with pytest.raises(ValueError, match="target = 'class_word': the prompts name the subject 'sks'"):
        scope_of(PromptConfig(target=("class_word",)), named("a photo of sks", "a photo of a backpack"))
