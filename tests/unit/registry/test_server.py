import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from aelif.config import GateConfig
from aelif.registry.promote import champion, rollback
from aelif.registry.publish import publish
from aelif.registry.store import TrackingError
from aelif.registry.tracking import close, download_model, open_parent

from .small_run import SETTINGS, TRIALS, write_results

NAME = "aelif-miniature"


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
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=(folder / "log").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_for(uri, process, folder / "log")
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(uri: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.mark.e2e
def test_a_whole_life_over_http(server, tmp_path):
    tracking = {"tracking_uri": server, "experiment": "team/dogs", "artifact_location": ""}
    client = MlflowClient(tracking_uri=server)

    for number, salt in (("1", 0.0), ("2", 0.5)):
        results = write_results(tmp_path / f"results-{number}", salt=salt)
        for _ in range(2):  # every step twice, as a retried pod would
            open_parent(tracking, f"job-{number}", settings=SETTINGS, trials=TRIALS, code_version="c")
            gate = GateConfig(model_name=NAME)
            version = publish(tracking, f"job-{number}", results=results, gate=gate, code_version="c")
            assert version == f"{NAME}/{number}"
            close(tracking, f"job-{number}", state="FINISHED", cause="")

    runs = client.search_runs([client.get_experiment_by_name("team/dogs").experiment_id])
    assert len(runs) == 8
    assert {run.info.status for run in runs} == {"FINISHED"}
    folder = download_model(f"models:/{NAME}@champion", tmp_path / "model", tracking_uri=server)
    weights = "pytorch_lora_weights.safetensors"
    assert (folder / weights).read_bytes() == (results.models[TRIALS[2]] / weights).read_bytes()
    rollback(client, NAME, expect="2")
    assert str(champion(client, NAME).version) == "1"
    with pytest.raises(TrackingError, match="Changing param values"):
        open_parent(tracking, "job-1", settings={"train": {"steps": 1}}, trials=[], code_version="c")
