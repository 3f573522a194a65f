"""What `images/try.sh` runs in the built images, held against the compiled pipeline; where asked for, that itself."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "images" / "README.md").read_text()


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "images" / f"{name}.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def try_steps() -> ModuleType:
    return module("try_steps")


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_every_step_that_is_tried_finds_its_inputs(
    kind: str, try_steps: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commands: list[list[str]] = []

    def executor(command: list[str]) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="")

    monkeypatch.setattr(try_steps, "MOUNT", tmp_path)
    monkeypatch.setattr(try_steps, "execute", executor)
    made = try_steps.run_steps(kind)
    assert set(try_steps.RESULTS[kind]) <= set(made)
    assert len(commands) == len(try_steps.STEPS[kind])
    for command in commands:
        assert command[:2] == ["sh", "-ec"]
        assert "kfp.dsl.executor_main" in " ".join(command)
        given = json.loads(command[command.index("--executor_input") + 1])
        assert set(given) == {"inputs", "outputs"}


def test_a_step_that_fails_fails_the_trial(try_steps: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def executor(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, stdout="no such module")

    monkeypatch.setattr(try_steps, "MOUNT", tmp_path)
    monkeypatch.setattr(try_steps, "execute", executor)
    with pytest.raises(SystemExit, match=r"read-fingerprints: exit status 1\nno such module"):
        try_steps.run_steps("cpu")


def test_nothing_came_out_fails_the_trial(try_steps: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(try_steps, "MOUNT", tmp_path)
    made = dict.fromkeys(try_steps.RESULTS["cpu"], f"{try_steps.STORE}/nowhere")
    with pytest.raises(SystemExit, match=r"no \*\.png in it"):
        try_steps.check_results("cpu", made)


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_the_guide_names_the_extras_and_a_size_within_the_limit(image: str):
    row = re.search(rf"^\| {image} \|(.*)\|$", README, re.MULTILINE)
    assert row
    extras, size, limit = (cell.strip() for cell in row[1].split("|")[:3])
    assert extras.split(", ") == [f"`{name}`" for name in module("requirements").EXTRAS[image]]
    assert float(size.removesuffix(" GB")) <= float(limit.removesuffix(" GB"))


@pytest.mark.skipif(
    os.environ.get("AELIF_TEST_IMAGES") != "1" or not shutil.which("buildah"),
    reason="builds the CPU image, for minutes: AELIF_TEST_IMAGES=1, with buildah and images/build.sh's settings",
)
@pytest.mark.parametrize("script", ["build.sh", "try.sh"])
def test_the_cpu_image_is_built_and_runs_steps(script: str):
    done = subprocess.run([ROOT / "images" / script, "cpu"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
