"""No secret in plain text: not in a file that git keeps, not in an object that is not a Secret."""

from __future__ import annotations

import base64
import re
import subprocess

import pytest
from tests.manifests.rendering import (
    EVERYTHING,
    MANIFESTS,
    ROOT,
    SECRET_VALUE,
    containers,
    label_of,
    needs_kubectl,
    of_kind,
    pods,
    render,
)

SECRET_NAME = re.compile(r"PASSWORD|SECRET|TOKEN$|_KEY(_ID)?$|WEBHOOK", re.IGNORECASE)
NOT_SECRET = {"KF_PIPELINES_SA_TOKEN_PATH"}


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "manifests"], cwd=ROOT, capture_output=True,
                          text=True, check=False)  # fmt: skip
    if done.returncode:
        pytest.skip("this is no checkout of git: nothing says which files are kept")
    return done.stdout.split()


def test_git_keeps_examples_only() -> None:
    kept = [path for path in tracked() if "/secrets/" in path]
    assert kept
    assert [path for path in kept if not path.endswith((".env.example", ".gitignore"))] == []


def test_examples_hold_no_values() -> None:
    for example in sorted(MANIFESTS.rglob("*.env.example")):
        for name, value in re.findall(r"^(\w+)=(.*)$", example.read_text(), flags=re.MULTILINE):
            assert not SECRET_NAME.search(name) or not value, f"{example.relative_to(MANIFESTS)}: {name}"


def test_no_secret_is_written_out() -> None:
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        assert not re.search(r"^kind: Secret$", path.read_text(), flags=re.MULTILINE), path
        assert not re.search(r"postgres(ql)?://[^\s\"']*:[^\s\"']*@", path.read_text()), path


@needs_kubectl
@pytest.mark.parametrize("name", EVERYTHING)
def test_secret_values_are_in_secrets_alone(name: str) -> None:
    for item in render(name):
        if item["kind"] != "Secret":
            assert SECRET_VALUE not in str(item), label_of(item)
    for workload, pod in pods(render(name)):
        for container in containers(pod):
            for variable in container.get("env", []):
                if "value" in variable and variable["name"] not in NOT_SECRET:
                    assert not SECRET_NAME.search(variable["name"]), f"{label_of(workload)}: {variable['name']}"


@needs_kubectl
@pytest.mark.parametrize("name", EVERYTHING)
def test_settings_hold_no_secret(name: str) -> None:
    for item in of_kind(render(name), "ConfigMap"):
        for key in item.get("data", {}):
            assert not SECRET_NAME.search(key), f"{label_of(item)}: {key} belongs into a Secret"


@needs_kubectl
@pytest.mark.parametrize("name", EVERYTHING)
def test_every_secret_has_an_example(name: str) -> None:
    for item in of_kind(render(name), "Secret"):
        for key, value in item["data"].items():
            assert base64.b64decode(value), f"{label_of(item)}: {key} is empty"
