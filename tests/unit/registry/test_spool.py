"""The spool against a real store: each thing is told once, in order, whatever went wrong between."""

import contextlib
import json
import threading
import time

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from aelif.progress import append_lines
from aelif.registry import sending
from aelif.registry.spool import (
    SET_ASIDE,
    begin_file,
    flush,
    offset_of,
    pending,
    send,
    sending_alone,
    set_offset,
    store_key,
)
from aelif.registry.tracking import close, close_by_status, open_parent

from .small_run import SETTINGS, TRIALS

TRIAL = "aelif_mask:0.3/seed=0"
NOWHERE = {"tracking_uri": "http://127.0.0.1:9", "experiment": "aelif", "artifact_location": ""}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AELIF_SPOOL", str(tmp_path / "spool"))
    return tmp_path / "spool"


def begin(folder, tracking, step="train", label=TRIAL, **more):
    return begin_file(folder, tracking, "job-1", kind="begin", step=step, label=label, **more)


def metric(step, value, name="train/loss"):
    return {"kind": "metrics", "step": step, "values": {name: value}}


def end(step="train", state="FINISHED", cause=""):
    return {"kind": "end", "step": step, "given": "", "state": state, "cause": cause, "duration_s": 1.5}


def runs(client):
    return {run.data.tags["kfp.step"]: run for run in client.search_runs(["1"])}


def history(client, run, name="train/loss"):
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def deliver(folder, tracking):
    return send(folder, tracking, patience_s=5)


def test_training_goes_to_the_trials_run_and_other_steps_below_it(tracking, client, folder):
    open_parent(tracking, "job-1", settings=SETTINGS, trials=TRIALS, code_version="c")
    append_lines(begin(folder, tracking), [metric(1, 0.5), metric(2, 0.25), end()])
    append_lines(begin(folder, tracking, "synthesize", f"{TRIAL}/shard=1", params={"shard": 1}), [end("synthesize")])
    append_lines(begin(folder, tracking, "report", ""), [end("report", "FAILED", "no room")])

    began_before_sending = time.time_ns() // 1_000_000 + 1
    sent = deliver(folder, tracking)

    assert (sent.lines, sent.left, sent.fault) == (8, 0, "")
    found = runs(client)
    trial, shard, report = (found[name] for name in (f"trial {TRIAL}", f"synthesize {TRIAL}/shard=1", "report"))
    assert (history(client, trial), trial.info.status) == ([(1, 0.5), (2, 0.25)], "RUNNING")
    assert trial.data.metrics["train/duration_s"] == 1.5
    assert shard.info.start_time < began_before_sending
    assert shard.data.tags["mlflow.parentRunId"] == trial.info.run_id
    assert (shard.info.status, shard.data.params, shard.info.run_name) == (
        "FINISHED", {"shard": "1"}, f"synthesize {TRIAL}/shard=1",
    )  # fmt: skip
    assert report.data.tags["mlflow.parentRunId"] == found["pipeline"].info.run_id
    assert (report.info.status, report.data.tags["failure.cause"]) == ("FAILED", "no room")


def test_what_was_sent_is_gone_and_sent_no_more(tracking, client, folder):
    path = begin(folder, tracking)
    append_lines(path, [metric(1, 0.5)])
    assert deliver(folder, tracking).lines == 2
    assert deliver(folder, tracking).lines == 0
    append_lines(path, [metric(2, 0.4), end()])
    assert deliver(folder, tracking).lines == 2
    assert [file.name for file in folder.iterdir()] == [".lock"]
    assert history(client, runs(client)[f"trial {TRIAL}"]) == [(1, 0.5), (2, 0.4)]


@pytest.mark.parametrize("call", ["log_batch", "create_run", "update_run"])
def test_a_crash_at_any_point_doubles_nothing(tracking, client, folder, monkeypatch, call):
    append_lines(begin(folder, tracking, "score"), [metric(step, step / 10, "x") for step in range(5)])
    original = getattr(MlflowClient, call)

    def crash(self, *arguments, **named):
        original(self, *arguments, **named)
        raise KeyboardInterrupt  # after the write

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, call, crash)
        with contextlib.suppress(KeyboardInterrupt):
            deliver(folder, tracking)
    deliver(folder, tracking)
    own = runs(client)[f"score {TRIAL}"]
    assert history(client, own, "x") == [(step, step / 10) for step in range(5)]
    assert len(client.search_runs(["1"])) == 3


def test_a_crash_before_the_offset_is_noted_doubles_nothing(tracking, client, folder):
    path = begin(folder, tracking)
    append_lines(path, [metric(1, 0.5), metric(2, float("nan"))])
    deliver(folder, tracking)
    set_offset(path, 0)
    deliver(folder, tracking)
    assert len(history(client, runs(client)[f"trial {TRIAL}"])) == 2


def test_a_second_attempt_tells_only_what_is_new(tracking, client, folder):
    append_lines(begin(folder, tracking), [metric(1, 0.5), metric(2, 0.25), end(state="FAILED", cause="power cut")])
    deliver(folder, tracking)
    assert runs(client)[f"trial {TRIAL}"].info.status == "FAILED"
    path = begin(folder, tracking)
    append_lines(path, [metric(2, 0.25)])
    deliver(folder, tracking)
    append_lines(path, [metric(3, 0.2), end()])
    deliver(folder, tracking)
    run = runs(client)[f"trial {TRIAL}"]
    assert history(client, run) == [(1, 0.5), (2, 0.25), (3, 0.2)]
    assert (run.info.status, run.data.tags.get("failure.cause")) == ("RUNNING", None)


def test_lines_that_are_none_are_set_aside(tracking, client, folder):
    path = begin(folder, tracking)
    with path.open("ab") as file:
        file.write(b'{"kind": "metr\n{"kind": "metrics", "time": 1, "step": 1, "values": {"x": "much"}}\n[1]\n')
    append_lines(path, [metric(1, 0.5), end()])
    sent = deliver(folder, tracking)
    assert len(sent.set_aside) == 3
    assert history(client, runs(client)[f"trial {TRIAL}"]) == [(1, 0.5)]
    assert [json.loads(line)["reason"] for line in (folder / SET_ASIDE).read_text().splitlines()] == [
        "it is no record"
    ] * 3


def test_what_mlflow_refuses_is_set_aside_and_the_rest_told(tracking, client, folder):
    points = [metric(step, step / 10) for step in range(9)] + [metric(9, 1.0, "bad<name>"), metric(9, 0.9)]
    append_lines(begin(folder, tracking, params={"a": 1}), [*points, end()])
    append_lines(begin(folder, tracking, params={"a": 2}), [end()])  # MLflow keeps the first value
    sent = deliver(folder, tracking)
    assert sent.left == 0
    assert len(sent.set_aside) == 2
    assert "bad<name>" in sent.set_aside[0] + (folder / SET_ASIDE).read_text()
    assert "Changing param values" in sent.set_aside[1]
    assert len(history(client, runs(client)[f"trial {TRIAL}"])) == 10


def test_a_file_that_mlflow_refuses_holds_up_no_other(tracking, client, folder):
    lost = begin_file(folder, tracking, "it's", kind="begin", step="train", label="")
    append_lines(begin(folder, tracking), [metric(1, 0.5), end()])
    sent = deliver(folder, tracking)
    assert (sent.left, offset_of(lost)) == (1, 0)
    assert "run_key" in sent.fault
    assert history(client, runs(client)[f"trial {TRIAL}"]) == [(1, 0.5)]


def test_an_absent_server_leaves_all(folder):
    append_lines(begin(folder, NOWHERE), [metric(1, 0.5), end()])
    begin(folder, NOWHERE, "score")
    sent = send(folder, NOWHERE, patience_s=0)
    assert (sent.lines, sent.left) == (0, 2)
    assert "Connection refused" in sent.fault
    assert len(pending(folder, store_key(NOWHERE))) == 2


def test_a_server_that_goes_between_two_requests_leaves_the_rest(tracking, client, folder, monkeypatch):
    append_lines(begin(folder, tracking), [metric(1, 0.5), end()])

    def gone(*_arguments, **_named):
        raise MlflowException("API request to http://x/log-batch failed with exception Max retries exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(sending.MlflowClient, "log_batch", gone)
        assert send(folder, tracking, patience_s=0).left == 1
    assert deliver(folder, tracking).left == 0
    assert history(client, runs(client)[f"trial {TRIAL}"]) == [(1, 0.5)]


def test_what_is_meant_for_another_store_stays(tracking, client, folder):
    append_lines(begin(folder, NOWHERE), [end()])
    assert deliver(folder, tracking).lines == 0
    assert client.search_runs(["0"]) == []


def test_one_sends_at_a_time(tracking, folder):
    begin(folder, tracking)
    with sending_alone(folder, wait_s=0) as alone:
        assert alone
        assert send(folder, tracking, patience_s=1).left == 1
        release = threading.Timer(0.3, lambda: None)
        release.start()
    assert send(folder, tracking, patience_s=5, wait_s=5).lines == 1


def test_a_spool_that_does_not_exist(tracking, folder, monkeypatch):
    assert deliver(folder, tracking).lines == 0
    monkeypatch.delenv("AELIF_SPOOL")
    assert flush(tracking, patience_s=1).lines == 0


def test_a_line_that_is_being_written_waits(tracking, client, folder):
    path = begin(folder, tracking)
    with path.open("ab") as file:
        file.write(b'{"kind": "metrics", "time": 5, "step": 1, ')
        file.flush()
        assert deliver(folder, tracking).lines == 1
        file.write(b'"values": {"train/loss": 2.5}}\n')
    assert deliver(folder, tracking).lines == 1
    assert history(client, runs(client)[f"trial {TRIAL}"]) == [(1, 2.5)]


def test_a_run_that_begins_and_ends_without_a_server_is_told_later(tracking, client, folder, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr("aelif.registry.tracking.OPENING_PATIENCE_S", 0)
        assert open_parent(NOWHERE, "job-1", settings=SETTINGS, trials=TRIALS, code_version="c") == ""
        append_lines(begin(folder, NOWHERE), [metric(1, 0.5), end(state="FAILED", cause="not finite")])
        facts = close_by_status(NOWHERE, "job-1", state="FAILED", message="not finite", patience_s=0)
    assert (facts["state"], facts["cause"], facts["run_id"]) == ("FAILED", "not finite", "")
    assert capsys.readouterr().out.count("warning") == 2
    monkeypatch.setattr("aelif.registry.spool.store_key", lambda _: store_key(NOWHERE))  # it is back, elsewhere

    assert send(folder, tracking, patience_s=5).left == 0

    found = runs(client)
    assert len(found) == 4
    assert {run.info.status for run in found.values()} == {"FAILED"}
    assert found["pipeline"].data.params["train.steps"] == "300"
    assert found["pipeline"].data.tags["failure.cause"] == "not finite"
    assert history(client, found[f"trial {TRIAL}"]) == [(1, 0.5)]


def test_kubeflows_own_run_is_the_steps(tracking, client, folder, monkeypatch):
    experiment = client.create_experiment("from-kubeflow")
    outer = client.create_run(experiment).info.run_id
    inner = client.create_run(experiment, tags={"mlflow.parentRunId": outer}).info.run_id
    monkeypatch.setenv("MLFLOW_RUN_ID", inner)
    path = begin(folder, tracking)
    monkeypatch.delenv("MLFLOW_RUN_ID")  # another step sends it
    append_lines(path, [metric(1, 0.5), {**end(), "given": inner}])
    assert deliver(folder, tracking).left == 0
    run = client.get_run(inner)
    assert (history(client, run), run.info.status) == ([(1, 0.5)], "RUNNING")  # Kubeflow ends it
    assert run.data.tags["kfp.step"] == f"train {TRIAL}"
    assert len(client.search_runs([experiment])) == 2


def test_a_step_that_an_interrupted_run_left_behind_ends_as_the_run_did(tracking, client, folder):
    open_parent(tracking, "job-1", settings=SETTINGS, trials=TRIALS, code_version="c")
    for step in ("train", "score"):
        append_lines(begin(folder, tracking, step), [metric(1, 0.5)])  # killed: it says no more
    close(tracking, "job-1", state="KILLED", cause="interrupted")
    assert deliver(folder, tracking).lines == 4
    assert {run.info.status for run in runs(client).values()} == {"KILLED"}
    assert history(client, runs(client)[f"trial {TRIAL}"]) == [(1, 0.5)]
