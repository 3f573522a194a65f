"""Unpacking zip and tar archives that nobody vouches for: no links, no way out of the folder, a limit of size."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from aelif.artifacts import new_folder

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_BYTES = 64 * 2**30
"""Default limit of what one download or archive may take on disk, in bytes."""
MAX_FILES = 100_000
"""Limit of the files in one download or archive."""


def is_archive(path: Path) -> bool:
    """Whether `path` is a file whose name ends as an archive's."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES) and path.is_file()


def unpack(archive: Path, destination: Path, *, max_bytes: int = MAX_BYTES) -> Path:
    """Unpack a zip or tar and return `destination`, or the one folder in it where there is only that.

    Raises:
        ValueError: if the archive is broken, encrypted, empty, larger than `max_bytes` once unpacked,
            or holds links, devices, or paths that lead out of it.
    """
    members = _zip_members if archive.name.lower().endswith(".zip") else _tar_members
    total = count = 0
    with new_folder(destination) as folder:
        try:
            for name, size, content in members(archive):
                total, count = total + size, count + 1
                check_size(str(archive), total, count, max_bytes)
                path = inside_of(folder, name, str(archive))
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("wb") as file:
                    shutil.copyfileobj(content, file, 2**20)
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            gzip.BadGzipFile,
            EOFError,
            zlib.error,
            NotImplementedError,
        ) as error:
            raise ValueError(f"{archive}: this archive is broken ({error}); copy it again") from error
        if count == 0:
            raise ValueError(f"{archive}: the archive has no file")
    entries = [path for path in destination.iterdir() if path.name != "__MACOSX" and not path.name.startswith(".")]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else destination


def _zip_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield name, size in bytes and content of the files of a zip."""
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            kind = member.external_attr >> 28  # upper bits of the Unix mode; 0 where none was stored
            if member.is_dir():
                continue
            if kind not in (0, 8):
                raise ValueError(f"{archive}: {member.filename} is a link or a device; pack plain files only")
            if member.flag_bits & 1:
                raise ValueError(f"{archive}: it is encrypted; unpack it and name the folder")
            yield member.filename, member.file_size, file.open(member)


def _tar_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield name, size in bytes and content of the files of a tar, compressed or not."""
    with tarfile.open(archive) as file:
        for member in file:
            if member.isdir():
                continue
            content = file.extractfile(member) if member.isreg() else None
            if content is None:
                raise ValueError(f"{archive}: {member.name} is a link or a device; pack plain files only")
            yield member.name, member.size, content


def inside_of(folder: Path, name: str, source: str) -> Path:
    """Return the path of `name` below `folder`, or raise a ValueError where it would lead out of it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")) or "\0" in name:
        raise ValueError(f"{source}: the path {name!r} leads out of the folder; refused")
    return folder / path


def check_size(source: str, size: int, count: int, max_bytes: int) -> None:
    """Raise a ValueError where `size` bytes or `count` files are too many."""
    if size > max_bytes:
        raise ValueError(
            f"{source}: more than {max_bytes / 2**30:.3g} GiB of files; name fewer, the limit guards the disk"
        )
    if count > MAX_FILES:
        raise ValueError(f"{source}: more than {MAX_FILES} files; name fewer, the limit guards the disk")
