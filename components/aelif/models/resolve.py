"""The names a base model may have, and how each becomes a whole local diffusers folder of safetensors."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from aelif.artifacts import digest_of, new_folder, sha256_of, write_json
from aelif.config import nearest
from aelif.storage import fetch, local_path

KNOWN_PIPELINES = {"StableDiffusionXLPipeline": "sdxl"}
"""Class in `model_index.json` → family of the adapter that trains it."""
BUILTIN_MODELS = {"miniature-sdxl": "sdxl"}
"""Packaged model → its folder below `miniature/weights`."""

KEPT_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".md")
"""What of a model is kept: weights, configurations, tokenizers, the model card."""
_UNSAFE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_WITHOUT_WEIGHTS = ("Scheduler", "Tokenizer", "TokenizerFast", "Processor", "FeatureExtractor")
_CONVERT = "convert it with diffusers: pipeline.save_pretrained(folder, safe_serialization=True)"

Kind = Literal["builtin", "registry", "s3", "local", "hub"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where a model came from; stands in its folder as `source.json`."""

    uri: str
    family: str
    """Value of `KNOWN_PIPELINES`."""
    digest: str
    """Hex SHA-256 over names and contents of the files."""
    files: dict[str, str]
    """Path below the folder → hex SHA-256."""


def resolve_model(uri: str, output: Path) -> ModelSource:
    """Write the diffusers folder that `uri` names to `output`, with `source.json`.

    Files are linked where they cannot change under us (packaged, hub cache, downloads), and
    copied from a user's own folder, whose later edits must not reach a finished step.

    Args:
        uri: ``builtin:NAME``, ``org/name@commit``, ``s3://bucket/prefix``, a local folder or archive,
            or ``models:/name@alias``.
        output: the folder to write; it appears whole or not at all.

    Raises:
        ValueError: if `uri` cannot be read, or the model is incomplete, of an unknown family, or not safetensors.
    """
    kind = model_kind(uri)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".download-") as scratch:
        folder = _locate(uri, kind, Path(scratch) / "model")
        family = check_model(folder, uri=uri)
        with new_folder(output) as target:
            files = {name: sha256_of(folder / name) for name in _kept_files(folder)}
            for name in files:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                _place(folder / name, target / name, link=kind != "local")
            source = ModelSource(uri=uri, family=family, digest=digest_of(files), files=files)
            write_json(target / "source.json", asdict(source))
    return source


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
        raise ValueError(f"base_model = {uri!r}: give builtin:miniature-sdxl, org/name@commit, s3://…, or a folder")
    if not re.fullmatch(r"[0-9a-f]{40}", hub[2] or ""):
        found = "there is no such folder, and as a hub id it is" if hub[2] is None else "this hub id is"
        remedy = f"write {hub[1]}@COMMIT with the 40 characters from https://huggingface.co/{hub[1]}/commits/main"
        raise ValueError(f"base_model = {uri!r}: {found} not pinned to a commit; {remedy}")
    return "hub"


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


def _locate(uri: str, kind: Kind, scratch: Path) -> Path:
    """Return a local folder with the model, downloaded to `scratch` where need be."""
    if kind == "builtin":
        return builtin_folder(uri.removeprefix("builtin:"))
    if kind == "hub":
        return _download_from_hub(uri)
    if kind == "registry":
        from aelif.registry.tracking import download_model

        return download_model(uri, scratch)
    return fetch(uri, scratch)


# ── Checks ─────────────────────────────────────────────────────────────────────────────────────


def check_model(folder: Path, *, uri: str) -> str:
    """Return the family of a diffusers folder, once every part it needs is found.

    Raises:
        ValueError: names the file that is missing or wrong, and the remedy.
    """
    index = read_index(folder, uri=uri)
    pipeline = index.get("_class_name")
    if pipeline not in KNOWN_PIPELINES:
        known = ", ".join(f"{name} ({family})" for name, family in KNOWN_PIPELINES.items())
        raise ValueError(f"{uri}: model_index.json names the pipeline {pipeline!r}; known: {known}")
    missing = [file for name, kind in _parts(index) for file in _missing_files(folder, name, kind, uri)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(f"{uri}: {missing[0]}{more} is missing from {folder}; {_remedy(uri)}")
    return KNOWN_PIPELINES[pipeline]


def read_index(folder: Path, *, uri: str) -> dict[str, Any]:
    """Return `model_index.json`.

    Raises:
        ValueError: if `folder` is no diffusers folder.
    """
    path = folder / "model_index.json"
    if folder.is_file() or not path.exists():
        singles = [folder] if folder.is_file() else sorted(folder.iterdir())
        single = next((file for file in singles if file.suffix in (*_UNSAFE_SUFFIXES, ".safetensors")), None)
        found = f"{single.name} is a single-file checkpoint; {_CONVERT}" if single else _remedy(uri)
        raise ValueError(f"{uri}: model_index.json is missing, so it is no diffusers folder; {found}")
    try:
        index = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{uri}: {path} is not JSON ({error}); {_remedy(uri)}") from error
    if not isinstance(index, dict):
        raise ValueError(f"{uri}: {path} is not a table; {_remedy(uri)}")
    return index


def _parts(index: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield folder and class of the pipeline's parts; absent ones are [null, null]."""
    for name, value in index.items():
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[1] is not None:
            yield name, value[1]


def _missing_files(folder: Path, name: str, kind: str, uri: str) -> list[str]:
    """Return the files that one part lacks: its configuration, its weights, or some of their shards."""
    part = folder / name
    if kind.endswith(_WITHOUT_WEIGHTS):
        config = "scheduler_config.json" if kind.endswith("Scheduler") else "*.json"
        return [] if any(part.glob(config)) else [f"{name}/{config}"]
    if not (part / "config.json").exists():
        return [f"{name}/config.json"]
    if any(re.fullmatch(r"\w+\.safetensors", file.name) for file in part.iterdir()):
        return []
    for index in sorted(part.glob("*.safetensors.index.json")):
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        return [f"{name}/{shard}" for shard in shards if not (part / shard).exists()]
    unsafe = sorted(file.name for file in part.iterdir() if file.suffix in _UNSAFE_SUFFIXES)
    if unsafe:
        raise ValueError(f"{uri}: {name}/{unsafe[0]} is a pickle, which may run code when read; {_CONVERT}")
    variants = sorted(file.name for file in part.glob("*.safetensors"))
    if variants:
        raise ValueError(f"{uri}: {name} has only the variant {variants[0]}; save the model without `variant=`")
    return [f"{name}/diffusion_pytorch_model.safetensors" if "model" not in kind.lower() else f"{name}/*.safetensors"]


def _remedy(uri: str) -> str:
    """Return what to do about a model that is not whole."""
    kind = model_kind(uri)
    if kind == "hub":
        name, _, commit = uri.partition("@")
        return f"while the hub can be reached, run `hf download {name} --revision {commit}`, or copy its cache here"
    return {
        "builtin": "install aelif again",
        "registry": "register a whole diffusers folder",
        "s3": "upload what pipeline.save_pretrained(folder) writes",
        "local": "name a folder that pipeline.save_pretrained(folder) wrote",
    }[kind]


# ── Files ──────────────────────────────────────────────────────────────────────────────────────


def _kept_files(folder: Path) -> list[str]:
    """Return the files to keep, relative to `folder`; hidden ones and an earlier `source.json` are not."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    kept = (n for n in names if n.name.endswith(KEPT_SUFFIXES) or n.name.startswith("LICENSE"))
    hidden = (n.as_posix() for n in kept if not any(part.startswith(".") for part in n.parts))
    return [name for name in hidden if name != "source.json"]


def _place(source: Path, target: Path, *, link: bool) -> None:
    """Hard-link a file, or copy it where the file system refuses."""
    if link:
        try:
            os.link(source.resolve(), target)  # resolved: a hub cache holds symbolic links
            return
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP):
                raise
    shutil.copyfile(source, target)


def _download_from_hub(uri: str) -> Path:
    """Return the hub cache's snapshot of ``org/name@commit``, downloading what it lacks.

    Only the parts that `model_index.json` names are asked for, as safetensors: repositories hold the
    same weights in several formats.
    """
    from huggingface_hub import errors, hf_hub_download, snapshot_download

    name, _, commit = uri.partition("@")
    try:
        index_path = Path(hf_hub_download(name, "model_index.json", revision=commit))
        parts = [part for part, _ in _parts(read_index(index_path.parent, uri=uri))]
        wanted = [f"{part}/*{suffix}" for part in parts for suffix in KEPT_SUFFIXES]
        snapshot_download(
            name,
            revision=commit,
            allow_patterns=["model_index.json", "README.md", "LICENSE*", *wanted],
            ignore_patterns=["*.fp16.*", "*.non_ema.*"],
        )
    except errors.GatedRepoError as error:
        raise ValueError(f"{uri}: the model is gated; accept its terms on the hub and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(f"{uri}: the hub has no such model, or it is private: check the name, set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{uri}: the model has no such commit; check it on the hub") from error
    except errors.IncompleteSnapshotError:
        return index_path.parent  # the check that follows names what is missing
    except errors.LocalEntryNotFoundError as error:
        place = "model_index.json is not in the hub cache, and the hub cannot be reached"
        raise ValueError(f"{uri}: {place}; {_remedy(uri)}") from error
    except errors.RemoteEntryNotFoundError as error:
        raise ValueError(f"{uri}: the repository has no model_index.json; it is no diffusers model") from error
    except errors.HfHubHTTPError as error:
        raise ConnectionError(f"{uri}: the hub answered {error}; run again later") from error
    return index_path.parent
