"""A real MLflow store in a temporary folder."""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import event
from sqlalchemy.engine import Engine
from tests.servers import serving

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


@pytest.fixture
def server(tmp_path, empty_database):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(folder / "files")]
    uri = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with serving(command, folder, uri=uri, env=environment, patience_s=120):
        yield uri
