"""Configuration of a run: a recipe, changed by a file, changed by flags; validated as a whole."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

from aelif.config import RunConfig, from_dict, to_dict
from aelif_pipelines.recipes import recipe


def load_config(name: str, *, file: Path | None = None, changes: dict[str, Any] | None = None) -> RunConfig:
    """Return the validated configuration.

    Args:
        name: recipe to start from.
        file: YAML or TOML file with the same nested keys as `RunConfig`.
        changes: dotted key → value from the command line ("train.steps": 100); they win.

    Raises:
        ValueError: for an unknown recipe or key (with the nearest known one), or a value out of range.
    """
    plain = to_dict(recipe(name))
    if file is not None:
        _merge(plain, read_settings(file))
    for dotted, value in (changes or {}).items():
        nested: Any = value
        for key in reversed(dotted.split(".")):
            nested = {key: nested}
        _merge(plain, nested)
    return from_dict(RunConfig, plain)


def read_settings(file: Path) -> dict[str, Any]:
    """Read a YAML or TOML file.

    Raises:
        ValueError: if it is missing, of another kind, or malformed.
    """
    if not file.is_file():
        raise ValueError(f"config = {str(file)!r}: no such file")
    try:
        if file.suffix == ".toml":
            values = tomllib.loads(file.read_text())
        elif file.suffix in (".yaml", ".yml"):
            values = yaml.safe_load(file.read_text()) or {}
        else:
            raise ValueError(f"config = {str(file)!r}: give a .yaml or .toml file")
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file}: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{file}: the top level is no table of settings")
    return values


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read `train.steps=100` as ("train.steps", 100); values are written as in YAML.

    Raises:
        ValueError: if there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text!r}: write KEY=VALUE, such as train.steps=100")
    return key.strip(), yaml.safe_load(value)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> None:
    """Lay nested `changes` over `base`; unknown keys are kept for validation to name."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value
