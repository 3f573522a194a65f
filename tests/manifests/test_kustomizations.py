"""The overlays render without a network and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from tests.manifests.rendering import (
    EVERYTHING,
    MANIFESTS,
    OVERLAYS,
    fill_in,
    find,
    kustomize,
    label_of,
    namespace_of,
    needs_kubectl,
    of_kind,
    render,
)

from aelif import __version__

KUSTOMIZATIONS = sorted(MANIFESTS.rglob("kustomization.yaml"))
OF_THE_CLUSTER = {"Namespace", "ClusterRole", "ClusterRoleBinding", "ResourceFlavor", "ClusterQueue"}
REMOTE = re.compile(r"://|^github\.com/|^git@|\?ref=")


def read(kustomization: Path) -> dict[str, list]:
    return yaml.safe_load(kustomization.read_text())


@needs_kubectl
@pytest.mark.parametrize("name", EVERYTHING)
def test_overlay_renders_each_object_once_and_in_a_namespace(name: str) -> None:
    objects = render(name)
    labels = [label_of(item) for item in objects]
    assert len(labels) == len(set(labels))
    for item in objects:
        assert bool(namespace_of(item)) == (item["kind"] not in OF_THE_CLUSTER), label_of(item)


@needs_kubectl
@pytest.mark.parametrize("name", EVERYTHING)
def test_accounts_of_bindings_live_where_the_binding_says(name: str) -> None:
    objects = render(name)
    accounts = {(namespace_of(item), item["metadata"]["name"]) for item in of_kind(objects, "ServiceAccount")}
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        for subject in binding["subjects"]:
            assert (subject["namespace"], subject["name"]) in accounts, label_of(binding)


@needs_kubectl
def test_an_mlflow_that_exists_takes_one_setting(tmp_path: Path) -> None:
    """`runs` alone, with another MLFLOW_TRACKING_URI, brings no server and points steps at that one."""
    import shutil

    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    fill_in(tmp_path)
    settings = tmp_path / "manifests/overlays/production/runs/settings.env"
    text = re.sub(r"^MLFLOW_TRACKING_URI=.*$", "MLFLOW_TRACKING_URI=https://mlflow.example.com", settings.read_text(),
                  flags=re.MULTILINE)  # fmt: skip
    settings.write_text(text)
    objects = kustomize(settings.parent)
    assert find(objects, "ConfigMap", "aelif")["data"]["MLFLOW_TRACKING_URI"] == "https://mlflow.example.com"
    assert not of_kind(objects, "Deployment", "StatefulSet", "Service")
    assert {namespace_of(item) for item in objects} <= {"aelif-runs", ""}


def test_nothing_is_taken_from_the_network() -> None:
    for path in KUSTOMIZATIONS:
        content = read(path)
        for entry in [*content.get("resources", []), *content.get("components", [])]:
            assert not REMOTE.search(entry), f"{path.relative_to(MANIFESTS)}: {entry}"
            assert (path.parent / entry).exists(), f"{path.relative_to(MANIFESTS)}: {entry}"


def test_every_file_is_used() -> None:
    used = {path.resolve() for path in KUSTOMIZATIONS}
    used.add(MANIFESTS / "overlays" / "dev" / "run.yaml")  # settings of a run, for `aelif submit --config`
    for path in KUSTOMIZATIONS:
        content = read(path)
        named = [
            *content.get("resources", []),
            *(patch["path"] for patch in content.get("patches", []) if "path" in patch),
        ]
        for generator in [*content.get("configMapGenerator", []), *content.get("secretGenerator", [])]:
            named += [
                *(file.rpartition("=")[2] for file in generator.get("files", [])),
                *(f"{env}.example" for env in generator.get("envs", [])),
            ]
            named += generator.get("envs", [])
        used |= {(path.parent / name).resolve() for name in named}
    kept = {
        path.resolve()
        for path in MANIFESTS.rglob("*")
        if path.is_file() and path.suffix != ".md" and path.parent.name != "local"
    }
    assert {path for path in kept if path not in used and path.name != ".gitignore"} == set()


def test_every_component_is_offered_by_an_overlay() -> None:
    offered = "".join(
        path.read_text() for overlay in OVERLAYS for path in (MANIFESTS / "overlays" / overlay).rglob("k*.yaml")
    )
    for component in sorted((MANIFESTS / "components").iterdir()):
        assert f"components/{component.name}\n" in offered or f"components/{component.name} " in offered, component.name


def test_our_images_have_this_version() -> None:
    tags = {entry["name"]: entry for entry in read(MANIFESTS / "components/images/kustomization.yaml")["images"]}
    ours = {name: entry for name, entry in tags.items() if name.startswith("aelif/")}
    assert ours
    for name, entry in ours.items():
        assert "digest" in entry or entry["newTag"] == __version__, f"{name}: raise the tag to {__version__}"
