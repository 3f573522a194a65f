import json
import shutil

import pytest
from mlflow import MlflowClient

from aelif import __version__
from aelif.config import TrackingConfig
from aelif.registry.store import TrackingError
from aelif.registry.tracking import _facts, close, close_by_status, open_parent

from .small_run import SETTINGS, TRIALS, local_tracking


def open_it(tracking, run_key="job-1", settings=SETTINGS, trials=TRIALS, **more):
    return open_parent(tracking, run_key, settings=settings, trials=trials, code_version="c0de", **more)


def runs_of(client, key="job-1"):
    found = client.search_runs(["1"], f"tags.`kfp.run_id` = '{key}'")
    return {run.data.tags["kfp.step"]: run for run in found}


def test_a_run_says_what_it_is(tracking, client):
    run = client.get_run(open_it(tracking, settings={**SETTINGS, "git_sha": "abc123", "long": "x" * 7000}))

    assert run.info.status == "RUNNING"
    assert run.data.params["train.steps"] == "300"
    assert len(run.data.params["long"]) == 6000
    assert "git_sha" not in run.data.params
    tags = run.data.tags
    assert (tags["kfp.run_id"], tags["git.sha"], tags["code_version"]) == ("job-1", "abc123", "c0de")
    assert tags["aelif.version"] == __version__
    assert len(tags["params.long.sha256"]) == 64
    assert run.info.artifact_uri.startswith(tracking["artifact_location"])


def test_every_trial_is_a_run_below(tracking, client):
    parent = open_it(tracking)
    runs = runs_of(client)
    assert set(runs) == {"pipeline", *(f"trial {trial}" for trial in TRIALS)}
    child = runs["trial aelif_mask:0.3/seed=1"]
    assert child.data.tags["mlflow.parentRunId"] == parent
    assert child.data.params == {
        "variant": "aelif_mask:0.3",
        "augmentation": "aelif_mask",
        "magnitude": "0.3",
        "seed": "1",
    }


def test_magnitudes_are_told_as_the_variant_writes_them(tracking, client):
    composed = "string_augmentation:0.5+aelif_mask:0.1-0.3+cep:0to1/seed=0"
    open_it(tracking, trials=["baseline/seed=0", composed])
    params = {step: run.data.params for step, run in runs_of(client).items()}
    assert params[f"trial {composed}"]["augmentation"] == "string_augmentation+aelif_mask+cep"
    assert params[f"trial {composed}"]["magnitude"] == "0.5+0.1-0.3+0to1"
    assert params["trial baseline/seed=0"]["magnitude"] == "0"


def test_opening_twice_resumes(tracking, client):
    first = open_it(tracking)
    close(tracking, "job-1", state="FAILED", cause="power cut")
    assert open_it(tracking) == first
    assert len(runs_of(client)) == 4
    assert {run.info.status for run in runs_of(client).values()} == {"RUNNING"}


def test_another_key_is_another_run(tracking):
    assert open_it(tracking) != open_it(tracking, run_key="job-2", settings={"other": 1})


def test_a_run_does_not_change_its_settings(tracking):
    open_it(tracking)
    with pytest.raises(TrackingError, match=r"Changing param values is not allowed"):
        open_it(tracking, settings={"train": {"steps": 5}})


def test_a_run_key_without_quotes(tracking):
    with pytest.raises(ValueError, match="run_key"):
        open_it(tracking, run_key="it's")


@pytest.mark.parametrize("state", ["FINISHED", "FAILED", "KILLED"])
def test_closing_ends_parent_and_running_children(tracking, client, state):
    open_it(tracking)
    done = runs_of(client)["trial baseline/seed=0"].info.run_id
    client.set_terminated(done, "FINISHED")

    close(tracking, "job-1", state=state, cause="" if state == "FINISHED" else "why\nnot")

    runs = runs_of(client)
    assert runs["pipeline"].info.status == state
    assert runs["trial aelif_mask:0.3/seed=0"].info.status == state
    assert runs["trial baseline/seed=0"].info.status == "FINISHED"
    assert runs["pipeline"].data.tags.get("failure.cause") == (None if state == "FINISHED" else "why\nnot")


def test_a_success_after_a_failure_takes_the_cause_away(tracking, client):
    open_it(tracking)
    close(tracking, "job-1", state="FAILED", cause="power cut")
    open_it(tracking)
    close(tracking, "job-1", state="FINISHED", cause="")
    parent = runs_of(client)["pipeline"]
    assert parent.info.status == "FINISHED"
    assert "failure.cause" not in parent.data.tags


def test_a_failure_before_the_run_was_opened_is_seen(tracking, client):
    close(tracking, "job-9", state="FAILED", cause="no photos")
    run = runs_of(client, "job-9")["pipeline"]
    assert (run.info.status, run.data.tags["failure.cause"]) == ("FAILED", "no photos")


def test_other_executions_are_left_alone(tracking, client):
    open_it(tracking)
    open_it(tracking, run_key="job-2")
    close(tracking, "job-1", state="FAILED", cause="x")
    assert {run.info.status for run in runs_of(client, "job-2").values()} == {"RUNNING"}


@pytest.mark.parametrize(
    ("state", "complete", "expected", "cause"),
    [
        ("SUCCEEDED", False, "FINISHED", None),
        ("FAILED", False, "FAILED", "inner task failed"),
        ("CANCELLED", False, "KILLED", "inner task failed"),
        ("COMPLETE", False, "FINISHED", None),
        ("RUNNING", True, "FINISHED", None),
        ("FAILED", True, "FINISHED", None),
        ("RUNNING", False, "FAILED", "inner task failed"),
    ],
)
def test_kubeflows_states(tracking, client, state, complete, expected, cause):
    parent = open_it(tracking)
    if complete:
        client.set_tag(parent, "gate.verdict", "passed")
    close_by_status(tracking, "job-1", state=state, message="inner task failed")
    run = client.get_run(parent)
    assert (run.info.status, run.data.tags.get("failure.cause")) == (expected, cause)


def test_a_steps_own_report_names_the_cause(tracking, client, tmp_path, monkeypatch):
    events = tmp_path / "events.jsonl"
    lines = [
        {"step": "train", "label": "baseline/seed=0", "event": "start"},
        {"step": "train", "label": "baseline/seed=0", "event": "failed", "error": "loss is not finite"},
        {"step": "score", "label": "", "event": "failed", "error": "later"},
    ]
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("AELIF_EVENTS", str(events))
    close_by_status(tracking, "job-1", state="FAILED", message="Inner task failed: 'bad'")
    assert runs_of(client)["pipeline"].data.tags["failure.cause"] == "train baseline/seed=0: loss is not finite"


def test_the_pipelines_own_mlflow_run_is_used(tracking, client, monkeypatch):
    experiment = client.create_experiment("from-kubeflow")
    outer = client.create_run(experiment).info.run_id
    for step in ("open", "close"):
        inner = client.create_run(experiment, tags={"mlflow.parentRunId": outer}).info.run_id
        monkeypatch.setenv("MLFLOW_RUN_ID", inner)
        if step == "open":
            assert open_it(tracking) == outer
        else:
            close(tracking, "job-1", state="FINISHED", cause="")
    assert client.get_run(outer).info.status == "FINISHED"
    assert client.get_experiment_by_name("aelif") is None


def test_a_forgotten_run_id_is_told(tracking, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "f" * 32)
    with pytest.raises(TrackingError, match=r"no such run; unset it"):
        open_it(tracking)
    monkeypatch.delenv("MLFLOW_RUN_ID")
    monkeypatch.setenv("MLFLOW_RUN_ID", open_it(tracking))
    with pytest.raises(TrackingError, match=r"belongs to job-1, not job-2; unset it"):
        open_it(tracking, run_key="job-2")


def test_a_deleted_experiment_is_told(tracking, client):
    open_it(tracking)
    client.delete_experiment("1")
    with pytest.raises(TrackingError, match=r"experiment 'aelif' was deleted: restore it"):
        open_it(tracking, run_key="job-2")


def test_a_moved_folder_is_told(tracking, tmp_path):
    open_it(tracking)
    shutil.move(tmp_path / "outputs", tmp_path / "elsewhere")
    with pytest.raises(TrackingError, match=r"keeps its files in .*outputs.*move the folder back"):
        open_it(local_tracking(tmp_path / "elsewhere"), run_key="job-2")


def test_an_experiment_that_another_process_made_first(tracking, client, monkeypatch):
    original, calls = MlflowClient.get_experiment_by_name, []

    def late(self, name):
        calls.append(name)
        if len(calls) == 1:
            client.create_experiment(name, artifact_location=tracking["artifact_location"])
            return None
        return original(self, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", late)
    assert client.get_run(open_it(tracking)).info.experiment_id == "1"


def test_closing_returns_what_a_notice_says(tracking, client):
    parent = open_it(tracking)
    for name, value in {
        "gate.verdict": "passed",
        "gate.reasons": "it is better",
        "gate.against": "2",
        "trial": "baseline/seed=0",
        "model.version": "team/dog/3",
    }.items():
        client.set_tag(parent, name, value)
    assert close_by_status(tracking, "job-1", state="SUCCEEDED", message="") == {
        "state": "FINISHED",
        "model": "team/dog",
        "version": "3",
        "verdict": "passed",
        "reasons": "it is better",
        "trial": "baseline/seed=0",
        "against": "2",
        "run_id": parent,
        "run_url": "",
        "cause": "",
    }


def test_a_server_has_a_page_for_the_run(client, tracking):
    run = client.get_run(open_it(tracking))
    config = TrackingConfig(tracking_uri="https://user:secret@mlflow.example/base/")
    facts = _facts(config, run, state="FAILED", cause="x")
    assert facts["run_url"] == f"https://mlflow.example/base/#/experiments/1/runs/{run.info.run_id}"


def test_an_absent_server_without_a_spool_is_an_error(monkeypatch):
    monkeypatch.setattr("aelif.registry.tracking.OPENING_PATIENCE_S", 0)
    absent = {"tracking_uri": "http://127.0.0.1:9"}
    with pytest.raises(TrackingError, match="same command goes on from there"):
        open_it(absent)
    with pytest.raises(TrackingError, match="Connection refused"):
        close_by_status(absent, "job-1", state="FAILED", message="x", patience_s=0)


def test_a_refusal_is_no_absence(tracking, client, tmp_path, monkeypatch):
    monkeypatch.setenv("AELIF_SPOOL", str(tmp_path / "spool"))
    open_it(tracking)
    client.delete_experiment("1")
    with pytest.raises(TrackingError, match="was deleted"):
        open_it(tracking, run_key="job-2")
    assert not (tmp_path / "spool").exists()
