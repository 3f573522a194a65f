import re
from pathlib import Path

import pytest

from aelif.config import RunConfig, from_dict, to_dict
from aelif.storage import local_path
from aelif_pipelines.recipes import RECIPES, recipe
from aelif_pipelines.settings import load_config, parse_assignment


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_its_own_text(name: str):
    config = recipe(name)
    assert from_dict(RunConfig, to_dict(config)) == config


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_ships_its_photos(name: str):
    assert len(list(local_path(recipe(name).data.instance_images).glob("*.jpg"))) >= 4


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text("train: {steps: 7, lora: {rank: 3}}\nvariants: [baseline, 'aelif_mask:0.5']\n")
    config = load_config("quickstart", file=file, changes={"train.steps": 9})
    assert (config.train.steps, config.train.lora.rank) == (9, 3)
    assert [str(variant) for variant in config.variants] == ["baseline", "aelif_mask:0.5"]
    assert config.synthesis == recipe("quickstart").synthesis


def test_toml_reads_like_yaml(tmp_path: Path):
    file = tmp_path / "run.toml"
    file.write_text("seeds = [4]\n[train.optimizer]\nlearning_rate = 1e-3\n")
    config = load_config("quickstart", file=file)
    assert config.seeds == (4,)
    assert config.train.optimizer.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {steps: 1}", "trian: no such setting; did you mean 'train'"),
        ("train: {stepz: 1}", "train.stepz: no such setting; did you mean 'steps'"),
        ("train: {steps: 1.5}", "train.steps = 1.5: give a whole number"),
        ("train: {steps: 0}", "steps = 0: give at least 1"),
        ("variants: [aelif_mask]", "add 'baseline'"),
        ("train: {lora: {rank: 0}}", "rank = 0: give at least 1"),
        ("train: {rank: 4}", "train.rank: no such setting"),
        ("data: {image_size: 60}", "image_size = 60: give a multiple of 8"),
        ("variants: [baseline, aelif_mask:1.5]", "from 0 to 1"),
        ("variants: [baseline, aelif_mask:0.5-0.2]", "write the smaller number first: 0.2-0.5"),
        ("variants: [baseline, aelif_mask:much]", "no number"),
        ("variants: [baseline, aelif_msk:0.3]", "did you mean 'aelif_mask'"),
        ("prompts: {families: [keybord]}", "did you mean 'keyboard'"),
        ("data: {instance_prompt: ' '}", "the prompt is empty"),
        ("data: {instance_prompt: a photo of a dog}", "no identifier"),
        ("- a\n- b", "no table of settings"),
        ("a: [", "run.yaml: while parsing"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, message: str):
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        load_config("quickstart", file=file)


def test_unknown_recipes_and_files_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="did you mean 'quickstart'"):
        load_config("quickstrat")
    with pytest.raises(ValueError, match="no such file"):
        load_config("quickstart", file=tmp_path / "none.yaml")
    other = tmp_path / "run.ini"
    other.write_text("")
    with pytest.raises(ValueError, match=r"\.yaml or \.toml"):
        load_config("quickstart", file=other)


def test_own_photos_bring_their_prompts():
    """A recipe's prompts name the photos that it ships: taken for others, they would train a wrong word in silence."""
    own = {"data.instance_images": "photos", "data.class_prompt": "a photo of a mug"}
    with pytest.raises(ValueError, match=r"instance_images = 'photos'.*give --instance-prompt \(or"):
        load_config("quickstart", changes=own)
    assert load_config("quickstart", changes=own | {"data.instance_prompt": "a photo of ohwx mug"})


def test_shipped_photos_bring_their_own_prompts(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text("data: {instance_images: 'builtin:car', instance_prompt: a photo of ohwx car}")
    data = load_config("quickstart", file=file).data
    assert (data.instance_prompt, data.class_prompt) == ("a photo of ohwx car", "a photo of a car")


def test_the_settings_of_the_nightly_example_are_valid():
    file = Path(__file__).parents[2] / "manifests" / "local" / "retrain.yaml"
    assert load_config("retrain", file=file).data.reference_images.endswith("backpack-reference")


def test_assignments_are_read_as_yaml():
    assert parse_assignment("train.steps=100") == ("train.steps", 100)
    assert parse_assignment("train.method=full") == ("train.method", "full")
    assert parse_assignment("variants=[baseline]") == ("variants", ["baseline"])
    with pytest.raises(ValueError, match="KEY=VALUE"):
        parse_assignment("train.steps")


def test_the_example_of_the_training_guide_is_valid(tmp_path: Path):
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    file = tmp_path / "run.yaml"
    file.write_text(guide.partition("```yaml\n")[2].partition("```")[0])
    config = load_config("sdxl", file=file)
    assert [subject.identifier for subject in config.data.subjects] == ["sks", "ohwx"]
    assert len(config.variants) == 5


def test_the_training_guide_lists_every_augmentation_and_family():
    from aelif.config import AUGMENTATIONS
    from aelif.models.adapter import FAMILIES

    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    assert all(f"`{name}:{scale.default:g}`" in guide for name, scale in AUGMENTATIONS.items())
    assert all(f"`{pipeline}`" in guide for pipeline in FAMILIES)
