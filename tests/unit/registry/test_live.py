"""A step that tells MLflow how it goes: with a store, without one, and with a server that is killed meanwhile."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from mlflow import MlflowClient

from aelif.progress import StepProgress
from aelif.registry import live
from aelif.registry.live import execution_key, step_inputs, tracked_step
from aelif.registry.spool import flush, pending, store_key
from aelif.registry.tracking import open_parent

from .small_run import SETTINGS, TRIALS

TRIAL = "aelif_mask:0.3/seed=0"


@pytest.fixture
def spool(tmp_path, monkeypatch):
    monkeypatch.setenv("AELIF_SPOOL", str(tmp_path / "spool"))
    monkeypatch.setenv("AELIF_RUN_KEY", "job-1")
    monkeypatch.setattr(live, "LAST_PATIENCE_S", 1.0)
    return tmp_path / "spool"


@pytest.fixture
def stored(tracking, spool, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking["tracking_uri"])
    monkeypatch.setenv("AELIF_ARTIFACT_LOCATION", tracking["artifact_location"])
    return tracking


def runs(client, experiment="1"):
    return {run.data.tags["kfp.step"]: run for run in client.search_runs([experiment])}


def history(client, run, name="train/loss"):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_a_step_tells_what_it_does_while_it_does_it(stored, client, monkeypatch):
    monkeypatch.setattr(live, "Reporter", lambda **named: ORIGINAL(**named, interval_s=0.2))
    with tracked_step("train", TRIAL) as progress:
        progress.measure({1: {"train/loss": 0.5, "train/learning_rate": 1e-4}, 2: {"train/loss": 0.25}})
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            found = client.search_runs(["1"]) if client.get_experiment_by_name("aelif") else []
            if any("system/cpu_utilization_percentage" in run.data.metrics for run in found):
                break
            time.sleep(0.1)
        assert history(client, runs(client)[f"trial {TRIAL}"]) == [(1, 0.5), (2, 0.25)]
    metrics = runs(client)[f"trial {TRIAL}"].data.metrics
    assert {"system/system_memory_usage_megabytes", "system/disk_usage_percentage", "train/duration_s"} <= set(metrics)


ORIGINAL = live.Reporter


def test_pace_is_told(stored, client, monkeypatch):
    with tracked_step("synthesize", TRIAL) as progress:
        monkeypatch.setattr("aelif.progress._INTERVAL_S", {"events": 0, "lines": 0})
        for done in (1, 2, 3):
            progress.advance(done, 3, "images")
            time.sleep(0.01)
    run = runs(client)[f"synthesize {TRIAL}"]
    assert 0 < run.data.metrics["synthesize/images_per_second"] <= 100
    assert (run.info.status, run.data.tags["aelif.version"] != "") == ("FINISHED", True)


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError("no photos"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)  # fmt: skip
def test_a_failure_is_told_with_its_cause(stored, client, error, state):
    with pytest.raises(type(error)), tracked_step("prepare_data"):
        raise error
    run = runs(client)["prepare_data"]
    assert (run.info.status, run.data.tags["failure.cause"]) == (state, str(error) or "KeyboardInterrupt")


def test_a_retried_step_has_one_run(stored, client):
    for _ in range(2):
        with tracked_step("score", TRIAL):
            pass
    assert len(client.search_runs(["1"])) == 3


@pytest.mark.parametrize("missing", ["AELIF_SPOOL", "AELIF_RUN_KEY", "MLFLOW_TRACKING_URI"])
def test_without_an_address_a_step_just_works(stored, client, monkeypatch, missing):
    monkeypatch.delenv(missing)
    with tracked_step("train", TRIAL) as progress:
        progress.measure({1: {"train/loss": 0.5}})
    assert isinstance(progress, StepProgress)
    assert client.get_experiment_by_name("aelif") is None


def test_an_address_that_is_none_is_told_and_the_step_works(stored, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///mlruns")
    with tracked_step("train", TRIAL) as progress:
        progress.measure({1: {"train/loss": 0.5}})
    assert "this step is not tracked: tracking_uri" in capsys.readouterr().out


def test_a_full_disk_ends_the_metrics_not_the_step(stored, monkeypatch, capsys):
    def full(*_arguments):
        raise OSError(28, "No space left on device")

    with tracked_step("train", TRIAL) as progress:
        monkeypatch.setattr("aelif.progress.append_lines", full)
        progress.measure({1: {"train/loss": 0.5}})
        progress.measure({2: {"train/loss": 0.5}})
    assert capsys.readouterr().out.count("no longer recorded") == 1


def test_short_steps_of_one_machine_share_a_sending(stored, client, tmp_path, monkeypatch):
    events = tmp_path / "events.jsonl"
    events.write_text(json.dumps({"step": "open_run", "label": "job-7", "event": "start"}) + "\n")
    monkeypatch.delenv("AELIF_RUN_KEY")
    monkeypatch.setenv("AELIF_EVENTS", str(events))
    calls, original = [], live.send
    monkeypatch.setattr(live, "send", lambda *a, **k: calls.append(1) or original(*a, **k))
    for step in ("embed", "score", "gate"):
        with tracked_step(step):
            pass
    assert len(calls) == 1
    flush(stored, patience_s=5)
    assert {run.data.tags["kfp.run_id"] for run in client.search_runs(["1"])} == {"job-7"}
    assert {"embed", "score", "gate"} <= set(runs(client))


def test_the_execution_is_known_by_what_opened_it(tmp_path, monkeypatch):
    assert execution_key() == ""
    events = tmp_path / "events.jsonl"
    events.write_text('{"step": "read_inputs", "label": ""}\n{"step": "open_run", "label": "job-7"}\n')
    monkeypatch.setenv("AELIF_EVENTS", str(events))
    assert execution_key() == "job-7"
    monkeypatch.setenv("AELIF_RUN_KEY", "job-8")
    assert execution_key() == "job-8"


def test_inputs_come_from_kubeflows_command_line():
    inputs = {"trial": TRIAL, "train": {"steps": 3.0}, "tracking": {}, "code_version": "c"}
    text = json.dumps({"inputs": {"parameterValues": inputs}, "outputs": {}})
    assert step_inputs(["main", "--executor_input", text, "--function_to_execute", "f"]) == {
        "trial": TRIAL,
        "train": {"steps": 3.0},
    }
    assert step_inputs(["pytest", "-q"]) == {}


def test_nodes_keep_their_figures_apart(monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_NODE_ID", "node-1")
    machine = live.Machine()
    machine.look()
    assert all(name.startswith("system/node-1/") for name in machine.look()[2])


def test_importing_is_light():
    heavy = "{'torch', 'mlflow', 'pyarrow', 'matplotlib', 'sqlalchemy', 'requests', 'numpy'}"
    code = f"import sys, aelif.registry.live; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Server:
    """A real MLflow server on one port, which can be killed and started again."""

    def __init__(self, folder, database):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.uri = folder, f"http://127.0.0.1:{self.port}"
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(database.read_bytes())
        self.process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port),
                   "--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
                   "--artifacts-destination", str(self.folder / "files")]  # fmt: skip
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                assert self.process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.2)
        raise AssertionError((self.folder / "log").read_text())

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path, empty_database):
    server = Server(tmp_path / "server", empty_database)
    try:
        yield server
    finally:
        server.kill()


@pytest.mark.e2e
def test_a_server_that_dies_in_mid_step_and_comes_back_misses_nothing(server, spool, monkeypatch, capsys):
    tracking = {"tracking_uri": server.uri, "experiment": "aelif", "artifact_location": ""}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setattr(live, "Reporter", lambda **named: ORIGINAL(**named, interval_s=0.2))
    server.start()
    open_parent(tracking, "job-1", settings=SETTINGS, trials=TRIALS, code_version="c")
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name("aelif").experiment_id

    with tracked_step("train", TRIAL) as progress:
        progress.measure({step: {"train/loss": 1 / step} for step in range(1, 4)})
        wait_until(lambda: len(history(client, runs(client, experiment)[f"trial {TRIAL}"])) == 3)
        server.kill()
        began = time.monotonic()
        for step in range(4, 104):
            progress.measure({step: {"train/loss": 1 / step}})
        assert time.monotonic() - began < 2  # training does not wait
        time.sleep(1)
        server.start()
    with tracked_step("score", TRIAL):
        server.kill()  # away until after its end
    assert pending(spool, store_key(tracking))
    server.start()
    with tracked_step("report"):
        pass

    assert flush(tracking, patience_s=20).left == 0
    found = runs(client, experiment)
    assert history(client, found[f"trial {TRIAL}"]) == [(step, 1 / step) for step in range(1, 104)]
    assert found[f"score {TRIAL}"].info.status == found["report"].info.status == "FINISHED"
    assert len(found[f"trial {TRIAL}"].data.metrics) > 3
    assert len(client.search_runs([experiment])) == 1 + len(TRIALS) + 2
    assert capsys.readouterr().out.count("[train aelif_mask:0.3/seed=0] warning") == 1


def wait_until(condition, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
