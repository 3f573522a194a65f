"""A real MLflow store in a temporary folder."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine

from aelif.registry.store import create_database

from .small_run import local_tracking


@pytest.fixture(autouse=True)
def _no_outside_run(monkeypatch):
    for name in ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "AELIF_EVENTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    def hurry(connection, _record):
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    create_database(path, artifact_root="")
    return path


@pytest.fixture
def tracking(tmp_path, empty_database) -> dict[str, str]:
    folder = tmp_path / "outputs"
    folder.mkdir()
    shutil.copyfile(empty_database, folder / "mlflow.db")
    return local_tracking(folder)


@pytest.fixture
def client(tracking) -> MlflowClient:
    return MlflowClient(tracking_uri=tracking["tracking_uri"])
