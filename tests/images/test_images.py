"""What the images are built from, checked without building: the lock, the Dockerfile, what reaches the builder."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from aelif import doctor, images

ROOT = Path(__file__).parents[2]
COMPONENTS = ROOT / "components"
DOCKERFILE = (ROOT / "images" / "Dockerfile").read_text()
STAGES = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)


def final_stage(kind: str) -> str:
    return re.split(rf"^FROM runtime AS {kind}$", DOCKERFILE, flags=re.MULTILINE)[1].split("\nFROM ")[0]


def required(image: str) -> list[str]:
    command = [sys.executable, str(ROOT / "images" / "requirements.py"), image]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def installed_with(names: list[str]) -> set[str]:
    """Return the packages that come with `names`, as installed here."""
    seen: set[str] = set()
    todo = [Requirement(name).name for name in names]
    while todo:
        name = canonicalize_name(todo.pop())
        if name not in seen:
            seen.add(name)
            needs = [Requirement(text) for text in metadata.requires(name) or []]
            todo += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return seen


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Yield what is imported, in functions as well, but not for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports_of(node)


def cpu_steps() -> dict[str, ast.FunctionDef]:
    trees = [ast.parse(path.read_text()) for path in COMPONENTS.glob("aelif/*/component.py")]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {one.name: one for one in functions if ".CPU" in "".join(map(ast.unparse, one.decorator_list))}


def modules_behind(step: ast.FunctionDef) -> set[str]:
    """Return our modules and foreign packages that a step may import, but for functions of `randomness` it never calls.

    `aelif.randomness` imports PyTorch in `torch_generator` alone, for the steps that run models.
    """
    seen: set[str] = set()
    todo = list(imports_of(step))
    while todo:
        name = todo.pop()
        path = COMPONENTS.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if not name.startswith("aelif"):
            seen.add(name.split(".")[0])
        elif name not in seen and file.is_file():
            seen.add(name)
            todo += [name.rpartition(".")[0]] if "." in name else []
            found = list(imports_of(ast.parse(file.read_text())))
            todo += [one for one in found if name != "aelif.randomness" or one.split(".")[0] != "torch"]
    return seen


@pytest.mark.parametrize("name", sorted(cpu_steps()))
def test_the_cpu_image_holds_what_its_steps_import(name: str):
    held = installed_with(required("cpu"))
    owners = metadata.packages_distributions()
    foreign = [one for one in modules_behind(cpu_steps()[name]) if not one.startswith("aelif")]
    lacking = {one for one in foreign if one in owners and not {canonicalize_name(o) for o in owners[one]} & held}
    assert not lacking


def test_the_cpu_image_has_no_cuda():
    assert not {name for name in installed_with(required("cpu")) if name == "torch" or name.startswith("nvidia")}
    assert "torch" in installed_with(required("gpu"))


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_the_lock_pins_every_package(image: str):
    lock = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    pinned = {canonicalize_name(line.split("==")[0]) for line in lock}
    assert installed_with(required(image)) - pinned <= {"setuptools"}


def test_every_image_is_a_target_of_the_dockerfile():
    for name in (images.CPU, images.GPU):
        kind = re.search(r"(\w+)-python", name)
        assert kind
        assert kind[1] in [stage for _, stage in STAGES]


def test_bases_are_pinned_by_digest():
    named = {base for base, _ in STAGES} - {stage for _, stage in STAGES} - {"scratch", "${BASE}"}
    assert not named
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)


def test_nothing_is_taken_by_a_name_that_moves():
    assert not re.findall(r"^(?:FROM|ARG BASE=|COPY --from=).*:latest", DOCKERFILE, re.MULTILINE)
    assert not re.findall(r"^(?:ADD|RUN) .*https?://", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_final_stages_run_as_a_fixed_user_and_are_examined(kind: str):
    stage = final_stage(kind)
    assert re.findall(r"^USER (.*)$", stage, re.MULTILINE) == ["10001:10001"]
    assert stage.index("USER") < stage.index(f"RUN python3 -m aelif.doctor --image {kind}")
    assert "org.opencontainers.image.revision" in stage
    assert "org.opencontainers.image.version" in stage


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_new_commit_leaves_the_layers_below_it(kind: str):
    stage = final_stage(kind)
    assert "ENV AELIF_GIT_SHA=${REVISION}" in stage
    declared = [DOCKERFILE.index(f"ARG {name}") for name in ("REVISION", "VERSION", "CREATED", "SOURCE")]
    assert min(declared) > DOCKERFILE.index("FROM runtime AS cpu")
    assert stage.rindex("RUN ") < stage.index("ARG REVISION")


def test_libraries_write_below_mounts_alone():
    runtime = DOCKERFILE.split(" AS runtime\n")[1].split("\nFROM ")[0]
    set_to = dict(re.findall(r"(\w+)=(/\S+)", runtime))
    assert not [name for name in doctor.CACHE_VARIABLES if not re.match(r"/(cache|tmp)(/|$)", set_to.get(name, ""))]


def test_no_secret_is_an_argument_of_the_build():
    declared = re.findall(r"^(?:ARG|ENV) (\w+)|^    (\w+)=", DOCKERFILE, re.MULTILINE)
    names = [name for pair in declared for name in pair if name]
    assert not [name for name in names if re.search(r"TOKEN|PASSWORD|SECRET|KEY|INDEX_URL", name)]


def test_only_sources_reach_the_builder():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
              for word in line.split()[:-1]}  # fmt: skip
    assert let_in == copied


def test_an_image_without_bytecode_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "cache_from_source", lambda source: f"{source}.none")
    finding = next(one for one in doctor.examine_image("gpu") if one.subject == "bytecode")
    assert not finding.ok
    assert "json" in finding.found
