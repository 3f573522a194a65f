"""From inspected photos to the training images: square, of one size, each with its caption."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from aelif.artifacts import ImageRecord, digest_of, new_folder, write_image_records, write_json
from aelif.config import DataConfig
from aelif.prepare.inspect import Inspection, decode_photo, inspect_photos

MIN_SIZE = 32
"""Least width and height of a photo, in pixels …"""
MAX_ENLARGEMENT = 4
"""… and how far one may be enlarged to the training size."""


def square_crop(image: Image.Image, *, image_size: int, centre: tuple[float, float] = (0.5, 0.5)) -> Image.Image:
    """Return the largest square of an image, resized with Lanczos to image_size × image_size.

    Args:
        image: of any size.
        image_size: side of the result, in pixels.
        centre: where the square's centre shall be, as shares of width and height; kept inside the image.
    """
    side = min(image.size)
    left, top = (
        min(max(round(share * length - side / 2), 0), length - side)
        for share, length in zip(centre, image.size, strict=True)
    )
    square = image.crop((left, top, left + side, top + side))  # resize(box=…) would let the outside bleed in
    return square.resize((image_size, image_size), Image.Resampling.LANCZOS)


def prepare_photos(folder: Path, output: Path, *, config: DataConfig) -> None:
    """Write the training images of a subject as an image folder with `manifest.json`.

    The images are `000.png` … in the order of the photos' names, captions stand in
    `metadata.jsonl`. The manifest holds the photos' names and SHA-256, the digest of the set
    (whatever the names and the order), and what was not used and why.

    Args:
        folder: the photos; a caption may be given per photo, see `read_captions`.
        output: the folder to write; it appears whole or not at all.
        config: prompts and size.

    Raises:
        ValueError: if there is no usable photo, or a caption is wrong.
        OSError: if the disk is full or `output` is not writable.
    """
    inspection = inspect_photos(folder, min_size=max(MIN_SIZE, config.image_size // MAX_ENLARGEMENT))
    captions = read_captions(folder, config=config)
    records = [
        ImageRecord(file_name=f"{index:03d}.png", text=captions.get(photo.path.name, config.instance_prompt))
        for index, photo in enumerate(inspection.accepted)
    ]
    with new_folder(output) as temporary:
        for record, photo in zip(records, inspection.accepted, strict=True):
            square_crop(decode_photo(photo.path), image_size=config.image_size).save(temporary / record.file_name)
        write_image_records(temporary, records)
        write_json(temporary / "manifest.json", manifest(inspection, records, source=config.instance_images))


def manifest(inspection: Inspection, records: list[ImageRecord], *, source: str) -> dict[str, object]:
    """Return what `manifest.json` says; sizes are those of the upright photos, in pixels."""
    files = [
        {
            "file_name": record.file_name,
            "source": photo.path.name,
            "sha256": photo.sha256,
            "width": photo.width,
            "height": photo.height,
        }
        for record, photo in zip(records, inspection.accepted, strict=True)
    ]
    return {
        "digest": digest_of(sorted(photo.sha256 for photo in inspection.accepted)),
        "count": len(files),
        "source": source,
        "files": files,
        "quarantined": [{"file": item.file, "reason": item.reason} for item in inspection.quarantined],
    }


def read_captions(folder: Path, *, config: DataConfig) -> dict[str, str]:
    """Return the captions that lie beside the photos, by the photos' names.

    From `metadata.jsonl` (lines with `file_name` and `text`) if there is one, and from a text file
    of the photo's name ("00.txt" for "00.jpg"), which wins. An empty caption is none.

    Raises:
        ValueError: if a line cannot be read, names a photo that is not there, or a caption lacks the identifier.
    """
    captions: dict[str, str] = {}
    table = folder / "metadata.jsonl"
    if table.is_file():
        for number, line in enumerate(_read_text(table).splitlines(), start=1):
            if line.strip():
                name, text = _read_line(line, f"{table} line {number}")
                if not (folder / name).is_file():
                    raise ValueError(f"{table} line {number}: {name} is not in the folder; add it or drop the line")
                captions[name] = text
    texts = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    for photo in sorted(folder.iterdir()):
        if photo.stem in texts and photo.suffix != ".txt":
            captions[photo.name] = " ".join(_read_text(texts[photo.stem]).split())
    captions = {name: text for name, text in captions.items() if text}
    for name, text in captions.items():
        if not all(word in text.lower() for word in config.identifier.lower().split()):
            remedy = f"add the identifier {config.identifier!r}, or remove the caption"
            raise ValueError(f"caption of {folder / name} = {text!r}: {remedy}")
    return captions


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: it is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _read_line(line: str, place: str) -> tuple[str, str]:
    """Return file name and caption of a line of `metadata.jsonl`."""
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: it is not JSON ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get("file_name"), str):
        raise ValueError(f"{place}: it has no file_name")
    if not isinstance(values.get("text", ""), str):
        raise ValueError(f"{place}: text = {values['text']!r}: give text")
    return values["file_name"], " ".join(values.get("text", "").split())
