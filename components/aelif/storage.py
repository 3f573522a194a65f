"""Where inputs come from and results go: local folders, archives, shipped photos, `s3://` prefixes (by boto3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aelif.archives import MAX_BYTES, check_size, inside_of, is_archive, unpack
from aelif.artifacts import digest_of, new_folder, sha256_of
from aelif.config import require

BUILTIN = "builtin:"
EXAMPLES = Path(__file__).parent / "prepare" / "examples"
"""Photos of subjects that come with the package, on every machine and in every image."""

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
        uri: local path, ``builtin:NAME``, or ``s3://bucket/prefix``, with what boto3 reads: credentials,
            AWS_ENDPOINT_URL.
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
        check_size(uri, sum(item.size for item in objects), len(objects), max_bytes)
        with new_folder(destination) as folder:
            for item in objects:
                path = inside_of(folder, item.name, uri)
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


@contextmanager
def local_copy(destination: str) -> Iterator[Path]:
    """Yield a folder to write to: `destination` itself, or for ``s3://`` a temporary one that is uploaded at the end.

    Raises:
        ValueError: if access fails, or the scheme is unknown.
        ConnectionError: if the S3 endpoint cannot be reached.
    """
    if not destination.startswith("s3://"):
        if "://" in destination:
            raise ValueError(f"destination = {destination!r}: give a folder or s3://bucket/prefix")
        yield Path(destination)
        return
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / "results"
        yield folder
        bucket, prefix = _split(destination)
        with _clear_s3_errors(destination):
            client = _s3_client()
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                key = "/".join(filter(None, (prefix, path.relative_to(folder).as_posix())))
                client.upload_file(str(path), bucket, key)


def local_path(uri: str) -> Path:
    """Return the existing local path that `uri` names; ``~`` is the home folder, ``builtin:NAME`` shipped photos.

    Raises:
        ValueError: if it does not exist, or has a scheme that is not known.
    """
    if uri.startswith(BUILTIN):
        name = uri.removeprefix(BUILTIN)
        known = sorted(folder.name for folder in EXAMPLES.iterdir() if folder.is_dir())
        require(name in known, "photos", uri, f"shipped are {', '.join(BUILTIN + one for one in known)}")
        return EXAMPLES / name
    if "://" in uri:
        raise ValueError(f"{uri}: unknown scheme; give a local path or s3://bucket/prefix")
    path = Path(uri).expanduser()
    if not path.exists():
        raise ValueError(f"{uri}: no such file or folder (looked in {path.absolute().parent})")
    return path


# ── S3 ─────────────────────────────────────────────────────────────────────────────────────────


def _split(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of ``s3://bucket/prefix``."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise ValueError(f"{uri}: the bucket is missing; write s3://bucket/prefix")
    return bucket, prefix.strip("/")


def _s3_client() -> Any:
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=10, retries={"mode": "standard", "max_attempts": 4})
    return boto3.Session().client("s3", config=config)  # not the default session, which keeps old credentials


def _list_objects(uri: str) -> tuple[Any, list[StoredObject]]:
    """Return an S3 client and the objects at `uri`, by key.

    Raises:
        ValueError: if there is none.
    """
    bucket, prefix = _split(uri)
    client = _s3_client()
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
    except (exceptions.ClientError, boto3.exceptions.S3UploadFailedError) as error:
        cause = error if isinstance(error, exceptions.ClientError) else error.__context__
        code = cause.response.get("Error", {}).get("Code", "") if isinstance(cause, exceptions.ClientError) else ""
        raise ValueError(f"{uri}: {_S3_REMEDIES.get(code, error)}") from error
    except (exceptions.ParamValidationError, exceptions.InvalidRegionError) as error:
        raise ValueError(f"{uri}: {' '.join(str(error).split())}") from error
    except (exceptions.BotoCoreError, boto3.exceptions.Boto3Error) as error:
        raise ConnectionError(f"{uri}: {error}; check the network and AWS_ENDPOINT_URL, then run again") from error
