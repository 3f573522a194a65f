"""Captions that lie beside photos: `00.txt` for `00.jpg`, or lines of `metadata.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path

from aelif.config.data import holds_words
from aelif.prepare.inspect import is_passed_over

TABLE = "metadata.jsonl"
NOTES = ("readme", "license", "licence", "copying", "credits", "attribution", "notes")
"""Text files of these names may lie there without a photo."""


def read_captions(folder: Path, *, identifier: str, source: str = "") -> dict[str, str]:
    """Return the captions of a folder of photos, by the photos' names; photos without one are left out.

    From `metadata.jsonl` (lines with `file_name` and perhaps `text`) if there is one, and from a text
    file of the photo's name, which wins.

    Args:
        folder: the photos.
        identifier: the words that every caption must hold ("sks").
        source: how messages name the folder; else by its path.

    Raises:
        ValueError: if a caption cannot be read, is empty, has no photo, or lacks the identifier; names the file.
    """
    place = source or str(folder)
    photos = sorted(path.name for path in folder.iterdir() if not is_passed_over(path))
    captions = _read_table(folder / TABLE, photos, place) if (folder / TABLE).is_file() else {}
    texts = _text_files(folder)
    for name in photos:
        if path := texts.get(Path(name).stem):
            captions[name] = (f"{place}/{path.name}", " ".join(_read_text(path, place).split()))
    without_photo = texts.keys() - {Path(name).stem for name in photos}
    if orphans := sorted(stem for stem in without_photo if stem.lower() not in NOTES):
        file = f"{place}/{texts[orphans[0]].name}"
        raise ValueError(f"{file}: there is no photo {orphans[0]}.*; add it, or remove the caption")
    for file, text in captions.values():
        _check_caption(file, text, identifier)
    return {name: text for name, (_, text) in captions.items()}


def _check_caption(file: str, text: str, identifier: str) -> None:
    """Refuse what training could not learn the subject's name from; `file` is named in the message."""
    if not text:
        raise ValueError(f"{file}: the caption is empty; write one with {identifier!r}, or remove it and the instance "
                         "prompt is taken")  # fmt: skip
    if not holds_words(text, identifier):
        raise ValueError(f"{file}: the caption {text!r} lacks the identifier; add {identifier!r}, or remove it and the "
                         "instance prompt is taken")  # fmt: skip


def _text_files(folder: Path) -> dict[str, Path]:
    """Return the caption files by the name of their photo without its suffix."""
    texts = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() == ".txt" and path.is_file()}
    return {stem: path for stem, path in texts.items() if not stem.startswith(".")}


def _read_table(table: Path, photos: list[str], place: str) -> dict[str, tuple[str, str]]:
    """Return (where it stands, caption) of the photos that `metadata.jsonl` gives one."""
    captions: dict[str, tuple[str, str]] = {}
    for number, line in enumerate(_read_text(table, place).split("\n"), start=1):
        if line.strip():
            where = f"{place}/{TABLE} line {number}"
            name, text = _read_line(line, where)
            if name not in photos:
                raise ValueError(f"{where}: {name} is not in the folder; add it or drop the line")
            if text is not None:
                captions[name] = (where, text)
    return captions


def _read_text(path: Path, place: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{place}/{path.name}: it is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def _read_line(line: str, where: str) -> tuple[str, str | None]:
    """Return file name and caption of a line of `metadata.jsonl`."""
    try:
        values = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: it is not JSON ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get("file_name"), str):
        raise ValueError(f"{where}: it has no file_name")
    if not isinstance(values.get("text", ""), str):
        raise ValueError(f"{where}: text = {values['text']!r}: give text")
    return values["file_name"], " ".join(values["text"].split()) if "text" in values else None
