import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.pipelines.photos import PROMPTS

from aelif.config import AUGMENTATIONS, FAMILIES
from aelif.config.variants import OPTIONS
from aelif.storage import EXAMPLES
from aelif_pipelines.plans import PLANS
from aelif_pipelines.recipes import RECIPES

COMMANDS = (
    "run", "compile", "report", "ui", "perturb", "doctor",
    "history", "compare", "promote", "rollback", "schedule", "stack",
)  # fmt: skip


def aelif(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from aelif_pipelines.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**_environment()})


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


def test_help_lists_every_command():
    done = aelif("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_teaches_by_an_example(command: str):
    done = aelif(command, "--help")
    assert done.returncode == 0
    assert f"aelif {command}" in done.stdout.replace("\n", " ")


def test_dry_run_prints_the_configuration_that_would_run():
    done = aelif(
        "run", "--instance-images", str(EXAMPLES / "backpack"), *PROMPTS, "--variants", "baseline,aelif_mask:0.2",
        "--seeds", "3", "--images-per-prompt", "32", "--set", "train.steps=77", "--dry-run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    settings = yaml.safe_load(done.stdout)
    assert settings["variants"] == ["baseline", "aelif_mask:0.2"]
    assert settings["seeds"] == [0, 1, 2]
    assert settings["synthesis"]["images_per_prompt"] == 32
    assert settings["train"]["steps"] == 77


def test_a_dry_run_of_a_plan_prints_every_part():
    done = aelif("run", "paper", "--smoke", "--set", "train.steps=5", "--dry-run")
    assert done.returncode == 0, done.stderr
    parts = yaml.safe_load(done.stdout)
    assert list(parts) == ["miniature-sdxl", "miniature-sd3"]
    assert all((part["train"]["steps"], part["seeds"]) == (5, [0]) for part in parts.values())
    alone = aelif("run", "paper", "--only", "miniature-sd3", "--dry-run")
    assert list(yaml.safe_load(alone.stdout)) == ["miniature-sd3"]


def test_recipes_and_plans_are_listed_with_what_they_do():
    done = aelif("recipes")
    assert done.returncode == 0, done.stderr
    for name, make in {**RECIPES, **PLANS}.items():
        assert name in done.stdout
        assert make.__doc__.split()[0] in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstrat"], "did you mean 'quickstart'"),
        (["run", "--instance-images", "nowhere", *PROMPTS], "nowhere"),
        (["run", "--instance-images", "photos"], "give --instance-prompt and --class-prompt"),
        (["run", "--output", "/proc/aelif"], "choose another with --output"),
        (["run", "--base-model", "builtin:miniature-sdxxl"], "miniature-sdxl"),
        (["run", "--base-model", "org/model"], "not pinned to a commit"),
        (["run", "--instance-prompt", "a photo of a dog"], "no identifier"),
        (["run", "--instance-prompt", ""], "the prompt is empty"),
        (["run", "--variants", "baseline,aelif_maks:0.3"], "did you mean 'aelif_mask'"),
        (["run", "--variants", "baseline,aelif_mask:1.5"], "from 0 to 1"),
        (["run", "--families", "keybord"], "did you mean 'keyboard'"),
        (["run", "--set", "train.stps=3"], "did you mean 'steps'"),
        (["run", "--set", "train.steps"], "KEY=VALUE"),
        (["run", "--config", "none.yaml"], "no such file"),
        (["run", "--sedes", "3"], "--seeds"),
        (["run", "papr"], "did you mean 'paper'"),
        (["run", "paper", "--only", "sd3"], "no such part"),
        (["run", "paper", "--base-model", "builtin:miniature-sdxl"], "--only"),
        (["run", "quickstart", "--only", "sd3"], "is one run"),
        (["run", "--variants", "baseline,aelif_mask@noise_std=1"], "aelif_noise_conv takes it"),
        (["perturb", "a photo", "--family", "keybord"], "did you mean 'keyboard'"),
        (["perturb", ""], "empty"),
        (["perturb", "a photo", "--severity", "1.5"], "(0, 1]"),
        (["report", "nowhere"], "no summary.json"),
        (["ui", "nowhere"], "mlflow.db"),
        (["compile", "--output", "pipeline.txt"], ".yaml"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path):
    done = aelif(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing may be written before the input is known to be good"


@pytest.mark.parametrize(
    ("files", "message"),
    [({}, "no"), ({"a.png": b"this is text"}, "a.png"), ({"a.jpg": b"\xff\xd8\xff\xe0 cut off"}, "a.jpg")],
)
def test_a_folder_without_a_usable_photo_stops_before_anything_runs(files: dict, message: str, tmp_path: Path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, content in files.items():
        (photos / name).write_bytes(content)
    done = aelif("run", "--instance-images", "photos", *PROMPTS, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "photos" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_debug_shows_the_traceback():
    assert "Traceback" in aelif("run", "quickstrat", "--debug").stderr


def test_perturb_prints_a_row_for_every_family():
    done = aelif("perturb", "a photo of sks backpack", "--draws", "1", "--protect", "sks")
    assert done.returncode == 0, done.stderr
    assert all(family in done.stdout for family in FAMILIES)
    assert "sks" in done.stdout


def test_every_augmentation_and_option_is_listed():
    done = aelif("augmentations")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line]
    told = {words[0]: words[1].strip() for words in lines}
    assert told["aelif_mask:0.1"] == "share of the tokens"
    assert {name.partition(":")[0] for name in told} >= set(AUGMENTATIONS)
    assert {name[1:].partition("=")[0] for name in told if name.startswith("@")} == set(OPTIONS)
    assert told["@timesteps=all"] == "all, low, high; for all"
    assert told["@reach=1.5"] == "a number; for typo_shift"
    assert told["@pooled=false"].startswith("true, false; for aelif_mask, ")


def test_doctor_finds_this_machine_fit(tmp_path: Path):
    done = aelif("doctor", "--output", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch" in done.stdout
    assert "GiB free" in done.stdout


def test_doctor_names_a_folder_that_cannot_be_written(tmp_path: Path):
    done = aelif("doctor", "--output", "/proc/aelif")
    assert done.returncode == 1
    assert "another folder" in done.stdout


def test_the_package_compiles_alike_every_time(tmp_path: Path):
    for name in ("one.yaml", "two.yaml"):
        assert aelif("compile", "--output", str(tmp_path / name)).returncode == 0
    assert (tmp_path / "one.yaml").read_bytes() == (tmp_path / "two.yaml").read_bytes()
    package = next(yaml.safe_load_all((tmp_path / "one.yaml").read_text()))
    assert package["pipelineInfo"]["name"] == "robustness"
    assert "pip install" not in json.dumps(package)
