"""Which version a person means: a number or an alias, with an error that helps where there is none."""

from __future__ import annotations

import re

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from aelif.config import nearest, require

_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)
"""What MLflow allows for no alias."""
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def find_model(client: MlflowClient, name: str) -> dict[str, str]:
    """Return the aliases of a registered model, alias → version.

    Raises:
        ValueError: if there is no such model, or there can be none of that name.
    """
    require(bool(name) and not set(name) & set(":/'\"`"), "name", name,
            "write the model's name alone, without '/', ':' and quotes")  # fmt: skip
    try:
        return {alias: str(version) for alias, version in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        known = [model.name for model in client.search_registered_models()]
        hint = nearest(name, known) if known else "no model is registered in this store; check --store, --tracking-uri"
        raise ValueError(f"name = {name!r}: no such model; {hint}") from error


def find_version(client: MlflowClient, name: str, address: str) -> ModelVersion:
    """Return the version of that number or alias.

    Args:
        client: of the registry.
        name: of the registered model.
        address: such as ``"3"``, ``"champion"`` or ``"challenger"``.

    Raises:
        ValueError: if there is none; names those that there are.
    """
    aliases = find_model(client, name)
    require(not _RESERVED.fullmatch(address), "version", address, "MLflow reserves that word; write the number alone")
    if not address.isdecimal():
        known = ", ".join(f"{alias} (version {version})" for alias, version in sorted(aliases.items()))
        gone = "; its version may have been deleted" if address == "champion" else ""
        remedy = f"{name} has no such alias{gone}; known: {known or 'none'}; or give a version's number"
        require(address in aliases, "version", address, remedy)
    try:
        return client.get_model_version(name, aliases.get(address, address))
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        numbers = sorted((int(one.version) for one in client.search_model_versions(f"name = '{name}'")), reverse=True)
        known = ", ".join(map(str, numbers[:10])) or "none"
        raise ValueError(f"version = {address!r}: {name} has no such version; known: {known}") from error
