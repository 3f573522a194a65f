"""Imports point one way, and importing does nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import aelif
import aelif_pipelines

AELIF, PIPELINES = Path(aelif.__file__).parent, Path(aelif_pipelines.__file__).parent
FOUNDATIONS = {
    "config",
    "artifacts",
    "randomness",
    "progress",
    "storage",
    "images",
    "checkpoint",
    "archives",
    "average",
    "imports",
    "notify",
}
STEPS = {
    "prepare", "train", "perturb", "synthesize", "attack", "embed", "score", "report", "gate", "registry", "deliver",
    "champion",
}  # fmt: skip
# Steps meet in artifacts. But perturb is a library for all of them; and some work cannot be handed over: the attack, a
# loop of generating, embedding and measuring, would need an artifact for every prompt that it tries; the champion is
# one model, measured in one step by the very functions that measure a trial; and what the registry serves are the
# images that synthesize generates, and a champion must go on keeping the limits of the gate.
LOANS = {
    "attack": {"aelif.synthesize.sampler", "aelif.embed.clip", "aelif.score.wasserstein"},
    "champion": {"aelif.synthesize.sampler", "aelif.embed.folders", "aelif.score.trial", "aelif.registry.models"},
    "registry": {"aelif.synthesize.sampler", "aelif.gate.limits"},
}
MODULES = sorted(AELIF.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def package_of(path: Path) -> str:
    return path.relative_to(AELIF).with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(AELIF).as_posix())
def test_imports_point_one_way(path: Path):
    names, package = imports_of(path), package_of(path)
    assert not any(name.startswith("aelif_pipelines") for name in names)
    if path.name != "component.py":
        assert not any(name.split(".")[0] == "kfp" for name in names), "only component.py may import kfp"
    if package != "registry":
        assert not any(name.split(".")[0] == "mlflow" for name in names), "only aelif.registry may import mlflow"
    ours = {name.split(".")[1] for name in names if name.startswith("aelif.")} - {package}
    if package in FOUNDATIONS:
        assert ours <= FOUNDATIONS
    if package in STEPS and path.name != "component.py":
        lent = LOANS.get(package, set())
        others = {name for name in names - lent if name.startswith("aelif.") and name.split(".")[1] in STEPS}
        others = {name for name in others if name.split(".")[1] not in {package, "perturb"}}
        assert not others, f"a step imports another step: {others}"


def test_the_command_line_starts_without_heavy_libraries():
    heavy = "{'torch', 'diffusers', 'transformers', 'mlflow', 'ot', 'open_clip', 'pyarrow', 'matplotlib', 'kfp'}"
    code = f"import sys, aelif_pipelines.cli, aelif_pipelines.settings; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_pickled_weights_are_shipped():
    suffixes = {path.suffix for root in (AELIF, PIPELINES) for path in root.rglob("*") if path.is_file()}
    assert not suffixes & {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
