"""Generated images and photos, small enough to travel inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aelif.artifacts import read_image_records

MAX_PIXELS = 160
"""Longer side of an inlined image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One generated image and what it was generated for."""

    path: Path
    prompt_id: int
    image_index: int


def read_pictures(folder: str | Path) -> list[Picture]:
    """Read the pictures of an image folder.

    Raises:
        ValueError: if the folder lacks `metadata.jsonl`, or a file that it names.
    """
    return [
        Picture(path=Path(folder) / record.file_name, prompt_id=record.prompt_id, image_index=record.image_index)
        for record in read_image_records(folder)
    ]


def data_uri(path: Path) -> str:
    """Return an image as a JPEG `data:` URI, at most `MAX_PIXELS` wide and high."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((MAX_PIXELS, MAX_PIXELS), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def paths_of(pictures: Iterable[Picture], prompt_id: int) -> list[Path]:
    """Return the files of one prompt's pictures by image index."""
    own = sorted((picture for picture in pictures if picture.prompt_id == prompt_id), key=lambda p: p.image_index)
    return [picture.path for picture in own]
