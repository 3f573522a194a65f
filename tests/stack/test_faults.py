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
    registered = read_json(output / "summary.json")["registry"]
    assert (registered["version"], registered["outcome"]) == ("1", "promoted")
    steps = {event["step"] for event in EventTail(output / "work" / "events.jsonl").new_events()}
    assert "train" not in steps, "finished steps are reused"
    client = MlflowClient(stack.tracking_uri)
    held = client.get_model_version_by_alias("refused", "champion")
    files = {item.path for item in client.list_artifacts(held.run_id, "model")}
    assert files, "the model lies in the object store"


def test_two_retrains_at_once_leave_one_champion(aelif: Begin, stack: Stack, tmp_path: Path):
    """Both find no champion; whoever comes second was not measured against the first, and does not replace it."""
    outputs = [tmp_path / "run-4", tmp_path / "run-5"]
    commands = [arguments(stack, output, name="twins", steps=4 + number) for number, output in enumerate(outputs)]
    ended = [finish(run) for run in [aelif(*command) for command in commands]]
    client = MlflowClient(stack.tracking_uri)
    first = client.get_model_version_by_alias("twins", "champion")
    assert first.tags["gate.verdict"] == "passed"
    assert {str(version.version) for version in client.search_model_versions("name = 'twins'")} == {"1", "2"}
    losers = [number for number, (code, _) in enumerate(ended) if code != 0]
    if not losers:  # it saw the new champion in time, and waits for a person
        other = client.get_model_version_by_alias("twins", "challenger")
        assert other.tags["gate.verdict"] == "waiting"
        assert str(other.version) != str(first.version)
        return
    (loser,) = losers  # both looked before either moved the alias: this one moved nothing, and says what to do
    assert "nothing was moved, run again" in ended[loser][1]
    code, text = finish(aelif(*commands[loser]))
    assert code == 0, text
    again = read_json(outputs[loser] / "summary.json")
    assert again["verdict"]["against"] == str(first.version), "now it was measured beside the champion"
    held = str(client.get_model_version_by_alias("twins", "champion").version)
    promoted = again["verdict"]["action"] == "promote"
    assert held == (again["registry"]["version"] if promoted else str(first.version))
