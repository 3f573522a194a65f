"""Schemas of published CustomResourceDefinitions, from a folder that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


def published(folder: str) -> dict[str, dict[str, Any]]:
    """Return the schema of each kind that a folder of CustomResourceDefinitions defines, unknown fields refused."""
    schemas: dict[str, dict[str, Any]] = {}
    for path in sorted(Path(folder).rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            for crd in (document or {}).get("items", [document]):
                if crd and crd["kind"] == "CustomResourceDefinition":
                    for version in crd["spec"]["versions"]:
                        key = f"{crd['spec']['group']}/{version['name']}/{crd['spec']['names']['kind']}"
                        schemas[key] = closed(version["schema"]["openAPIV3Schema"])
    return schemas


def closed(schema: Any) -> Any:
    """Return a structural schema with which no unknown field passes, as the API server prunes or refuses them."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if result.pop("x-kubernetes-int-or-string", False):
        result = {key: value for key, value in result.items() if key not in {"type", "anyOf"}}
        result["type"] = ["integer", "string"]
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        result["additionalProperties"] = False
    return result
