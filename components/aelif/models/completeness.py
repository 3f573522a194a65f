"""Whether a diffusers folder is whole: every part that `model_index.json` names, as safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aelif.models.adapter import FAMILIES

KNOWN_PIPELINES = {pipeline: module.rpartition(".")[2] for pipeline, (module, _) in FAMILIES.items()}
"""Class in `model_index.json` → family of the adapter that trains it."""

_UNSAFE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_FILES_WITHOUT_WEIGHTS = {
    "Scheduler": ("scheduler_config.json",),
    "Tokenizer": ("tokenizer.json", "merges.txt", "spiece.model"),
    "TokenizerFast": ("tokenizer.json", "merges.txt", "spiece.model"),
    "Processor": ("preprocessor_config.json",),
    "FeatureExtractor": ("preprocessor_config.json",),
}
"""Ending of a class without weights → the files of which one must be there."""

_CONVERT = "convert it with diffusers: pipeline.save_pretrained(folder, safe_serialization=True)"
WHOLE = "name a folder that pipeline.save_pretrained(folder) wrote"
"""Remedy for a local folder that is not whole."""


def check_model(folder: Path, *, uri: str, remedy: str = WHOLE) -> str:
    """Return the family of a diffusers folder, once every part it needs is found.

    Raises:
        ValueError: names the file that is missing or wrong, and the remedy.
    """
    index = read_index(folder, uri=uri, remedy=remedy)
    pipeline = index.get("_class_name")
    if pipeline not in KNOWN_PIPELINES:
        known = ", ".join(f"{name} ({family})" for name, family in KNOWN_PIPELINES.items())
        raise ValueError(f"{uri}: model_index.json names the pipeline {pipeline!r}; known: {known}")
    missing = [file for part in parts_of(index) for file in _missing_files(folder, part, uri, remedy)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"{uri}: {missing[0]}{more} is missing from {folder}; {remedy}")
    return KNOWN_PIPELINES[pipeline]


def read_index(folder: Path, *, uri: str, remedy: str = WHOLE) -> dict[str, Any]:
    """Return `model_index.json`.

    Raises:
        ValueError: if `folder` is no diffusers folder.
    """
    path = folder / "model_index.json"
    if path.exists():
        return _read_table(path, uri, remedy)
    files = [folder] if folder.is_file() else sorted(folder.iterdir())
    single = next((file for file in files if file.suffix in (*_UNSAFE_SUFFIXES, ".safetensors")), None)
    is_checkpoint = single is not None and not uri.startswith("models:/")  # a registered adapter is none
    found = f"{single.name} is a single-file checkpoint; {_CONVERT}" if single and is_checkpoint else remedy
    raise ValueError(f"{uri}: model_index.json is missing, so it is no diffusers folder; {found}")


def _read_table(path: Path, uri: str, remedy: str) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{uri}: {path} is not JSON ({error}); {remedy}") from error
    if not isinstance(table, dict):
        raise ValueError(f"{uri}: {path} is not a table; {remedy}")
    return table


def parts_of(index: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield folder, library and class of the pipeline's parts; absent ones are [null, null]."""
    for name, value in index.items():
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[1] is not None:
            yield name, str(value[0]), str(value[1])


def _missing_files(folder: Path, part: tuple[str, str, str], uri: str, remedy: str) -> list[str]:
    """Return the files that one part lacks: its configuration, its weights, or some of their shards."""
    name, library, class_name = part
    place = folder / name
    for ending, choices in _FILES_WITHOUT_WEIGHTS.items():
        if class_name.endswith(ending):
            return [] if any((place / file).exists() for file in choices) else [f"{name}/{choices[0]}"]
    if not (place / "config.json").exists():
        return [f"{name}/config.json"]
    if any(re.fullmatch(r"\w+\.safetensors", file.name) for file in place.iterdir()):
        return []
    for index in sorted(place.glob("*.safetensors.index.json")):
        shards = sorted(set(_read_table(index, uri, remedy).get("weight_map", {}).values()))
        return [f"{name}/{shard}" for shard in shards if not (place / shard).exists()]
    unsafe = sorted(file.name for file in place.iterdir() if file.suffix in _UNSAFE_SUFFIXES)
    if unsafe:
        raise ValueError(f"{uri}: {name}/{unsafe[0]} is a pickle, which may run code when read; {_CONVERT}")
    variants = sorted(file.name for file in place.glob("*.safetensors"))
    if variants:
        raise ValueError(f"{uri}: {name} has only the variant {variants[0]}; save the model without `variant=`")
    return [f"{name}/{'diffusion_pytorch_model' if library == 'diffusers' else 'model'}.safetensors"]
