"""Embeddings of an image folder and of the prompts of its images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aelif.artifacts.files import new_folder, read_json, write_json
from aelif.artifacts.image_folders import ImageRecord, write_image_records

if TYPE_CHECKING:
    import numpy as np


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
