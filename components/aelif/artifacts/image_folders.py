"""Image folders with a record for each image (Hugging Face `imagefolder` convention)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

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


def image_name(prompt_id: int, image_index: int) -> str:
    """Return the file name of a generated image."""
    return f"{prompt_id:05d}-{image_index:04d}.png"


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
