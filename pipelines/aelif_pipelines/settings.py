"""Configuration of a run: a recipe or plan, changed by a file, changed by flags; validated as a whole."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from aelif.config import RunConfig, from_dict, nearest, require, to_dict
from aelif_pipelines.plans import PLANS
from aelif_pipelines.recipes import RECIPES, recipe, shipped, shrink


def load_runs(
    name: str,
    *,
    file: Path | None = None,
    changes: Mapping[str, Any] | None = None,
    smoke: bool = False,
    only: Sequence[str] = (),
) -> RunConfig | dict[str, RunConfig]:
    """Return the validated configuration of a recipe, or those of a plan's parts by name.

    Args:
        name: recipe or plan to start from.
        file: YAML or TOML file with the same nested keys as `RunConfig`.
        changes: dotted key → value from the command line ("train.steps": 100); they win.
        smoke: start from the recipe shrunk to seconds.
        only: names of the parts of a plan to keep; none: all.

    Raises:
        ValueError: for an unknown name or key (with the nearest known one), a value out of range, photos of
            one's own without their prompts, parts of a recipe, or where several parts would get one base model.
    """
    given = _given(file, changes)
    if name in PLANS:
        return _load_plan(name, given, smoke=smoke, only=only)
    require(name in RECIPES, "recipe", name, f"no such recipe; {nearest(name, [*RECIPES, *PLANS])}")
    require(not only, "only", ", ".join(only), f"{name} is one run; these have parts: {', '.join(PLANS)}")
    return _changed(recipe(name), given, smoke=smoke)


def load_config(name: str, *, file: Path | None = None, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the validated configuration of a recipe (see `load_runs`).

    Raises:
        ValueError: as `load_runs`; or if the name is a plan's.
    """
    config = load_runs(name, file=file, changes=changes)
    if isinstance(config, dict):
        raise ValueError(f"recipe = {name!r}: it stands for several runs ({', '.join(config)}); name a recipe")
    return config


def _load_plan(name: str, given: dict[str, Any], *, smoke: bool, only: Sequence[str]) -> dict[str, RunConfig]:
    """Return a plan's parts, each with what is given in its place."""
    parts = PLANS[name]()
    for part in only:
        require(part in parts, "only", part, f"{name} has no such part; {nearest(part, parts)}")
    kept = [part for part in parts if part in only or not only]
    require(len(kept) == 1 or "base_model" not in given, "base_model", given.get("base_model"),
            f"each part of {name} has its own; choose one with --only: {', '.join(kept)}")  # fmt: skip
    require(given.get("pipeline", "robustness") == "robustness", "pipeline", given.get("pipeline"),
            f"{name} compares; name a recipe to retrain")  # fmt: skip
    return {part: _changed(parts[part], given, smoke=smoke) for part in kept}


def _given(file: Path | None, changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what file and command line say, as one nested table; the command line wins."""
    given = read_settings(file) if file is not None else {}
    for dotted, value in (changes or {}).items():
        nested: Any = value
        for key in reversed(dotted.split(".")):
            nested = {key: nested}
        _merge(given, nested)
    _name_photos(given.get("data"))
    return given


def _name_photos(data: Any) -> None:
    """Give shipped photos their own prompts, and ask for those of other photos: a recipe's name what it ships."""
    images = data.get("instance_images") if isinstance(data, dict) else None
    if not isinstance(images, str):
        return  # the recipe's photos, or no text, which validation names
    if images.startswith("builtin:"):
        own = shipped(images.removeprefix("builtin:"))
        data.setdefault("instance_prompt", own.instance_prompt)
        data.setdefault("class_prompt", own.class_prompt)
    missing = [name for name in ("instance_prompt", "class_prompt") if name not in data]
    require(not missing, "instance_images", images,
            f"say what these photos show: give {' and '.join('--' + name.replace('_', '-') for name in missing)} (or "
            "the same under data in --config), such as 'a photo of sks backpack' with the identifier, "
            "'a photo of a backpack' without it")  # fmt: skip


def _changed(config: RunConfig, given: Mapping[str, Any], *, smoke: bool) -> RunConfig:
    """Return the configuration with what is given in its place, shrunk before if it is but a smoke test."""
    plain = to_dict(shrink(config) if smoke else config)
    _merge(plain, given)
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


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Lay nested `changes` over `base`; unknown keys are kept for validation to name."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = deepcopy(value)
