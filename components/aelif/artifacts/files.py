"""Digests, atomic writers and JSON: what every artifact is made with.

Folders and files are written under a temporary name and renamed, so that a reader never
meets half an artifact. Writing the same content twice gives the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


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
