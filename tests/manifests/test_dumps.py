"""The script that keeps dumps in a bucket, against an S3 server."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws
from tests.manifests.rendering import MANIFESTS

BUCKET = "dumps"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name, value in {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1",
                        "BACKUP_URI": f"s3://{BUCKET}/mlflow/", "BACKUP_KEEP_DAYS": "30"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    spec = importlib.util.spec_from_file_location("dumps", MANIFESTS / "components/backup/dumps.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def store(script: ModuleType) -> Iterator[Any]:
    assert os.environ["AWS_ACCESS_KEY_ID"] == "any"
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


def keys(store: Any) -> list[str]:
    return [item["Key"] for item in store.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def dump(tmp_path: Path, content: bytes = b"a dump") -> Path:
    path = tmp_path / "mlflow.dump"
    path.write_bytes(content)
    return path


def test_a_dump_comes_back_whole(script: ModuleType, store: Any, tmp_path: Path) -> None:
    script.main(["upload", str(dump(tmp_path))])
    script.main(["download", str(tmp_path / "back"), ""])
    assert (tmp_path / "back").read_bytes() == b"a dump"


def test_the_newest_is_the_default_and_names_choose(script: ModuleType, store: Any, tmp_path: Path) -> None:
    for day in ("2026-01-02", "2026-01-03", "2026-01-01"):
        store.put_object(Bucket=BUCKET, Key=f"mlflow/{day}T00-00-00Z.dump", Body=day.encode())
    script.main(["download", str(tmp_path / "newest")])
    script.main(["download", str(tmp_path / "named"), "2026-01-01T00-00-00Z.dump"])
    assert (tmp_path / "newest").read_text() == "2026-01-03"
    assert (tmp_path / "named").read_text() == "2026-01-01"
    with pytest.raises(SystemExit, match=r"no such dump; there are 2026-01-01T00-00-00Z\.dump, "):
        script.main(["download", str(tmp_path / "none"), "2025-01-01T00-00-00Z.dump"])


def test_old_dumps_go_but_never_the_newest_nor_other_files(
    script: ModuleType, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mlflow/2020-01-01T00-00-00Z.dump", "mlflow/README", "elsewhere/2020-01-01T00-00-00Z.dump"):
        store.put_object(Bucket=BUCKET, Key=name, Body=b"old")

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(UTC) + timedelta(days=31)

    monkeypatch.setattr(script, "datetime", Later)  # all that is stored is 31 days old now
    script.main(["upload", str(dump(tmp_path))])
    left = keys(store)
    assert "mlflow/2020-01-01T00-00-00Z.dump" not in left
    assert {"mlflow/README", "elsewhere/2020-01-01T00-00-00Z.dump"} < set(left)
    assert len(left) == 3


def test_an_empty_dump_is_refused(script: ModuleType, store: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="pg_dump wrote nothing"):
        script.main(["upload", str(dump(tmp_path, b""))])
    assert keys(store) == []


def test_a_damaged_dump_is_refused(script: ModuleType, store: Any, tmp_path: Path) -> None:
    script.main(["upload", str(dump(tmp_path))])
    (key,) = keys(store)
    digest = store.head_object(Bucket=BUCKET, Key=key)["Metadata"]
    store.put_object(Bucket=BUCKET, Key=key, Body=b"a dumb", Metadata=digest)
    with pytest.raises(SystemExit, match="is damaged"):
        script.main(["download", str(tmp_path / "back")])


def test_an_empty_bucket_says_so(script: ModuleType, store: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no dump"):
        script.main(["download", str(tmp_path / "back")])
