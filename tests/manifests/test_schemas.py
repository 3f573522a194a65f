"""Every object fits its schema, with no field that the schema does not know."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from tests.manifests.definitions import published
from tests.manifests.rendering import EVERYTHING, Object, label_of, needs_kubectl, render

VERSIONS = ("1.31", "1.37")
"""Oldest and newest Kubernetes that the manifests are held to."""
CUSTOM = json.loads((Path(__file__).parent / "schemas" / "kueue.json").read_text())["kinds"]
CRD_FOLDER = os.environ.get("AELIF_CRDS", "")
"""A folder of CustomResourceDefinitions, as `kubectl get crd -o yaml` or a release has them."""


def is_custom(item: Object) -> bool:
    return f"{item['apiVersion']}/{item['kind']}" in CUSTOM


@needs_kubectl
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", EVERYTHING)
def test_objects_of_kubernetes(name: str, version: str) -> None:
    for item in render(name):
        if is_custom(item):
            continue
        try:
            used = kubernetes_validate.validate(item, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            pytest.fail(f"{label_of(item)}: {error}")
        assert used == version, f"kubernetes-validate has no schema of {version}, it took {used}"


@needs_kubectl
@pytest.mark.parametrize("name", EVERYTHING)
def test_custom_resources(name: str) -> None:
    for item in filter(is_custom, render(name)):
        schema = CUSTOM[f"{item['apiVersion']}/{item['kind']}"]
        jsonschema.validate({"spec": item["spec"]}, schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("ClusterQueue", {"cohort": "x"}),  # of v1beta1; it is cohortName now
        ("ClusterQueue", {"queueingStrategy": "Fifo"}),
        ("LocalQueue", {}),
        ("ResourceFlavor", {"tolerations": [{"operator": "Any"}]}),
    ],
)
def test_custom_schemas_refuse_what_kueue_refuses(kind: str, spec: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"spec": spec}, CUSTOM[f"kueue.x-k8s.io/v1beta2/{kind}"])


@needs_kubectl
@pytest.mark.skipif(not CRD_FOLDER, reason="AELIF_CRDS names no folder of published CustomResourceDefinitions")
@pytest.mark.parametrize("name", EVERYTHING)
def test_custom_resources_against_published_definitions(name: str) -> None:
    schemas = published(CRD_FOLDER)
    for item in filter(is_custom, render(name)):
        bare = {**item, "metadata": {}}
        jsonschema.validate(bare, {**schemas[f"{item['apiVersion']}/{item['kind']}"]})
