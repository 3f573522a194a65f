"""Embed whole image folders: photos, or the shards of one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from aelif.artifacts import Embeddings, ImageRecord, read_image_records
from aelif.config import ScoreConfig
from aelif.embed.clip import load_scorer
from aelif.progress import StepProgress


def embed_folders(
    folders: Sequence[str | Path], config: ScoreConfig, progress: StepProgress, *, subject: int | None = None
) -> Embeddings:
    """Return the embeddings of all images and of their texts, ordered by prompt and image number.

    The order, and so the result, does not depend on how a trial was cut into shards. All
    prompts of a trial are embedded, the clean ones among them, which alignment is measured against.

    Args:
        folders: image folders; together they hold every image once.
        config: scorer, model for self-similarity, cache.
        progress: told after every batch.
        subject: leave out photos of other subjects; None: embed all.

    Raises:
        ValueError: if an image occurs twice, there are none, or there is no such model.
    """
    found = _ordered_images(folders, subject)
    paths = [path for _, path in found]
    scorer = load_scorer(config.scorer)
    images_ND = scorer.embed_images(
        paths,
        cache=Path(config.cache) if config.cache else None,
        report=lambda done, total: progress.advance(done, total, "images"),
    )
    prompts = sorted({record.text for record, _ in found})
    dino_NE, dino_digest = _self_supervised(paths, config, progress)
    return Embeddings(
        images=images_ND,
        records=[record for record, _ in found],
        texts=dict(zip(prompts, scorer.embed_texts(prompts), strict=True)),
        scorer=scorer.digest,
        dino=dino_NE,
        dino_scorer=dino_digest,
    )


def check_complete(folders: Sequence[str | Path], prompts: Sequence[Mapping[str, Any]]) -> None:
    """Check that every prompt has images.

    Raises:
        ValueError: naming the first that has none: a shard is missing.
    """
    drawn = {record.prompt_id for folder in folders for record in read_image_records(folder)}
    bare = [row["prompt_id"] for row in prompts if row["prompt_id"] not in drawn]
    if bare:
        raise ValueError(f"{len(bare)} of {len(prompts)} prompts have no image in {len(folders)} shards, prompt "
                         f"{bare[0]} the first; generate them again, in num_shards shards")  # fmt: skip


def _self_supervised(
    paths: Sequence[Path], config: ScoreConfig, progress: StepProgress
) -> tuple[np.ndarray | None, str]:
    """Return the embeddings by the timm model and the digest of its weights; None and "" where none is set."""
    if not config.dino:
        return None, ""
    from aelif.embed.dino import load_dino

    dino = load_dino(config.dino)
    embeddings_NE = dino.embed_images(
        paths,
        cache=Path(config.cache) if config.cache else None,
        report=lambda done, total: progress.advance(done, total, "images, by DINO"),
    )
    return embeddings_NE, dino.digest


def _ordered_images(folders: Sequence[str | Path], subject: int | None) -> list[tuple[ImageRecord, Path]]:
    """Return all records and files, ordered by prompt and image number.

    Raises:
        ValueError: if an image occurs twice, or there are none.
    """
    found = [
        (record, Path(folder) / record.file_name)
        for folder in folders
        for record in read_image_records(folder, subject=subject)
    ]
    if not found:
        raise ValueError(f"{', '.join(str(folder) for folder in folders)}: no images to embed; generate or add some")
    found.sort(key=lambda item: _position(item[0]))
    for (one, path), (other, twin) in pairwise(found):
        if _position(one) == _position(other):
            raise ValueError(f"{twin}: {path} is the same image ({one.image_index} of prompt {one.prompt_id})")
    return found


def _position(record: ImageRecord) -> tuple[int, int, str]:
    return record.prompt_id, record.image_index, record.file_name
