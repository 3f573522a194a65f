"""Contact sheets: what a model paints for a prompt and for its misspelt forms, on one page that can be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from aelif.artifacts import image_name, read_image_records

MAX_ROWS, MAX_COLUMNS = 8, 6
CELL, LINES, FONT_SIZE, MARGIN = 224, 4, 14, 12
"""Pixels of an image's side, lines of a caption, pixels of its letters, pixels between things."""
_LINE = FONT_SIZE + 4
_LABELS = ("#666666", "#111111")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One picture with what is said of it."""

    image: Path
    label: str
    """What it is: one line, grey."""
    caption: str
    """Its prompt, up to `LINES` - 1 lines."""


def trial_rows(folder: Path, prompts: Iterable[Mapping[str, Any]]) -> list[list[Tile]]:
    """Return a row for each clean prompt: its image, then one for each family of errors, the worst severity of it.

    Args:
        folder: a trial's image folder; prompts without an image there are left out.
        prompts: rows of `prompts.parquet`.
    """
    asked = list(prompts)
    rows = []
    for clean in [row for row in asked if row["prompt_set"] == "clean"]:
        worst: dict[str, Mapping[str, Any]] = {}
        for row in asked:
            if row["prompt_set"] == "perturbed" and row["clean_id"] == clean["prompt_id"]:
                known = worst.get(row["family"])
                if known is None or row["severity"] > known["severity"]:
                    worst[row["family"]] = row
        shown = [(clean, "clean")]
        shown += [(row, f"{row['family']} {row['severity']:g}") for row in list(worst.values())[: MAX_COLUMNS - 1]]
        tiles = [Tile(image=folder / image_name(row["prompt_id"], 0), label=label, caption=row["prompt"])
                 for row, label in shown]  # fmt: skip
        if present := [tile for tile in tiles if tile.image.exists()]:
            rows.append(present)
    return rows[:MAX_ROWS]


def photo_rows(folder: Path) -> list[list[Tile]]:
    """Return the prepared photos of a folder, `MAX_COLUMNS` in a row."""
    tiles = [Tile(image=folder / record.file_name, label=record.file_name, caption=record.text)
             for record in read_image_records(folder)]  # fmt: skip
    return [tiles[start : start + MAX_COLUMNS] for start in range(0, len(tiles), MAX_COLUMNS)][:MAX_ROWS]


def write_sheet(path: Path, rows: Sequence[Sequence[Tile]], *, title: str) -> None:
    """Write a contact sheet as PNG: the title, then the rows, each picture with label and caption below.

    Args:
        path: the file.
        rows: of pictures; at least one.
        title: stands at the top.

    Raises:
        ValueError: if there is no picture.
    """
    if not rows:
        raise ValueError(f"{path.name}: no picture to show; write no sheet")
    columns, text_height = max(map(len, rows)), LINES * _LINE
    height = MARGIN + 2 * _LINE + len(rows) * (CELL + text_height + MARGIN)
    width = max(MARGIN + columns * (CELL + MARGIN), round(_bold().getlength(title)) + 2 * MARGIN)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, font=_bold(), fill=_LABELS[1])
    for line, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            x = MARGIN + column * (CELL + MARGIN)
            y = MARGIN + 2 * _LINE + line * (CELL + text_height + MARGIN)
            _paste(sheet, tile.image, x, y)
            draw.text((x, y + CELL + 2), fitting(tile.label, lines=1)[0], font=_font(), fill=_LABELS[0])
            for number, text in enumerate(fitting(tile.caption, lines=LINES - 1), start=1):
                draw.text((x, y + CELL + 2 + number * _LINE), text, font=_font(), fill=_LABELS[1])
    sheet.save(path)


def fitting(text: str, *, lines: int) -> list[str]:
    """Return the text broken to the width of a cell; what does not fit ends in an ellipsis.

    Words that are longer than a line, as joined ones may be, are broken as well.
    """
    found, line = [], ""
    for piece in re.findall(r"\s+|\S+", text.strip()):
        for part in [piece] if _width(piece) <= CELL else list(piece):
            if line and _width(line + part.rstrip()) > CELL:
                found.append(line.rstrip())
                line = part.lstrip()
            else:
                line += part
    found.append(line.rstrip())
    if len(found) <= lines:
        return found
    last = found[lines - 1]
    while last and _width(last + "…") > CELL:
        last = last[:-1]
    return [*found[: lines - 1], last + "…"]


def sheet_name(trial: str) -> str:
    """Return the file name of a trial's sheet, without characters that an object store or a URL would quote."""
    return re.sub(r"[^\w.=+@-]+", "-", trial) + ".png"


def _paste(sheet: Image.Image, path: Path, x: int, y: int) -> None:
    """Put a picture into its cell, as large as fits, small ones without blur."""
    with Image.open(path) as image:
        picture = image.convert("RGB")
    factor = CELL / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    kind = Image.Resampling.NEAREST if factor >= 2 else Image.Resampling.LANCZOS
    sheet.paste(picture.resize(size, kind), (x + (CELL - size[0]) // 2, y + (CELL - size[1]) // 2))


def _width(text: str) -> float:
    return _font().getlength(text)


@lru_cache
def _font(name: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    """Return the font that matplotlib brings: it has Greek, Cyrillic and accents, which people mistype as well."""
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), FONT_SIZE)


def _bold() -> ImageFont.FreeTypeFont:
    return _font("DejaVuSans-Bold")
