"""Settings: what is accepted, what is refused with which words, and the way through JSON."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelif.config import (
    AUGMENTATIONS,
    DataConfig,
    GateConfig,
    PromptConfig,
    RunConfig,
    ScoreConfig,
    SynthesisConfig,
    TrainConfig,
    Trial,
    Variant,
    from_dict,
    nearest,
    to_dict,
)

DATA = {
    "instance_images": "photos",
    "instance_prompt": "a photo of sks backpack",
    "class_prompt": "a photo of a backpack",
}
variants = st.just(Variant(augmentation="baseline")) | st.builds(
    lambda name, thousandths: Variant(augmentation=name, magnitude=thousandths / 1000),
    st.sampled_from([name for name in AUGMENTATIONS if name != "baseline"]),
    st.integers(1, 1000),
)


def floats(value):
    """Return `value` as kfp hands it to a step: every number a float."""
    if isinstance(value, dict):
        return {key: floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [floats(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(variants, st.integers(0, 2**31))
def test_variants_and_trials_read_what_they_write(variant, seed):
    assert Variant.parse(str(variant)) == variant
    trial = Trial(variant=variant, seed=seed)
    assert Trial.parse(str(trial)) == trial


def test_variants_as_users_write_them():
    assert Variant.parse(" aelif_mask ") == Variant(augmentation="aelif_mask", magnitude=0.3)
    assert Variant.parse("aelif_mask:.5").magnitude == 0.5
    assert str(Variant.parse("baseline")) == "baseline"
    assert str(Trial(variant=Variant.parse("aelif_mask:0.30"), seed=1)) == "aelif_mask:0.3/seed=1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aelif_msk:0.3", "did you mean 'aelif_mask'"),
        ("zzz", "known: baseline, aelif_mask, aelif_noise_conv"),
        ("aelif_mask:1.5", r"magnitude of aelif_mask = 1\.5: give a share"),
        ("aelif_mask:-1", "give a share"),
        ("aelif_mask:nan", "give a share"),
        ("aelif_mask:0", "give one above 0"),
        ("aelif_mask:much", "'much' is no number"),
        ("", "known"),
    ],
)
def test_wrong_variants_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Variant.parse(text)


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        (DataConfig, "instance_prompt", " ", "the prompt is empty"),
        (DataConfig, "class_prompt", "", "the prompt is empty"),
        (DataConfig, "instance_images", "", "name a folder"),
        (DataConfig, "instance_prompt", "A photo of a Backpack", "it has no identifier"),
        (DataConfig, "image_size", 60, "multiple of 8"),
        (DataConfig, "image_size", 0, "multiple of 8"),
        (PromptConfig, "templates", (), "at least one clean prompt"),
        (PromptConfig, "templates", ("a photo",), "lacks {subject}"),
        (PromptConfig, "families", (), "give at least one"),
        (PromptConfig, "families", ("keybord",), "did you mean 'keyboard'"),
        (PromptConfig, "severities", (), "give at least one"),
        (PromptConfig, "severities", (0.1, 1.1), r"shares in \(0, 1\]"),
        (PromptConfig, "draws", 0, "at least 1"),
        *((TrainConfig, name, 0, "give at least 1") for name in ("rank", "steps", "batch_size", "class_images")),
        *((TrainConfig, name, 0, "give at least 1") for name in ("crops", "checkpoint_every")),
        *((TrainConfig, name, 0.0, "positive") for name in ("learning_rate", "max_grad_norm")),
        *((TrainConfig, name, -0.1, "at least 0") for name in ("prior_weight", "noise_std")),
        *((SynthesisConfig, name, 0, "give at least 1") for name in ("images_per_prompt", "steps", "batch_size")),
        (SynthesisConfig, "guidance_scale", 0.5, "give at least 1"),
        (ScoreConfig, "resamples", 99, "at least 100"),
        (ScoreConfig, "confidence", 1.0, "0.95"),
        (GateConfig, "model_name", "", "give a name"),
        (GateConfig, "model_name", "a/b", "MLflow allows no"),
        (RunConfig, "variants", (Variant(augmentation="aelif_mask", magnitude=0.3),), "add 'baseline'"),
        (RunConfig, "variants", (Variant(augmentation="baseline"),) * 2, "each may occur once"),
        (RunConfig, "seeds", (), "give at least one"),
        (RunConfig, "seeds", (1, 1), "each may occur once"),
        (RunConfig, "num_shards", 0, "give at least 1"),
    ],
)
def test_every_wrong_setting_is_named_with_the_remedy(section, field, value, message):
    required = {DataConfig: DATA, RunConfig: {"data": DataConfig(**DATA)}}.get(section, {})
    with pytest.raises(ValueError, match=message) as error:
        section(**{**required, field: value})
    assert "\n" not in str(error.value)


def test_the_identifier_is_what_the_class_prompt_lacks():
    assert DataConfig(**DATA).identifier == "sks"
    assert DataConfig(**{**DATA, "instance_prompt": "a photo of Sks V* backpack"}).identifier == "Sks V*"


@given(
    st.builds(
        RunConfig,
        data=st.just(DataConfig(**DATA, image_size=128)),
        variants=st.lists(variants, unique_by=str, max_size=4).map(
            lambda items: (Variant(augmentation="baseline"), *(v for v in items if v.augmentation != "baseline"))
        ),
        seeds=st.lists(st.integers(0, 2**40), min_size=1, unique=True).map(tuple),
        train=st.builds(TrainConfig, snr_gamma=st.floats(0.1, 9), steps=st.integers(1, 10**6)),
        prompts=st.builds(PromptConfig, severities=st.lists(st.floats(0.01, 1), min_size=1, max_size=3).map(tuple)),
    )
)
def test_a_run_survives_json_that_makes_every_number_a_float(config):
    through_json = json.loads(json.dumps(floats(to_dict(config))))
    assert from_dict(RunConfig, through_json) == config


def test_whole_numbers_come_back_as_integers():
    train = from_dict(TrainConfig, {"steps": 10.0, "learning_rate": 1})
    assert (type(train.steps), type(train.learning_rate)) == (int, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": DATA, "trian": {}}, "trian: no such setting; did you mean 'train'"),
        ({"data": DATA, "train": {"step": 1}}, r"train\.step: no such setting; did you mean 'steps'"),
        ({"data": {"class_prompt": "x"}}, r"data\.instance_images: this setting is required"),
        ({}, "data: this setting is required"),
        ({"data": DATA, "train": {"steps": 1.5}}, r"train\.steps = 1\.5: give a whole number"),
        ({"data": DATA, "train": {"steps": True}}, r"train\.steps = True: give a whole number"),
        ({"data": DATA, "train": {"steps": "ten"}}, r"train\.steps = 'ten': give a whole number"),
        ({"data": DATA, "train": {"learning_rate": "1e-4"}}, r"train\.learning_rate = '1e-4': give a number"),
        ({"data": DATA, "train": {"prior_preservation": 1}}, r"train\.prior_preservation = 1: give true or false"),
        ({"data": DATA, "train": {"method": "loar"}}, r"train\.method = 'loar': did you mean 'lora'"),
        ({"data": DATA, "train": 3}, "train = 3: give a table"),
        ({"data": DATA, "seeds": 3}, "seeds = 3: give a list"),
        ({"data": DATA, "base_model": 3}, "base_model = 3: give text"),
        ({"data": DATA, "variants": ["baseline", "aelif_mask:2"]}, "give a share"),
    ],
)
def test_wrong_values_are_named_with_their_place(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict(RunConfig, values)


def test_trials_are_every_variant_with_every_seed():
    config = RunConfig(data=DataConfig(**DATA), seeds=(3, 5))
    assert [str(trial) for trial in config.trials][::3] == ["baseline/seed=3", "baseline/seed=5"]
    assert len(set(config.trials)) == 6


def test_settings_cannot_be_changed_after_they_were_checked():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().steps = 0


def test_the_nearest_word_is_named_only_where_one_is_close():
    assert nearest("swpa", ["swap", "word_drop"]) == "did you mean 'swap'?"
    assert nearest("zz", ["swap", "word_drop"]) == "known: swap, word_drop"
