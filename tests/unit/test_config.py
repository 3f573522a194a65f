"""Settings: what is accepted, what is refused with which words, and the way through JSON."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aelif.config import (
    AUGMENTATIONS,
    AugmentationConfig,
    DataConfig,
    GateConfig,
    LoraConfig,
    Magnitude,
    OptimizerConfig,
    PromptConfig,
    RunConfig,
    ScoreConfig,
    Subject,
    SynthesisConfig,
    Term,
    TrainConfig,
    Trial,
    Variant,
    from_dict,
    nearest,
    to_dict,
)
from aelif.config.variants import OPTIONS

DATA = {
    "instance_images": "photos",
    "instance_prompt": "a photo of sks backpack",
    "class_prompt": "a photo of a backpack",
}
SECOND = {
    "instance_images": "more",
    "instance_prompt": "a photo of xyz dog",
    "class_prompt": "a photo of a dog",
}


@st.composite
def magnitudes(draw, maximum: float) -> Magnitude:
    """Return a magnitude of any form that is allowed up to `maximum`, awkward decimals included."""
    kind = draw(st.sampled_from(["constant", "range", "ramp"]))
    allowed = st.floats(0, maximum, allow_subnormal=False).map(abs)
    start, end = draw(allowed), draw(allowed.filter(lambda value: value > 0))
    if kind == "constant":
        return Magnitude.constant(end)
    start, end = (min(start, end), max(start, end)) if kind == "range" else (start, end)
    return Magnitude(start=start, end=end, kind=kind)


OPTION_VALUES = {
    "eligible": st.sampled_from(["all", "not_bos", "not_identifier", "content", "content+eos"]),
    "segments": st.sampled_from(["together", "apart"]),
    "same_draw": st.sampled_from(["true", "false"]),
    "noise_mean": st.floats(-1e20, 1e20).map(repr).map(lambda text: text.replace("e+", "e")),
    "noise_std": st.floats(0, 1e20).map(repr).map(lambda text: text.replace("e+", "e")),
    "pooled": st.sampled_from(["true", "false"]),
    "reach": st.floats(1e-20, 1e20).map(repr).map(lambda text: text.replace("e+", "e")),
}


def options_of(name: str) -> st.SearchStrategy[tuple[tuple[str, str], ...]]:
    """Return options that the augmentation takes, in any order."""
    allowed = {field: values for field, values in OPTION_VALUES.items() if name in OPTIONS[field]}
    chosen = st.fixed_dictionaries({}, optional=allowed).map(lambda values: list(values.items()))
    return chosen.flatmap(st.permutations).map(tuple)


terms = st.sampled_from(list(AUGMENTATIONS)).flatmap(
    lambda name: st.builds(
        Term, augmentation=st.just(name), magnitude=magnitudes(AUGMENTATIONS[name].maximum), options=options_of(name)
    )
)
variants = st.builds(Variant, terms=st.lists(terms, max_size=3).map(tuple))


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
    assert Variant.parse(" aelif_mask ") == Variant.of("aelif_mask", 0.1)
    assert Variant.parse("aelif_mask:.5").terms[0].magnitude == Magnitude.constant(0.5)
    assert Variant.parse("baseline") == Variant()
    assert str(Variant()) == Variant().augmentation == "baseline"
    assert str(Trial(variant=Variant.parse("aelif_mask:0.30"), seed=1)) == "aelif_mask:0.3/seed=1"
    ranged, ramp, tiny = (Variant.parse(f"aelif_mask:{text}") for text in ("0.1-0.5", "0.4to.2", "1e-5-1e-3"))
    assert ranged.terms[0].magnitude == Magnitude(start=0.1, end=0.5, kind="range")
    assert ramp.terms[0].magnitude == Magnitude(start=0.4, end=0.2, kind="ramp")
    assert tiny.terms[0].magnitude == Magnitude(start=1e-5, end=1e-3, kind="range")
    composed = Variant.parse("string_augmentation:0.5 + aelif_mask")
    assert str(composed) == "string_augmentation:0.5+aelif_mask:0.1"
    assert composed.augmentation == "string_augmentation+aelif_mask"


def test_options_are_settings_of_one_term():
    text = "aelif_noise_conv:0.3@noise_std=.50@eligible=content + cep"
    variant = Variant.parse(text)
    assert str(variant) == "aelif_noise_conv:0.3@eligible=content@noise_std=0.5+cep:1"
    assert variant.augmentation == "aelif_noise_conv+cep"
    run = AugmentationConfig(noise_mean=0.0, noise_std=2.0)
    assert variant.terms[0].settings(run) == dataclasses.replace(run, eligible="content", noise_std=0.5)
    assert variant.terms[1].settings(run) is run
    assert str(Variant.parse("aelif_mask@pooled=true@same_draw=false")) == "aelif_mask:0.1@pooled=true@same_draw=false"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("aelif_mask@eligible=content+eos", ["aelif_mask"]),
        ("aelif_mask@eligible=content+eos+cep:2", ["aelif_mask", "cep"]),
        ("aelif_mask:0.2@eligible=content+eos@pooled=true+cep", ["aelif_mask", "cep"]),
        ("aelif_mask@eligible=content + cep@eligible=content+eos", ["aelif_mask", "cep"]),
    ],
)
def test_the_plus_of_content_and_end_joins_no_terms(text, names):
    variant = Variant.parse(text)
    assert [term.augmentation for term in variant.terms] == names
    assert "content+eos" in str(variant)
    assert Variant.parse(str(variant)) == variant
    trial = Trial(variant=variant, seed=3)
    assert Trial.parse(str(trial)) == trial


def test_every_setting_of_an_augmentation_is_an_option_or_holds_for_the_run():
    whole_run = {"string_families", "string_severity", "string_draws", "mask_attention"}
    assert set(OPTIONS) | whole_run == {field.name for field in dataclasses.fields(AugmentationConfig)}


def test_a_magnitude_loses_no_digit_on_its_way_through_text():
    assert str(Magnitude.constant(0.123456789)) == "0.123456789"
    assert str(Magnitude.constant(0.1 + 0.2)) == "0.30000000000000004"
    assert str(Magnitude.constant(2.0)) == "2"


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_name_alone_means_the_usual_magnitude(name):
    assert Variant.parse(name) == Variant.of(name, AUGMENTATIONS[name].default)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aelif_msk:0.3", "did you mean 'aelif_mask'"),
        ("zzz", "known: baseline, aelif_mask, aelif_noise_conv"),
        ("aelif_mask:1.5", r"magnitude of aelif_mask = '1\.5': it is the share of the tokens; give one from 0 to 1"),
        ("aelif_mask:0.5-1.5", "give one from 0 to 1"),
        ("cep:101", "give one from 0 to 100"),
        ("aelif_mask:-1", "write 0.3, 0.1-0.5"),
        ("aelif_mask:nan", "'nan' is no number"),
        ("aelif_mask:inf", "'inf' is no number"),
        ("aelif_mask:", "'' is no number"),
        ("aelif_mask:0", "give one above 0, such as aelif_mask:0.1"),
        ("aelif_mask:0to0", "give one above 0"),
        ("aelif_mask:0.5-0.1", r"write the smaller number first: 0\.1-0\.5"),
        ("aelif_mask:much", "'much' is no number"),
        ("aelif_mask:0.1-0.2-0.3", "is no number"),
        ("aelif_mask:0.3+", "known"),
        ("aelif_mask:0.3+cap_dropout", "did you mean 'caption_dropout'"),
        ("baseline+aelif_mask", "'baseline': write it alone"),
        ("baseline:0.3", "'baseline': write it alone"),
        ("baseline@pooled=true", "'baseline': write it alone"),
        ("aelif_mask@eligble=content", "option eligble of aelif_mask = 'content': no such setting; did you mean 'elig"),
        ("aelif_mask@eligible=contents", "eligible = 'contents': did you mean 'content'"),
        ("aelif_mask@eligible", "option = 'eligible': write @FIELD=VALUE"),
        ("aelif_mask@pooled=1", "pooled = 1.0: give true or false"),
        ("aelif_noise_conv@noise_std=-1", "noise_std = -1.0: give a number of at least 0"),
        ("aelif_noise_conv@noise_std=nan", "noise_std = 'nan': give a number"),
        ("aelif_noise_conv@noise_std=1@noise_std=2", "noise_std of aelif_noise_conv = '2': it is given twice"),
        ("aelif_mask@noise_std=0.5", "none of this augmentation's own; aelif_noise_conv takes it"),
        ("aelif_mask@reach=2", "none of this augmentation's own; typo_shift takes it"),
        ("typo_shift@reach=0", r"reach = 0\.0: give a number above 0"),
        ("typo_shift@eligible=content", "none of this augmentation's own; aelif_mask, "),
        ("typo_noise:11", r"it is the σ, in displacements .*; give one from 0 to 10"),
        ("aelif_mask@mask_attention=true", r"set train\.augmentation\.mask_attention for the whole run"),
        ("string_augmentation@string_families=swap", r"set train\.augmentation\.string_families for the whole run"),
        ("cep@timesteps=late", "timesteps = 'late': known: all, low, high"),
        ("", "known"),
    ],
)
def test_wrong_variants_are_refused(text, message):
    with pytest.raises(ValueError, match=message) as error:
        Variant.parse(text)
    assert "\n" not in str(error.value)


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
        (DataConfig, "max_sequence_length", 0, "1 to 512 tokens"),
        (DataConfig, "more_subjects", (Subject(**DATA),), r"more_subjects = 'sks, sks': give each subject"),
        (Subject, "instance_images", " ", "name a folder"),
        (Subject, "instance_prompt", "a photo", "it has no identifier"),
        *((TrainConfig, name, 0, "give at least 1") for name in ("steps", "batch_size", "gradient_accumulation")),
        *((TrainConfig, name, 0, "give at least 1") for name in ("class_images", "crops", "checkpoint_every")),
        *((TrainConfig, name, -1, "at least 0") for name in ("prior_weight", "validate_every")),
        *((TrainConfig, name, 1.0, r"share in \[0, 1\)") for name in ("caption_dropout", "ema_decay")),
        *((TrainConfig, name, -0.1, r"share in \[0, 1\)") for name in ("caption_dropout", "ema_decay")),
        (TrainConfig, "snr_gamma", 0.0, "positive"),
        (LoraConfig, "rank", 0, "rank = 0: give at least 1"),
        *((LoraConfig, name, 0.0, "positive") for name in ("alpha", "text_learning_rate")),
        (LoraConfig, "dropout", 1.0, r"share in \[0, 1\)"),
        *((OptimizerConfig, name, 0.0, "positive") for name in ("learning_rate", "max_grad_norm")),
        (OptimizerConfig, "warmup", 1.0, r"share in \[0, 1\)"),
        (OptimizerConfig, "weight_decay", -0.1, "at least 0"),
        (AugmentationConfig, "noise_std", -0.1, "at least 0"),
        (AugmentationConfig, "string_families", ("insrt",), "did you mean 'insert'"),
        (AugmentationConfig, "string_families", (), "at least one"),
        *((AugmentationConfig, "string_severity", value, r"share in \(0, 1\]") for value in (0.0, 1.1)),
        (AugmentationConfig, "string_draws", 0, "at least 1"),
        *((SynthesisConfig, name, 0, "give at least") for name in ("images_per_prompt", "steps", "batch_size")),
        (SynthesisConfig, "guidance_scale", 0.5, "give at least 1"),
        (ScoreConfig, "resamples", 99, "at least 100"),
        (ScoreConfig, "confidence", 1.0, "0.95"),
        (GateConfig, "model_name", "", "give a name"),
        (GateConfig, "model_name", "a/b", "MLflow allows no"),
        (RunConfig, "variants", (Variant.of("aelif_mask", 0.3),), "add 'baseline'"),
        (RunConfig, "variants", (Variant(),) * 2, "each may occur once"),
        (RunConfig, "seeds", (), "give at least one"),
        (RunConfig, "seeds", (1, 1), "each may occur once"),
        (RunConfig, "num_shards", 0, "give at least 1"),
    ],
)
def test_every_wrong_setting_is_named_with_the_remedy(section, field, value, message):
    required = {DataConfig: DATA, Subject: DATA, RunConfig: {"data": DataConfig(**DATA)}}.get(section, {})
    with pytest.raises(ValueError, match=message) as error:
        section(**{**required, field: value})
    assert "\n" not in str(error.value)


def test_the_identifier_is_what_the_class_prompt_lacks():
    assert DataConfig(**DATA).identifier == "sks"
    assert DataConfig(**{**DATA, "instance_prompt": "a photo of Sks V* backpack"}).identifier == "Sks V*"


def test_the_scored_subject_comes_first():
    data = DataConfig(**DATA, more_subjects=(Subject(**SECOND),))
    assert [subject.identifier for subject in data.subjects] == ["sks", "xyz"]


shares = st.floats(0, 0.99)
trainings = st.builds(
    TrainConfig,
    method=st.sampled_from(["lora", "full"]), steps=st.integers(1, 10**6), snr_gamma=st.floats(0.1, 9),
    ema_decay=shares, validation_prompts=st.lists(st.text(), max_size=2).map(tuple),
    lora=st.builds(LoraConfig, rank=st.integers(1, 128), dropout=shares, dora=st.booleans()),
    optimizer=st.builds(OptimizerConfig, name=st.sampled_from(["adamw", "prodigy"]), warmup=shares),
    augmentation=st.builds(
        AugmentationConfig, eligible=st.sampled_from(["all", "not_bos", "not_identifier", "content", "content+eos"]),
        segments=st.sampled_from(["together", "apart"]), noise_mean=st.floats(-2, 2), pooled=st.booleans(),
    ),
)  # fmt: skip
runs = st.builds(
    RunConfig,
    data=st.lists(st.just(Subject(**SECOND)), max_size=1).map(
        lambda subjects: DataConfig(**DATA, image_size=128, more_subjects=tuple(subjects))
    ),
    variants=st.lists(variants, unique_by=str, max_size=4).map(
        lambda items: (Variant(), *(variant for variant in items if variant.terms))
    ),
    seeds=st.lists(st.integers(0, 2**40), min_size=1, unique=True).map(tuple),
    train=trainings,
    prompts=st.builds(PromptConfig, severities=st.lists(st.floats(0.01, 1), min_size=1, max_size=3).map(tuple)),
)


@given(runs)
@settings(max_examples=50, deadline=None)
def test_a_run_survives_json_that_makes_every_number_a_float(config):
    assert from_dict(RunConfig, to_dict(config)) == config
    through_json = json.loads(json.dumps(floats(to_dict(config))))
    assert from_dict(RunConfig, through_json) == config


def test_whole_numbers_come_back_as_integers():
    train = from_dict(TrainConfig, {"steps": 10.0, "lora": {"rank": 4.0, "alpha": 8}})
    assert (type(train.steps), type(train.lora.rank), type(train.lora.alpha)) == (int, int, float)


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
        ({"data": DATA, "train": {"learning_rate": 1e-4}}, r"train\.learning_rate: no such setting"),
        (
            {"data": DATA, "train": {"optimizer": {"learning_rate": "1e-4"}}},
            r"train\.optimizer\.learning_rate = '1e-4': give a number",
        ),
        ({"data": DATA, "train": {"lora": {"rnk": 4}}}, r"train\.lora\.rnk: no such setting; did you mean 'rank'"),
        ({"data": DATA, "train": {"augmentation": {"eligible": "contents"}}}, r"eligible = 'contents': did you mean"),
        (
            {"data": {**DATA, "more_subjects": [{"instance_images": "x"}]}},
            r"more_subjects.*instance_prompt: this",
        ),
        ({"data": DATA, "train": {"prior_preservation": 1}}, r"train\.prior_preservation = 1: give true or false"),
        ({"data": DATA, "train": {"method": "loar"}}, r"train\.method = 'loar': did you mean 'lora'"),
        ({"data": DATA, "train": 3}, "train = 3: give a table"),
        ({"data": DATA, "seeds": 3}, "seeds = 3: give a list"),
        ({"data": DATA, "base_model": 3}, "base_model = 3: give text"),
        ({"data": DATA, "variants": ["baseline", "aelif_mask:2"]}, "give one from 0 to 1"),
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
