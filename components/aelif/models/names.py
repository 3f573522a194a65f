"""The names a base model may have, read without running or importing what runs models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from aelif.config import nearest
from aelif.storage import fingerprint, local_path

BUILTIN_MODELS = {"miniature-sdxl": "sdxl", "miniature-sd3": "sd3"}
"""Packaged model → its folder below `miniature/weights`."""

Kind = Literal["builtin", "registry", "s3", "local", "hub"]


def model_kind(uri: str) -> Kind:
    """Return what kind of name `uri` is; cheap, reads no model and no network.

    Raises:
        ValueError: for an unknown packaged model, a missing folder, a hub id without its commit,
            a malformed registry name, and an unknown scheme.
    """
    if uri.startswith("builtin:"):
        builtin_folder(uri.removeprefix("builtin:"))
        return "builtin"
    if uri.startswith("models:/"):
        if not re.fullmatch(r"models:/[^/@:]+(@[^/@:]+|/\d+)", uri):
            raise ValueError(f"base_model = {uri!r}: write models:/name@alias or models:/name/version")
        return "registry"
    if uri.startswith("s3://"):
        return "s3"
    if "://" not in uri and uri.strip() and Path(uri).expanduser().exists():
        return "local"
    hub = re.fullmatch(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@(.*))?", uri)
    if not hub:
        local_path(uri)  # names what is wrong with it
        builtin = ", ".join(f"builtin:{name}" for name in BUILTIN_MODELS)
        raise ValueError(f"base_model = {uri!r}: give {builtin}, org/name@commit, s3://…, models:/name@alias, "
                         "or a folder")  # fmt: skip
    if not re.fullmatch(r"[0-9a-f]{40}", hub[2] or ""):
        found = "there is no such folder, and as a hub id it is" if hub[2] is None else "this hub id is"
        remedy = f"write {hub[1]}@COMMIT with the 40 characters from https://huggingface.co/{hub[1]}/commits/main"
        raise ValueError(f"base_model = {uri!r}: {found} not pinned to a commit; {remedy}")
    return "hub"


def base_fingerprint(uri: str, *, tracking_uri: str = "") -> str:
    """Return a digest that changes when what `uri` names does; "" for names that are pinned for good.

    Args:
        uri: as `resolve_model` takes it.
        tracking_uri: the store of ``models:/…``; "" takes ``MLFLOW_TRACKING_URI``.

    Raises:
        ValueError: as `model_kind`; or if there is nothing at `uri`.
    """
    kind = model_kind(uri)
    if kind == "registry":
        from aelif.registry.models import registered_digest

        return registered_digest(uri, tracking_uri=tracking_uri)
    return fingerprint(uri) if kind in ("local", "s3") else ""


def builtin_folder(name: str) -> Path:
    """Return the folder of a packaged model.

    Raises:
        ValueError: if there is none of this name, or its weights are not installed.
    """
    if name not in BUILTIN_MODELS:
        raise ValueError(f"base_model = 'builtin:{name}': {nearest(name, BUILTIN_MODELS)}")
    folder = Path(__file__).parent / "miniature" / "weights" / BUILTIN_MODELS[name]
    if not (folder / "model_index.json").is_file():
        raise ValueError(f"base_model = 'builtin:{name}': its weights are not installed; run `make miniature`")
    return folder
