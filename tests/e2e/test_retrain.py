"""`aelif run retrain` on a store that is a file: first run, nothing new, a challenger that was measured beside it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from aelif.artifacts import read_json, read_table, score_schema
from aelif_pipelines.display import EventTail

NAME = "aelif-test"


def run(output: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from aelif_pipelines.cli import main; main()"
    templates = 'prompts.templates=["a photo of {subject}", "an image of {subject}"]'
    flags = ["--smoke", "--output", str(output), "--variants", "baseline", "--set", f"gate.model_name={NAME}",
             "--set", "train.method=lora", "--set", templates]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        [sys.executable, "-c", code, "run", "retrain", *flags, *arguments], capture_output=True, text=True,
        env={**environment, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
    )  # fmt: skip


@dataclass(frozen=True)
class Story:
    output: Path
    client: MlflowClient
    first: subprocess.CompletedProcess[str]
    again: subprocess.CompletedProcess[str]
    again_steps: set[str]
    rival: subprocess.CompletedProcess[str]

    def champion(self) -> str:
        return str(self.client.get_model_version_by_alias(NAME, "champion").version)

    def run_of(self, key: str, value: str):
        experiment = self.client.get_experiment_by_name("aelif").experiment_id
        return self.client.search_runs([experiment], f"tags.`{key}` = '{value}'")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    output = tmp_path_factory.mktemp("retrain") / "run"
    first = run(output)
    assert first.returncode == 0, first.stdout + first.stderr + (output / "run.log").read_text()[-4000:]
    again = run(output)
    steps = {event["step"] for event in EventTail(output / "work" / "events.jsonl").new_events()}
    rival = run(output, "--set", "train.steps=5")
    client = MlflowClient(f"sqlite:///{output.parent / 'mlflow.db'}")
    return Story(output, client, first, again, steps, rival)


def test_the_first_model_is_champion(story: Story):
    assert f"{NAME}: version 1 is champion" in story.first.stdout
    assert story.client.get_model_version(NAME, "1").tags["gate.verdict"] == "passed"


def test_nothing_new_ends_early_and_says_why(story: Story):
    assert story.again.returncode == 0, story.again.stdout + story.again.stderr
    assert "Nothing to do" in story.again.stdout
    assert "version 1 is champion" in story.again.stdout
    assert not {"train", "synthesize", "perturb"} & story.again_steps
    (unchanged,) = story.run_of("gate.verdict", "unchanged")
    assert unchanged.info.status == "FINISHED"


def test_the_champion_is_measured_beside_the_rival(story: Story):
    assert story.rival.returncode == 0, story.rival.stdout + story.rival.stderr
    summary = read_json(story.output / "summary.json")
    assert summary["champion"]["version"] == "1"
    assert summary["verdict"]["against"] == "1"
    rows = read_table(story.output / "scores.parquet", score_schema())
    assert {row["variant"] for row in rows} == {"baseline", "champion@1"}
    prompts = [{row["prompt"] for row in rows if row["variant"] == name} for name in ("baseline", "champion@1")]
    assert prompts[0] == prompts[1]


def test_the_verdict_is_the_registrys(story: Story):
    verdict = read_json(story.output / "summary.json")["verdict"]
    rival = story.client.get_model_version(NAME, "2")
    assert rival.tags["gate.verdict"] == ("passed" if verdict["action"] == "promote" else "rejected")
    assert story.champion() == ("2" if verdict["action"] == "promote" else "1")
    assert rival.tags["gate.against"] == "1"


def test_the_champion_stands_as_it_was_measured_before(story: Story):
    """Same prompts, noise and scorer: what is measured again as champion has the figures of its own trial."""
    rows = read_table(story.output / "scores.parquet", score_schema())
    own = [row for row in rows if row["variant"] == "champion@1" and row["metric"] == "w1"]
    clean = [row["value"] for row in own if row["prompt_set"] == "clean"]
    (held,) = story.run_of("model.version", f"{NAME}/1")[-1:]
    assert story.client.get_run(held.info.run_id).data.metrics["baseline/clean"] == pytest.approx(
        sum(clean) / len(clean), abs=1e-9
    )
