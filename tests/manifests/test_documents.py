"""The guide says what the files say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.manifests.rendering import MANIFESTS, ROOT, needs_kubectl, of_kind

from aelif_pipelines import contract

GUIDE = (ROOT / "docs" / "operations.md").read_text()
MARKS = ("tested here", "needs a cluster")
OBJECTS = (
    "cronjob/mlflow-backup",
    "cronjob/mlflow-restore",
    "deployment/mlflow",
    "job/aelif-prepare-volumes",
    "job/aelif-schedule",
    "statefulset/postgres",
)


def test_table_of_names_is_the_contract() -> None:
    rows = set(re.findall(r"^\| (ConfigMap|Secret) `([\w-]+)` \| `(\w+)` \| (.+?) \|$", GUIDE, flags=re.MULTILINE))
    sources = (*contract.RUNS, contract.SCHEDULE, *contract.SERVERS, *contract.BACKUP)
    expected = {
        (source.kind, source.name, key.name, key.meaning + (" (may be empty)" if key.optional else ""))
        for source in sources
        for key in source.keys
    }
    assert rows == expected


def test_names_beside_the_table_are_the_contract() -> None:
    for name in (
        contract.RUNNER,
        contract.MODEL_CACHE,
        contract.CHECKPOINTS,
        f"{contract.QUEUE_LABEL}: {contract.QUEUE}",
    ):
        assert f"`{name}`" in GUIDE, name


def blocks() -> list[tuple[str, str]]:
    return re.findall(r"^```(sh[^\n]*)\n(.*?)^```$", GUIDE, flags=re.MULTILINE | re.DOTALL)


def test_each_block_of_commands_is_marked() -> None:
    assert blocks()
    for head, body in blocks():
        lines = body.splitlines()
        assert lines[0].removeprefix("# ") in MARKS, f"{head}: {body[:60]}"


@needs_kubectl
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_commands_that_are_marked_as_tested_run(tmp_path: Path) -> None:
    """In a copy of the manifests; afterwards no secret of `dev` is empty, and both sides have the runs' password."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests", ignore=shutil.ignore_patterns("*.env"))
    for settings in MANIFESTS.rglob("*.env"):
        if settings.parent.name != "secrets":
            shutil.copy(settings, tmp_path / settings.relative_to(ROOT))
    ours = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # aelif is there
    for _, body in blocks():
        if body.startswith("# tested here"):
            script = body.replace("/tmp/aelif.yaml", "rendered.yaml")
            subprocess.run(
                ["bash", "-euc", script], cwd=tmp_path, check=True, capture_output=True, timeout=120, env=ours
            )
    objects = tuple(yaml.safe_load_all((tmp_path / "rendered.yaml").read_text()))
    secrets = {item["metadata"]["name"]: item["data"] for item in of_kind(objects, "Secret")}
    may_be_empty = {key.name for source in contract.RUNS for key in source.keys if key.optional}
    for name, data in secrets.items():
        assert {key for key, value in data.items() if not value} <= may_be_empty, name
    assert secrets["mlflow-user"]["RUNS_PASSWORD"] == secrets["aelif-mlflow"]["MLFLOW_TRACKING_PASSWORD"]
    assert secrets["mlflow-s3"] == secrets["aelif-s3"]


def test_paths_in_commands_exist() -> None:
    for _, body in blocks():
        for path in re.findall(r"(?<![\w/])(?:manifests|tests|docs)/[\w./-]+", body):
            if not path.endswith(".env"):
                assert (ROOT / path).exists(), path


@pytest.mark.parametrize("objects", OBJECTS)
def test_objects_in_commands_exist(objects: str) -> None:
    kind, _, name = objects.partition("/")
    texts = "".join(path.read_text() for path in MANIFESTS.rglob("*.yaml"))
    assert objects in GUIDE
    assert re.search(rf"^kind: {kind}$(?:(?!^---).)*^  name: {name}$", texts, re.MULTILINE | re.DOTALL | re.IGNORECASE)


def test_commands_can_be_parsed() -> None:
    for _, body in blocks():
        for line in body.replace("\\\n", " ").splitlines():
            shlex.split(line, comments=True)
