"""Whether a diffusers folder is whole: every part that its family reads, as safetensors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aelif.models.adapter import FAMILIES

KNOWN_PIPELINES = {pipeline: module.rpartition(".")[2] for pipeline, (module, _) in FAMILIES.items()}
"""Class in `model_index.json` → family of the adapter that trains it."""

UNUSED_PARTS = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of stock pipelines that no adapter reads; they are neither demanded, downloaded nor kept."""

_ONE_CLIP = ("scheduler", "tokenizer", "text_encoder", "vae")
_TWO_ENCODERS = (*_ONE_CLIP, "tokenizer_2", "text_encoder_2")
_NEEDED_PARTS = {
    "sd": (*_ONE_CLIP, "unet"),
    "sdxl": (*_TWO_ENCODERS, "unet"),
    "sd3": (*_TWO_ENCODERS, "transformer"),
    "flux": (*_TWO_ENCODERS, "transformer"),
}
_TWINS = {"tokenizer_3": "text_encoder_3", "text_encoder_3": "tokenizer_3"}
"""Parts that may be left out (SD3's T5), but not without their twin."""

_UNSAFE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_CLIP_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_T5_FILES = (("tokenizer.json",), ("spiece.model",))

_CONVERT = "convert it with diffusers: pipeline.save_pretrained(folder, safe_serialization=True)"
WHOLE = "name a folder that pipeline.save_pretrained(folder) wrote"
"""Remedy for a local folder that is not whole."""


def check_model(folder: Path, *, uri: str, remedy: str = WHOLE) -> str:
    """Return the family of a diffusers folder, once every part it needs is found.

    Raises:
        ValueError: names the file that is missing or wrong, and the remedy.
    """
    index = read_index(folder, uri=uri, remedy=remedy)
    family = family_of(index, uri=uri)
    missing = [file for part in parts_of(index) for file in _missing_files(folder, part, uri, remedy)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"{uri}: {missing[0]}{more} is missing from {folder}; {remedy}")
    return family


def family_of(index: dict[str, Any], *, uri: str) -> str:
    """Return the family that `model_index.json` names.

    Raises:
        ValueError: if no adapter knows the pipeline, or it lacks a part that its family needs.
    """
    pipeline = index.get("_class_name")
    if pipeline not in KNOWN_PIPELINES:
        known = ", ".join(f"{name} ({family})" for name, family in KNOWN_PIPELINES.items())
        raise ValueError(f"{uri}: model_index.json names the pipeline {pipeline!r}; known: {known}")
    family = KNOWN_PIPELINES[pipeline]
    named = {name for name, _, _ in parts_of(index)}
    needed = [*_NEEDED_PARTS[family], *(twin for part, twin in _TWINS.items() if part in named)]
    for part in needed:
        if part not in named:
            raise ValueError(f"{uri}: model_index.json names no {part!r}, which {pipeline} ({family}) needs; {WHOLE}")
    return family


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
    """Yield folder, library and class of the parts that adapters read; absent ones are [null, null]."""
    for name, value in index.items():
        is_part = not name.startswith("_") and isinstance(value, list) and len(value) == 2
        if is_part and value[1] is not None and name not in UNUSED_PARTS:
            yield name, str(value[0]), str(value[1])


def without_unused(index: dict[str, Any]) -> dict[str, Any]:
    """Return `model_index.json` of the same model without the parts that no adapter reads."""
    dropped = {name: [None, None] for name in UNUSED_PARTS if index.get(name, [None, None]) != [None, None]}
    checked = {"requires_safety_checker": False} if "safety_checker" in dropped else {}
    return {**index, **dropped, **checked}


def _missing_files(folder: Path, part: tuple[str, str, str], uri: str, remedy: str) -> list[str]:
    """Return the files that one part lacks: its configuration, its weights, or some of their shards."""
    name, library, class_name = part
    place = folder / name
    if "Tokenizer" in class_name:
        return _missing_tokenizer(place, _T5_FILES if class_name.startswith("T5") else _CLIP_FILES)
    if class_name.endswith("Scheduler"):
        return [] if (place / "scheduler_config.json").exists() else [f"{name}/scheduler_config.json"]
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


def _missing_tokenizer(place: Path, choices: tuple[tuple[str, ...], ...]) -> list[str]:
    """Return nothing where one choice of files is whole, else what the choice lacks that has most of its files."""
    lacking = [[file for file in files if not (place / file).exists()] for files in choices]
    if not all(lacking):
        return []
    started = [files for files, choice in zip(lacking, choices, strict=True) if len(files) < len(choice)]
    return [f"{place.name}/{file}" for file in (started or lacking)[0]]
