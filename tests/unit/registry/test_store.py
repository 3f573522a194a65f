import sqlite3
import threading
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from aelif.config import TrackingConfig
from aelif.registry import store
from aelif.registry.store import TrackingError, connect, create_database, describe, run_with_store


def database(tracking) -> str:
    return tracking["tracking_uri"].removeprefix("sqlite:///")


def test_a_fresh_database_is_whole_and_alone_in_its_folder(tmp_path):
    folder = tmp_path / "out puts ü 100%"
    config = TrackingConfig(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")

    client = connect(config)

    assert [path.name for path in folder.iterdir()] == ["mlflow.db"]
    assert client.search_experiments()[0].artifact_location.startswith((folder / "mlflow-artifacts").as_uri())


def test_an_interrupted_creation_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", interrupt)

    with pytest.raises(KeyboardInterrupt):
        create_database(tmp_path / "mlflow.db", artifact_root="")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_another_process_made_first_is_kept(tmp_path, monkeypatch, empty_database):
    path = tmp_path / "mlflow.db"

    class Slower:
        def __init__(self, uri, _root):
            fresh = uri.removeprefix("sqlite:///")
            Path(fresh).write_bytes(b"mine")
            path.write_bytes(b"theirs")
            self.engine = type("Engine", (), {"dispose": lambda self: None})()

    monkeypatch.setattr("mlflow.store.tracking.sqlalchemy_store.SqlAlchemyStore", Slower)
    create_database(path, artifact_root="")

    assert path.read_bytes() == b"theirs"


def test_a_lasting_lock_is_one_line_with_file_and_remedy(tracking):
    holder = sqlite3.connect(database(tracking))
    holder.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()

    with pytest.raises(TrackingError) as failure:
        run_with_store(tracking, lambda client, _: client.search_experiments(), patience_s=0.3)

    message = str(failure.value)
    assert time.monotonic() - began < 5
    assert database(tracking) in message
    assert "database is locked" in message
    assert "another program holds it" in message
    assert "\n" not in message
    holder.close()


def test_a_passing_lock_is_waited_for(tracking):
    holder = sqlite3.connect(database(tracking), check_same_thread=False)
    holder.execute("BEGIN EXCLUSIVE")
    threading.Timer(0.4, holder.rollback).start()

    found = run_with_store(tracking, lambda client, _: client.search_experiments(), patience_s=20)

    assert [experiment.name for experiment in found] == ["Default"]
    holder.close()


def test_an_action_that_meets_a_lock_is_repeated(tracking):
    attempts = []

    def action(_client, _config):
        attempts.append(1)
        if len(attempts) < 3:
            raise MlflowException("(sqlite3.OperationalError) database is locked\n[SQL: INSERT …]")
        return "done"

    assert run_with_store(tracking, action, patience_s=20) == "done"
    assert len(attempts) == 3


def test_other_errors_are_not_repeated(tracking):
    attempts = []

    def action(_client, _config):
        attempts.append(1)
        raise MlflowException("no such thing\nand a long story")

    with pytest.raises(TrackingError, match=r"no such thing$"):
        run_with_store(tracking, action, patience_s=20)
    assert len(attempts) == 1


def test_a_file_that_is_no_database(tracking):
    Path(database(tracking)).write_bytes(b"something else entirely" * 100)
    with pytest.raises(TrackingError, match="not a database; the file is something else"):
        run_with_store(tracking, lambda client, _: client.search_experiments(), patience_s=1)


def test_an_absent_server_is_told_soon():
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:9.*Connection refused.*the address"):
        run_with_store({"tracking_uri": "http://127.0.0.1:9"}, lambda *_: None, patience_s=0.5)


def test_a_full_disk_and_its_remedy():
    config = TrackingConfig(tracking_uri="sqlite:////data/mlflow.db")
    assert "free some space" in describe(config, OSError(28, "No space left on device", "/data/x"))
    assert "free some space" in describe(config, MlflowException("(sqlite3.OperationalError) database or disk is full"))


def test_passwords_stay_out_of_messages():
    config = TrackingConfig(tracking_uri="postgresql://aelif:secret@db/mlflow")
    assert "secret" not in describe(config, MlflowException("boom"))


def test_settings_are_checked():
    for uri, remedy in [
        ("./mlruns", "give an MLflow server"),
        ("file:///tmp/mlruns", "give an MLflow server"),
        ("sqlite:///mlflow.db", "four slashes"),
    ]:
        with pytest.raises(ValueError, match=remedy):
            run_with_store({"tracking_uri": uri}, lambda *_: None, patience_s=1)


def test_the_local_store_lies_in_its_folder(tmp_path):
    config = TrackingConfig.local(tmp_path)
    assert store.database_file(config) == tmp_path / "mlflow.db"
    assert store.artifact_root(config) == (tmp_path / "mlflow-artifacts").as_uri()
    assert store.artifact_root(TrackingConfig(tracking_uri=config.tracking_uri)) == config.artifact_location
    assert store.artifact_root(TrackingConfig(tracking_uri="https://mlflow")) is None


def test_the_client_is_mlflows(tracking):
    assert isinstance(connect(TrackingConfig(**tracking)), MlflowClient)
