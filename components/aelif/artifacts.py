"""What the steps hand to one another: schemas, readers and writers that validate.

Folders and files are written under a temporary name and renamed, so that a reader never
meets half an artifact. Writing the same content twice gives the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Return the hex SHA-256 of a JSON-like value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def digest_of_folder(folder: Path) -> str:
    """Return one hex SHA-256 over the names and contents of all files below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return digest_of([(path.relative_to(folder).as_posix(), sha256_of(path)) for path in files])


_NO_SPACE = "no space left; free some space and run again, finished steps are reused"
_NO_ACCESS = "cannot write here; change the permissions or name another output folder"
_WRITE_REMEDIES = {errno.ENOSPC: _NO_SPACE, errno.EDQUOT: _NO_SPACE, errno.EFBIG: _NO_SPACE}
_PLACE_REMEDIES = {
    errno.EACCES: _NO_ACCESS,
    errno.EPERM: _NO_ACCESS,
    errno.EROFS: _NO_ACCESS,
    errno.ENOTDIR: _NO_ACCESS,
}


@contextmanager
def _named_failures(target: Path) -> Iterator[None]:
    """Re-raise a full disk or a forbidden place with the path and the remedy; the errno stays."""
    try:
        yield
    except OSError as error:
        code, path = error.errno or 0, Path(error.filename or target)
        remedy = _WRITE_REMEDIES.get(code)
        if path in (target, target.with_name(target.name + ".partial"), *target.parents):
            remedy = remedy or _PLACE_REMEDIES.get(code)  # elsewhere it may be a photo that cannot be read
        if remedy is None:
            raise
        raise OSError(code, remedy, str(error.filename or target)) from error


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` and rename it to `path` on success; failures leave nothing.

    Raises:
        OSError: if the disk is full or the place is not writable; names the path and the remedy.
    """
    target = Path(path)
    temporary = target.with_name(target.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with _named_failures(target):
            temporary.mkdir(parents=True)
            yield temporary
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if target.exists():
        shutil.rmtree(target)
    temporary.replace(target)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path and rename it to `path` on success; failures leave nothing.

    Raises:
        OSError: if the disk is full or the place is not writable; names the path and the remedy.
    """
    target = Path(path)
    temporary = target.with_name(target.name + ".partial")
    try:
        with _named_failures(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
    except BaseException:
        with suppress(NotADirectoryError):  # the parent is a file: there is nothing to clean
            temporary.unlink(missing_ok=True)
        raise
    temporary.replace(target)


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON."""
    with new_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text())


# ── Image folders ──────────────────────────────────────────────────────────────────────────────

SCORED_SUBJECT = 0
"""The subject whose photos generated images are measured against; others are trained beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """One line of an image folder's `metadata.jsonl` (Hugging Face `imagefolder` convention)."""

    file_name: str
    text: str
    """Caption or prompt."""
    prompt_id: int = 0
    """Row of the prompt table; 0 for photos."""
    image_index: int = 0
    """Number of the image among those of its prompt."""
    subject: int = SCORED_SUBJECT
    """Which of the run's subjects a photo shows, from 0 on; 0 for generated images."""
    width: int | None = None
    """Pixels; None where the writer has images of one size alone and does not say it."""
    height: int | None = None


def write_image_records(folder: Path, records: Iterable[ImageRecord]) -> None:
    """Write `metadata.jsonl` into an image folder."""
    lines = [json.dumps(asdict(record), ensure_ascii=False) for record in records]
    (folder / "metadata.jsonl").write_text("".join(f"{line}\n" for line in lines))


def read_image_records(folder: str | Path, *, subject: int | None = None) -> list[ImageRecord]:
    """Read an image folder's records, in file order.

    Args:
        folder: image folder.
        subject: leave out the photos of all others (`SCORED_SUBJECT`: what is the reference); None: read all.

    Raises:
        ValueError: if the folder lacks `metadata.jsonl`, or a file that it names.
    """
    folder = Path(folder)
    path = folder / "metadata.jsonl"
    if not path.exists():
        raise ValueError(f"{folder}: no metadata.jsonl; this is not an image folder written by aelif")
    records = [ImageRecord(**json.loads(line)) for line in path.read_text().splitlines()]
    for record in records:
        if not (folder / record.file_name).exists():
            raise ValueError(f"{folder}: {record.file_name} is missing")
    return [record for record in records if subject is None or record.subject == subject]


def link_file(source: Path, target: Path) -> None:
    """Put a file at `target` as well: as a hard link where possible, else as a copy.

    Raises:
        FileExistsError: if there is a file already; copied over, it would change wherever else it is linked.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another device, or a file system without links
        shutil.copyfile(source, target)


def link_images(sources: Iterable[Path], target: Path) -> None:
    """Put the images of several folders, with their records, into `target`: as hard links where possible."""
    records = []
    target.mkdir(parents=True, exist_ok=True)
    for source in sources:
        for record in read_image_records(source):
            records.append(record)
            link_file(source / record.file_name, target / record.file_name)
    write_image_records(target, sorted(records, key=lambda record: (record.prompt_id, record.image_index)))


# ── Tables ─────────────────────────────────────────────────────────────────────────────────────


def prompt_schema() -> pa.Schema:
    """Columns of `prompts.parquet`: what a run asks its models, and what could not be made of it."""
    import pyarrow as pa

    edit = pa.struct([("kind", pa.string()), ("start", pa.int32()), ("before", pa.string()), ("after", pa.string())])
    return pa.schema(
        [
            ("prompt_id", pa.int32()),  # row number
            ("clean_id", pa.int32()),  # prompt_id of the clean prompt it was made from (its own, if clean)
            ("prompt", pa.string()),
            ("clean_prompt", pa.string()),
            ("prompt_set", pa.string()),  # one of PROMPT_SETS
            ("family", pa.string()),  # "clean", "class", one of config.FAMILIES, or (stress) of config.AUGMENTATIONS
            ("severity", pa.float64()),  # nominal; of stress, the magnitude; 0 if clean
            ("draw", pa.int32()),
            ("character_error_rate", pa.float64()),  # realised: edit distance / length of the clean prompt
            ("tokens_changed", pa.int32()),  # realised: edit distance between the CLIP tokens; null: not measured
            ("embedding_cosine", pa.float64()),  # realised: to the clean prompt's pooled text embedding
            ("embedding_shift", pa.float64()),  # realised: ‖Z′ − Z‖ / ‖Z‖ of the prompt_embeds after BOS
            ("reason", pa.string()),  # why a skipped prompt could not be made; else ""
            ("edits", pa.list_(edit)),  # what was done; `start` counts characters in the clean prompt
        ]
    )


PROMPT_SETS = ("clean", "perturbed", "out_of_distribution", "class", "stress", "skipped")
"""Clean prompts; prompts with errors; the subject in other contexts; the bare class prompt; clean prompts whose
embeddings are augmented when images are generated; what a family could not change (`read_prompts` leaves it out)."""


def read_prompts(path: str | Path) -> list[dict[str, Any]]:
    """Read the prompts of `prompts.parquet` that images are made of.

    Raises:
        ValueError: if the file's columns are not those of `prompt_schema`.
    """
    return [row for row in read_table(path, prompt_schema()) if row["prompt_set"] != "skipped"]


def worst_schema() -> pa.Schema:
    """Columns of `worst.parquet`: the worst edit found for each trial and attacked prompt."""
    import pyarrow as pa

    edit = pa.struct([("kind", pa.string()), ("start", pa.int32()), ("before", pa.string()), ("after", pa.string())])
    return pa.schema(
        [
            ("variant", pa.string()),
            ("seed", pa.int64()),
            ("clean_id", pa.int32()),
            ("clean_prompt", pa.string()),
            ("prompt", pa.string()),
            ("edits", pa.list_(edit)),
            ("character_error_rate", pa.float64()),
            ("found_distance", pa.float64()),  # W1 on the noise of the search: biased upwards, as any maximum
            ("distance", pa.float64()),  # W1 on fresh noise
            ("clean_distance", pa.float64()),  # W1 of the clean prompt on that fresh noise
            ("tried", pa.int32()),  # prompts tried
            ("best_so_far", pa.list_(pa.float64())),  # highest distance after each prompt tried
        ]
    )


def score_schema() -> pa.Schema:
    """Columns of `scores.parquet`: one row per trial, prompt and metric."""
    import pyarrow as pa

    return pa.schema(
        [
            ("variant", pa.string()),  # "aelif_mask:0.3"
            ("seed", pa.int64()),  # training seed
            ("prompt_id", pa.int32()),
            ("clean_id", pa.int32()),
            ("prompt_set", pa.string()),
            ("family", pa.string()),
            ("severity", pa.float64()),
            ("prompt", pa.string()),
            ("metric", pa.string()),  # see aelif.score.METRICS
            ("value", pa.float64()),
            ("num_images", pa.int32()),
        ]
    )


def write_table(path: str | Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet.

    Raises:
        ValueError: if the rows do not have the columns of the schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for row in rows[:1]:
        if row.keys() != set(schema.names):
            raise ValueError(f"{path}: columns {sorted(row)} are not {sorted(schema.names)}")
    with new_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def read_table(path: str | Path, schema: pa.Schema) -> list[dict[str, Any]]:
    """Read Parquet rows.

    Raises:
        ValueError: if the file's columns are not those of the schema.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    if table.schema.names != schema.names:
        raise ValueError(f"{path}: columns {table.schema.names} are not {schema.names}")
    return table.to_pylist()


# ── Embeddings ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """L2-normalised CLIP embeddings of an image folder, and of the prompts of its images."""

    images: np.ndarray
    """(N, D) float32, one row per record."""
    records: list[ImageRecord]
    texts: Mapping[str, np.ndarray]
    """Prompt → (D,) float32."""
    scorer: str = ""
    """Digest of the model's weights: distances between embeddings of different models mean nothing."""
    dino: np.ndarray | None = None
    """(N, E) float32 of unit length, by the timm model, where one is set."""
    dino_scorer: str = ""
    """Digest of the timm model's weights."""


def write_embeddings(path: str | Path, embeddings: Embeddings) -> None:
    """Write a folder: `embeddings.safetensors`, `prompts.json`, `scorer.json`, and `metadata.jsonl` with the records.

    Raises:
        ValueError: if a row is not finite or not of unit length, or rows and records differ in number.
    """
    import numpy as np
    from safetensors.numpy import save_file

    prompts = sorted(embeddings.texts)
    arrays = {"images": embeddings.images}
    if embeddings.dino is not None:
        arrays["dino"] = embeddings.dino
    if prompts:
        arrays["texts"] = np.stack([embeddings.texts[prompt] for prompt in prompts])
    _check_embeddings(path, arrays, embeddings.records, prompts)
    with new_folder(path) as folder:
        singles = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
        save_file(singles, folder / "embeddings.safetensors")
        (folder / "prompts.json").write_text(json.dumps(prompts, ensure_ascii=False))
        write_json(folder / "scorer.json", {"scorer": embeddings.scorer, "dino": embeddings.dino_scorer})
        write_image_records(folder, embeddings.records)


def read_embeddings(path: str | Path) -> Embeddings:
    """Read what `write_embeddings` wrote.

    Raises:
        ValueError: if a row is not finite or not of unit length, or rows and records differ in number.
    """
    from safetensors.numpy import load_file

    folder = Path(path)
    arrays = load_file(folder / "embeddings.safetensors")
    records = [ImageRecord(**json.loads(line)) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    prompts, digests = json.loads((folder / "prompts.json").read_text()), read_json(folder / "scorer.json")
    _check_embeddings(folder, arrays, records, prompts)
    texts = {prompt: arrays["texts"][row] for row, prompt in enumerate(prompts)}
    return Embeddings(
        images=arrays["images"],
        records=records,
        texts=texts,
        scorer=digests["scorer"],
        dino=arrays.get("dino"),
        dino_scorer=digests["dino"],
    )


def _check_embeddings(
    path: str | Path, arrays: Mapping[str, np.ndarray], records: list[ImageRecord], prompts: list[str]
) -> None:
    import numpy as np

    names = [record.file_name for record in records]
    for kind, array in arrays.items():
        owners = prompts if kind == "texts" else names
        if len(array) != len(owners):
            what = "prompts" if kind == "texts" else "images"
            raise ValueError(f"{path}: {len(array)} rows of {kind} for {len(owners)} {what}; embed the folder again")
        norms = np.linalg.norm(array, axis=1)
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= 1e-3))  # NaN compares false
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"{path}: row {row} of {kind} ({owners[row]}) has the norm {norms[row]:g}, not 1 "
                f"({len(wrong)} such rows); the scorer's weights or its precision are at fault: embed with another"
            )
