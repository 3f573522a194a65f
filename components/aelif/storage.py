"""Where inputs come from: local folders, archives, and `s3://` prefixes (any S3 endpoint, through boto3)."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from aelif.artifacts import digest_of, new_folder, sha256_of

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_BYTES = 64 * 2**30
"""Default limit of what one download or archive may take on disk, in bytes."""
MAX_FILES = 100_000
"""Limit of the files in one download or archive."""

_S3_REMEDIES = {
    "NoSuchBucket": "there is no such bucket; check its name and AWS_ENDPOINT_URL",
    "AccessDenied": "access denied; these credentials may not list or read it",
    "403": "access denied; these credentials may not list or read it",
    "InvalidAccessKeyId": "unknown access key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "wrong secret key; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired; renew them",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object below an ``s3://`` prefix."""

    key: str
    name: str
    """Path relative to the prefix."""
    size: int
    """Bytes."""
    etag: str


def fetch(uri: str, destination: Path, *, max_bytes: int = MAX_BYTES) -> Path:
    """Return a local path with what `uri` names; a local folder or file is returned as it is.

    Archives (zip, tar, tar.gz) are unpacked into `destination`; one that holds a single folder
    yields that folder. ``s3://bucket/prefix`` is downloaded to `destination`.

    Args:
        uri: local path, or ``s3://bucket/prefix``; credentials and AWS_ENDPOINT_URL as boto3 reads them.
        destination: folder to create; untouched for a local folder.
        max_bytes: limit of what is downloaded or unpacked.

    Raises:
        ValueError: if there is nothing at `uri`, access fails, or an archive is broken, unsafe or too large.
        ConnectionError: if the S3 endpoint cannot be reached.
    """
    if not uri.startswith("s3://"):
        source = local_path(uri)
        return unpack(source, destination, max_bytes=max_bytes) if is_archive(source) else source
    with _clear_s3_errors(uri):
        client, objects = _list_objects(uri)
        _check_size(uri, sum(item.size for item in objects), len(objects), max_bytes)
        with new_folder(destination) as folder:
            for item in objects:
                path = _inside(folder, item.name, uri)
                path.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(_split(uri)[0], item.key, str(path))
    downloaded = destination / objects[0].name
    if len(objects) == 1 and is_archive(downloaded):
        return unpack(downloaded, destination.with_name(destination.name + "-unpacked"), max_bytes=max_bytes)
    return destination


def fingerprint(uri: str) -> str:
    """Return one hex SHA-256 that changes when a file at `uri` does; nothing is downloaded.

    Covers names and contents of a local folder's files (hidden ones aside) or of a single file,
    and names and ETags of the objects below an ``s3://`` prefix.

    Raises:
        ValueError: if there is nothing at `uri`, or access fails.
        ConnectionError: if the S3 endpoint cannot be reached.
    """
    if uri.startswith("s3://"):
        with _clear_s3_errors(uri):
            return digest_of([(item.name, item.etag) for item in _list_objects(uri)[1]])
    path = local_path(uri)
    if path.is_file():
        return digest_of([(path.name, sha256_of(path))])
    names = sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return digest_of([(name.as_posix(), sha256_of(path / name)) for name in visible])


def local_path(uri: str) -> Path:
    """Return the existing local path that `uri` names; ``~`` is the home folder.

    Raises:
        ValueError: if it does not exist, or has a scheme that is not known.
    """
    if "://" in uri:
        raise ValueError(f"{uri}: unknown scheme; give a local path or s3://bucket/prefix")
    path = Path(uri).expanduser()
    if not path.exists():
        raise ValueError(f"{uri}: no such file or folder (looked in {path.absolute().parent})")
    return path


def is_archive(path: Path) -> bool:
    """Whether `path` is a file whose name ends as an archive's."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES) and path.is_file()


# ── Archives ───────────────────────────────────────────────────────────────────────────────────


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
                _check_size(str(archive), total, count, max_bytes)
                path = _inside(folder, name, str(archive))
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("wb") as file:
                    shutil.copyfileobj(content, file, 2**20)
        except (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
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


def _inside(folder: Path, name: str, source: str) -> Path:
    """Return the path of `name` below `folder`, or raise a ValueError where it would lead out of it."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")) or "\0" in name:
        raise ValueError(f"{source}: the path {name!r} leads out of the folder; refused")
    return folder / path


def _check_size(source: str, size: int, count: int, max_bytes: int) -> None:
    """Raise a ValueError where `size` bytes or `count` files are too many."""
    if size > max_bytes:
        raise ValueError(f"{source}: more than {max_bytes / 2**30:.3g} GiB once unpacked; the limit guards the disk")
    if count > MAX_FILES:
        raise ValueError(f"{source}: more than {MAX_FILES} files; the limit guards the disk")


# ── S3 ─────────────────────────────────────────────────────────────────────────────────────────


def _split(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of ``s3://bucket/prefix``."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise ValueError(f"{uri}: the bucket is missing; write s3://bucket/prefix")
    return bucket, prefix.strip("/")


def _list_objects(uri: str) -> tuple[Any, list[StoredObject]]:
    """Return an S3 client and the objects at `uri`, by key.

    Raises:
        ValueError: if there is none.
    """
    import boto3
    from botocore.config import Config

    bucket, prefix = _split(uri)
    client = boto3.client("s3", config=Config(connect_timeout=10, retries={"mode": "standard", "max_attempts": 4}))
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    objects = list(_below(prefix, (item for page in pages for item in page.get("Contents", []))))
    if not objects:
        raise ValueError(f"{uri}: there is no object below this prefix; check it with `aws s3 ls {uri}`")
    return client, sorted(objects, key=lambda item: item.key)


def _below(prefix: str, items: Iterable[dict[str, Any]]) -> Iterator[StoredObject]:
    """Yield the objects at or below `prefix` as a folder: "photos" does not cover "photos2/a.jpg"."""
    for item in items:
        key: str = item["Key"]
        if key.endswith("/"):
            continue  # a console's marker of an empty folder
        if key == prefix:
            name = key.rpartition("/")[2]
        elif not prefix or key.startswith(prefix + "/"):
            name = key[len(prefix) :].lstrip("/")
        else:
            continue
        yield StoredObject(key=key, name=name, size=item["Size"], etag=item["ETag"].strip('"'))


@contextmanager
def _clear_s3_errors(uri: str) -> Iterator[None]:
    """Turn boto's errors into one line with the remedy."""
    import boto3.exceptions
    from botocore import exceptions

    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound) as error:
        remedy = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        raise ValueError(f"{uri}: no credentials for S3 ({error}); {remedy}") from error
    except exceptions.ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise ValueError(f"{uri}: {_S3_REMEDIES.get(code, error)}") from error
    except (exceptions.ParamValidationError, exceptions.InvalidRegionError) as error:
        raise ValueError(f"{uri}: {' '.join(str(error).split())}") from error
    except (exceptions.BotoCoreError, boto3.exceptions.Boto3Error) as error:
        raise ConnectionError(f"{uri}: {error}; check the network and AWS_ENDPOINT_URL, then run again") from error
