"""How each name of a base model becomes a whole local diffusers folder of safetensors."""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aelif.artifacts import digest_of, link_file, new_folder, sha256_of, write_json
from aelif.models.completeness import WHOLE, check_model, family_of, parts_of, read_index, without_unused
from aelif.models.names import Kind, builtin_folder, model_kind
from aelif.storage import fetch

KEPT_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".md")
"""What of a model is kept: weights, configurations, tokenizers, the model card."""

_VARIANTS = ("fp16", "bf16", "non_ema")
"""Second copies of weights that repositories hold beside the full ones: ``model.fp16-00001-of-00002.safetensors``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where a model came from; stands in its folder as `source.json`."""

    uri: str
    family: str
    """Value of `KNOWN_PIPELINES`."""
    digest: str
    """Hex SHA-256 over names and contents of the files; of a registered fine-tune, over its weights' and its base
    model's digests, for fusing LoRA may give other last bits on another machine."""
    files: dict[str, str]
    """Path below the folder → hex SHA-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Located:
    """A model on this machine."""

    folder: Path
    uri: str
    """Its name, pinned: to a version where it was an alias, to its place where it was a relative path."""
    digest: str = ""
    """Digest of what it is made of; "" for that of its files."""


def resolve_model(uri: str, output: Path, *, tracking_uri: str = "") -> ModelSource:
    """Write the diffusers folder that `uri` names to `output`, with `source.json`.

    Files are linked where they cannot change under us (packaged, hub cache, downloads), and
    copied from a user's own folder, whose later edits must not reach a finished step.

    Args:
        uri: ``builtin:NAME``, ``org/name@commit``, ``s3://bucket/prefix``, a local folder or archive,
            or ``models:/name@alias``: a registered fine-tune or LoRA, with the base model under it.
        output: the folder to write; it appears whole or not at all.
        tracking_uri: the store of ``models:/…``; "" takes ``MLFLOW_TRACKING_URI``.

    Raises:
        ValueError: if `uri` cannot be read, or the model is incomplete, of an unknown family, or not safetensors.
    """
    kind = model_kind(uri)
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent, prefix=".download-") as scratch:
        located = _locate(uri, kind, Path(scratch) / "model", tracking_uri=tracking_uri)
        folder = located.folder
        family = check_model(folder, uri=uri, remedy=_remedy(uri, kind))
        with new_folder(output) as target:
            index = read_index(folder, uri=uri)
            names = _kept_files(folder, {part for part, _, _ in parts_of(index)})
            for name in names:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                _place(folder / name, target / name, link=kind != "local")
            if (kept := without_unused(index)) != index:
                write_json(target / "model_index.json", kept)  # replaces the link, not the file behind it
            files = {name: sha256_of(target / name) for name in names}
            source = ModelSource(uri=located.uri, family=family, digest=located.digest or digest_of(files), files=files)
            write_json(target / "source.json", asdict(source))
    return source


def resolve_exactly(uri: str, output: Path, *, digest: str, owner: str, tracking_uri: str = "") -> ModelSource:
    """Write the base model that something was trained on, as `resolve_model` does.

    Args:
        uri: its pinned name; "" where nobody knows it.
        output: the folder to write; nothing stays there if it is another model now.
        digest: of its files.
        owner: what was trained on it, for error messages.
        tracking_uri: as `resolve_model` takes it.

    Raises:
        ValueError: if it cannot be had, or has another digest.
    """
    if not uri or not digest:
        raise ValueError(f"{owner}: its base model is not recorded (registered by an early version); register it again")
    try:
        source = resolve_model(uri, output, tracking_uri=tracking_uri)
    except ValueError as error:
        raise ValueError(f"{owner}: its base model cannot be had: {error}") from error
    if source.digest != digest:
        shutil.rmtree(output)
        raise ValueError(f"{owner}: its base model {uri} has digest {source.digest} now, trained on was {digest}; "
                         "put the former model back in its place, or name a folder with it in AELIF_BASE_MODEL "
                         "where a registered model is loaded")  # fmt: skip
    return source


def _locate(uri: str, kind: Kind, scratch: Path, *, tracking_uri: str) -> _Located:
    """Return a local folder with the model, downloaded to `scratch` where need be."""
    if kind == "registry":
        return _compose_registered(uri, scratch, tracking_uri=tracking_uri)
    if kind == "builtin":
        folder = builtin_folder(uri.removeprefix("builtin:"))
    else:
        folder = _download_from_hub(uri) if kind == "hub" else fetch(uri, scratch)
    return _Located(folder=folder, uri=str(Path(uri).expanduser().absolute()) if kind == "local" else uri)


def _compose_registered(uri: str, output: Path, *, tracking_uri: str) -> _Located:
    """Return a folder with a registered model and the base model under it; a whole model is left as it is."""
    from aelif.models.compose import write_whole
    from aelif.registry.lineage import weights_digest
    from aelif.registry.models import open_registered

    held = open_registered(uri, output.with_name("trained"), tracking_uri=tracking_uri)
    pinned = f"{re.split('@|/[0-9]+$', uri)[0]}/{held.version}"
    if (held.trained / "model_index.json").exists():
        return _Located(folder=held.trained, uri=pinned)
    base = output.with_name("base")
    resolve_exactly(held.base_uri, base, digest=held.base_digest, owner=uri, tracking_uri=tracking_uri)
    write_whole(base, held.trained, output)
    digest = digest_of({"weights": weights_digest(held.trained), "base": held.base_digest})
    return _Located(folder=output, uri=pinned, digest=digest)


def _remedy(uri: str, kind: Kind) -> str:
    """Return what to do about a model that is not whole."""
    if kind == "hub":
        name, _, commit = uri.partition("@")
        return f"while the hub can be reached, run `hf download {name} --revision {commit}`, or copy its cache here"
    return {
        "builtin": "install aelif again",
        "registry": "register it again",
        "s3": "upload what pipeline.save_pretrained(folder) writes",
        "local": WHOLE,
    }[kind]


# ── Files ──────────────────────────────────────────────────────────────────────────────────────


def _kept_files(folder: Path, parts: set[str]) -> list[str]:
    """Return the files to keep, relative to `folder`: those of the parts, and what stands beside `model_index.json`.

    Not kept are hidden files, an earlier `source.json`, variants, and single-file copies of the whole model.
    """
    kept = []
    for path in sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        is_hidden = any(part.startswith(".") for part in path.parts)
        is_known = path.name.endswith(KEPT_SUFFIXES) or path.name.startswith("LICENSE")
        is_variant = any(f".{variant}{sign}" in path.name for variant in _VARIANTS for sign in ".-")
        is_top = len(path.parts) == 1 and path.suffix != ".safetensors"
        if is_known and not is_hidden and not is_variant and (is_top or path.parts[0] in parts):
            kept.append(path.as_posix())
    return [name for name in kept if name != "source.json"]


def _place(source: Path, target: Path, *, link: bool) -> None:
    """Put a file at `target`: linked where it may be, else copied."""
    place = link_file if link else shutil.copyfile
    place(source.resolve(), target)  # resolved: a hub cache holds symbolic links


def _download_from_hub(uri: str) -> Path:
    """Return the hub cache's snapshot of ``org/name@commit``, downloading what it lacks.

    Only the parts that the family reads are asked for, as safetensors: repositories hold the
    same weights in several formats, and parts such as safety checkers.
    """
    from huggingface_hub import errors, hf_hub_download, snapshot_download

    name, _, commit = uri.partition("@")
    try:
        index_path = Path(hf_hub_download(name, "model_index.json", revision=commit))
        index = read_index(index_path.parent, uri=uri)
        family_of(index, uri=uri)  # before gigabytes are downloaded
        wanted = [f"{part}/*{suffix}" for part, _, _ in parts_of(index) for suffix in KEPT_SUFFIXES]
        with suppress(errors.LocalEntryNotFoundError):  # offline; the check that follows names what is missing
            snapshot_download(
                name,
                revision=commit,
                allow_patterns=["model_index.json", "README.md", "LICENSE*", *wanted],
                ignore_patterns=[f"*.{variant}{sign}*" for variant in _VARIANTS for sign in ".-"],
            )
    except errors.GatedRepoError as error:
        raise ValueError(f"{uri}: the model is gated; accept its terms on the hub and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise ValueError(f"{uri}: the hub has no such model, or it is private: check the name, set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise ValueError(f"{uri}: the model has no such commit; check it on the hub") from error
    except errors.LocalEntryNotFoundError as error:
        place = "model_index.json is not in the hub cache, and the hub cannot be reached"
        raise ValueError(f"{uri}: {place}; {_remedy(uri, 'hub')}") from error
    except errors.RemoteEntryNotFoundError as error:
        raise ValueError(f"{uri}: the repository has no model_index.json; it is no diffusers model") from error
    except errors.HfHubHTTPError as error:
        raise ConnectionError(f"{uri}: the hub answered {error}; run again later") from error
    return index_path.parent
