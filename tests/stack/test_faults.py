"""Runs on PostgreSQL and S3 while their servers fail, and two runs on one model at once."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from aelif.artifacts import read_json
from aelif_pipelines.display import EventTail
from aelif_pipelines.servers import MLFLOW, S3, Stack
from aelif_pipelines.stack import start, status

Begin = Callable[..., subprocess.Popen[str]]

pytestmark = pytest.mark.e2e


@pytest.fixture
def stack(stack_folder: Path) -> Stack:
    stack = status(stack_folder)
    assert stack is not None
    return stack


def arguments(stack: Stack, output: Path, *, name: str, steps: int = 4) -> list[str]:
    return [
        "run", "retrain", "--smoke", "--variants", "baseline", "--output", str(output),
        "--tracking-uri", stack.tracking_uri, "--experiment", name, "--set", f"gate.model_name={name}",
        "--set", f"train.steps={steps}", "--set", "train.method=lora",
    ]  # fmt: skip


def kill(stack: Stack, name: str) -> None:
    program = stack.servers[name].program
    assert program is not None
    assert program.end(sign=signal.SIGKILL, grace_s=10) >= 1


def wait_for(run: subprocess.Popen[str], output: Path, seen: Callable[[dict[str, Any]], bool]) -> None:
    """Return once the run has told an event of that kind."""
    deadline, path = time.monotonic() + 300, output / "work" / "events.jsonl"
    while not (path.exists() and any(map(seen, EventTail(path).new_events()))):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)


def finish(run: subprocess.Popen[str]) -> tuple[int, str]:
    text, _ = run.communicate(timeout=600)
    return run.returncode, " ".join(text.split())


def runs_of(stack: Stack, name: str) -> list[Run]:
    client = MlflowClient(stack.tracking_uri)
    experiment = client.get_experiment_by_name(name)
    return client.search_runs([experiment.experiment_id], max_results=500)


def test_mlflow_killed_while_a_model_trains_loses_nothing(aelif: Begin, stack: Stack, tmp_path: Path):
    steps, output = 60, tmp_path / "run"
    run = aelif(*arguments(stack, output, name="killed", steps=steps))
    wait_for(run, output, lambda event: event["step"] == "train" and event["event"] == "progress")
    kill(stack, MLFLOW)
    try:
        # Training does not wait for the server: the rest of it happens without.
        wait_for(run, output, lambda event: event["step"] == "train" and event["event"] == "end")
    finally:
        start(stack.folder)
    code, text = finish(run)
    assert code == 0, text
    runs = runs_of(stack, "killed")
    assert {found.info.status for found in runs} == {"FINISHED"}
    (trial,) = [found for found in runs if found.info.run_name == "baseline/seed=0"]
    client = MlflowClient(stack.tracking_uri)
    for metric in ("train/loss", "train/learning_rate"):
        told = Counter(point.step for point in client.get_metric_history(trial.info.run_id, metric))
        assert told == Counter(range(1, steps + 1)), metric
    assert str(client.get_model_version_by_alias("killed", "champion").version) == "1"
    assert not list((output / "work" / "spool").glob("[0-9]*.jsonl")), "everything was sent"


def test_s3_refusing_is_told_and_the_same_command_goes_on(aelif: Begin, stack: Stack, tmp_path: Path):
    output = tmp_path / "run"
    command = arguments(stack, output, name="refused")
    run = aelif(*command)
    wait_for(run, output, lambda event: event["step"] == "report" and event["event"] == "start")
    kill(stack, S3)
    try:
        code, text = finish(run)
    finally:
        start(stack.folder)
    assert code == 1, text
    assert "error: register: artifact store" in text
    assert "run the same command again" in text
    kept = Path(text.partition("the local copy is kept in ")[2].split(" ")[0])
    assert kept.exists(), text
    assert {"summary.json", "report.html", "scores.parquet", "images"} <= {path.name for path in output.iterdir()}
    assert read_json(output / "summary.json")["verdict"]["action"] == "promote"
    (parent,) = [found for found in runs_of(stack, "refused") if "mlflow.parentRunId" not in found.data.tags]
    assert parent.info.status == "FAILED"
    assert "artifact store" in parent.data.tags["failure.cause"]
    code, text = finish(aelif(*command))
    assert code == 0, text
    assert "refused version 1" in text
    steps = {event["step"] for event in EventTail(output / "work" / "events.jsonl").new_events()}
    assert "train" not in steps, "finished steps are reused"
    client = MlflowClient(stack.tracking_uri)
    held = client.get_model_version_by_alias("refused", "champion")
    files = {item.path for item in client.list_artifacts(held.run_id, "model")}
    assert files, "the model lies in the object store"


def test_two_retrains_at_once_leave_one_champion(aelif: Begin, stack: Stack, tmp_path: Path):
    """Both find no champion; the second to arrive was not measured against the first, so it waits for a person."""
    runs = [aelif(*arguments(stack, tmp_path / f"run-{steps}", name="twins", steps=steps)) for steps in (4, 5)]
    ended = [finish(run) for run in runs]
    assert [code for code, _ in ended] == [0, 0], ended
    client = MlflowClient(stack.tracking_uri)
    versions = client.search_model_versions("name = 'twins'")
    assert sorted(str(version.version) for version in versions) == ["1", "2"]
    held = client.get_model_version_by_alias("twins", "champion")
    other = client.get_model_version_by_alias("twins", "challenger")
    assert {str(held.version), str(other.version)} == {"1", "2"}
    verdicts = {str(version.version): version.tags["gate.verdict"] for version in versions}
    assert verdicts == {str(held.version): "passed", str(other.version): "waiting"}
    assert {found.info.status for found in runs_of(stack, "twins")} == {"FINISHED"}
