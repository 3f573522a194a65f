"""Keep dumps of a database in a bucket.

`dumps.py upload FILE` stores a dump below BACKUP_URI (s3://bucket/prefix), reads back how long it is and its SHA-256,
and then deletes the dumps older than BACKUP_KEEP_DAYS, never the newest. `dumps.py download FILE [NAME]` fetches one,
the newest if none is named, and holds it against its SHA-256. `dumps.py list` names them, oldest first.
"""

import hashlib
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3

SUFFIX = ".dump"


def place() -> tuple[str, str]:
    """Return bucket and prefix of BACKUP_URI, the prefix with its slash."""
    bucket, _, prefix = os.environ["BACKUP_URI"].removeprefix("s3://").partition("/")
    return bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""


def sha256(path: Path) -> str:
    """Return the hex digest of a file of any length."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dumps(store: Any) -> list[dict[str, Any]]:
    """Return the dumps below BACKUP_URI, oldest first: their names begin with the time."""
    bucket, prefix = place()
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [item for page in pages for item in page.get("Contents", []) if item["Key"].endswith(SUFFIX)]
    return sorted(found, key=lambda item: item["Key"])


def upload(store: Any, path: Path) -> None:
    """Store one dump, look at what arrived, delete those that are too old."""
    if path.stat().st_size == 0:
        sys.exit(f"{path} is empty: pg_dump wrote nothing; see the log of the container `dump`")
    bucket, prefix = place()
    key, digest = f"{prefix}{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}{SUFFIX}", sha256(path)
    store.upload_file(str(path), bucket, key, ExtraArgs={"Metadata": {"sha256": digest}})
    arrived = store.head_object(Bucket=bucket, Key=key)
    if arrived["ContentLength"] != path.stat().st_size or arrived["Metadata"].get("sha256") != digest:
        sys.exit(
            f"s3://{bucket}/{key}: {arrived['ContentLength']} bytes arrived of {path.stat().st_size}; nothing deleted"
        )
    print(f"s3://{bucket}/{key}: {path.stat().st_size} bytes, sha256 {digest}")
    oldest = datetime.now(UTC) - timedelta(days=int(os.environ.get("BACKUP_KEEP_DAYS", "30")))
    for item in dumps(store)[:-1]:
        if item["LastModified"] < oldest:
            store.delete_object(Bucket=bucket, Key=item["Key"])
            print(f"s3://{bucket}/{item['Key']}: deleted, from {item['LastModified']:%Y-%m-%d}")


def download(store: Any, path: Path, name: str | None) -> None:
    """Fetch the dump of that name, or the newest."""
    bucket, prefix = place()
    keys = [item["Key"] for item in dumps(store)]
    if not keys:
        sys.exit(f"s3://{bucket}/{prefix} holds no dump (*{SUFFIX})")
    key = f"{prefix}{name}" if name else keys[-1]
    if key not in keys:
        sys.exit(f"s3://{bucket}/{key}: no such dump; there are {', '.join(key.removeprefix(prefix) for key in keys)}")
    expected = store.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256")
    store.download_file(bucket, key, str(path))
    if expected and sha256(path) != expected:
        sys.exit(f"s3://{bucket}/{key} is damaged: its SHA-256 is {sha256(path)}, not {expected}; name an older one")
    print(f"s3://{bucket}/{key}: {path.stat().st_size} bytes")


def main(arguments: list[str]) -> None:
    """Do what the first argument says."""
    store = boto3.client("s3")
    match arguments:
        case ["upload", file]:
            upload(store, Path(file))
        case ["download", file, *name] if len(name) < 2:
            download(store, Path(file), next(iter(filter(None, name)), None))
        case ["list"]:
            for item in dumps(store):
                print(f"{item['Key'].rpartition('/')[2]}\t{item['Size']}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
