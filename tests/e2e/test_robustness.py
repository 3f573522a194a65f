"""The whole pipeline, for real, on the miniatures: `aelif run smoke` as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from aelif.artifacts import read_json, read_table, score_schema
from aelif_pipelines.display import EventTail

VARIANTS = ["baseline", "aelif_noise_conv", "string_augmentation"]
INTERVAL = {"value", "low", "high"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from aelif_pipelines.cli import main; main()", *arguments]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(command("run", *arguments), capture_output=True, text=True, env=environment)


def events_of(output: Path) -> list[dict]:
    return EventTail(output / "work" / "events.jsonl").new_events()


def parents(store: Path) -> list:
    client = MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("aelif")
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    return [found for found in runs if "mlflow.parentRunId" not in found.data.tags]


@dataclass(frozen=True)
class Finished:
    output: Path
    first: subprocess.CompletedProcess[str]
    first_events: list[dict]
    again: subprocess.CompletedProcess[str]
    again_events: list[dict]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    output = tmp_path_factory.mktemp("python3-outputs") / "smoke"  # "python3" in a path trips kfp up
    first = run("smoke", "--output", str(output))
    assert first.returncode == 0, first.stdout + first.stderr + (output / "run.log").read_text()[-4000:]
    first_events = events_of(output)
    again = run("smoke", "--output", str(output))
    return Finished(output, first, first_events, again, events_of(output))


def test_every_promised_file_is_there(finished: Finished):
    output = finished.output
    for name in ("summary.json", "scores.parquet", "prompts.parquet", "worst.parquet", "report.html", "run.log",
                 "../mlflow.db"):  # fmt: skip
        assert (output / name).stat().st_size > 0
    assert len(list((output / "images").glob("*/seed-0/*.png"))) >= 3 * 2 * 2
    assert sorted(path.name for path in (output / "images").iterdir()) == [
        "aelif_noise_conv-0.1", "baseline", "string_augmentation-0.2@class_prompts=false",
    ]  # fmt: skip


def test_the_summary_is_schema_2(finished: Finished):
    summary = read_json(finished.output / "summary.json")
    assert summary["schema"] == 2
    assert list(summary["variants"]) == VARIANTS
    for name, scores in summary["variants"].items():
        wanted = {"clean", "perturbed"} | ({"improvement_plain", "improvement_excess"} if name != "baseline" else set())
        assert wanted <= scores.keys()
        assert all(set(scores[key]) == INTERVAL for key in wanted)
        for prompts in ("clean", "perturbed"):
            interval = scores[prompts]
            assert 0 < interval["value"] < 2
            assert interval["low"] is None or interval["low"] <= interval["value"] <= interval["high"]
    assert set(summary["noise_floor"]) == INTERVAL
    assert summary["seeds"] == [0]
    assert set(summary["verdict"]) >= {"champion", "reasons"}
    assert set(summary["timings"]) == {"total_s", "orchestration_s", "steps_s"}
    assert 0 < summary["timings"]["orchestration_s"] < summary["timings"]["total_s"]
    assert {"torch", "kfp", "mlflow", "aelif"} <= summary["versions"].keys()
    assert {"photos", "base_model", "prompts", "code"} <= summary["digests"].keys()


def test_scores_hold_every_trial_and_prompt(finished: Finished):
    rows = read_table(finished.output / "scores.parquet", score_schema())
    assert {row["variant"].split(":")[0] for row in rows} == set(VARIANTS)
    assert {row["prompt_set"] for row in rows} == {"clean", "perturbed", "out_of_distribution", "class", "stress"}


def test_the_terminal_shows_verdict_table_and_where_to_look(finished: Finished):
    text = finished.first.stdout
    assert "Verdict:" in text
    assert all(name in text for name in [*VARIANTS, "noise floor", "report.html", "summary.json", "aelif ui"])
    assert "Ephemeral" not in text
    assert "KFP" not in text, "the executor's noise belongs in the log"


def test_mlflow_saw_the_run_finish_with_a_child_for_each_trial(finished: Finished):
    client = MlflowClient(f"sqlite:///{finished.output.parent / 'mlflow.db'}")
    first, again = parents(finished.output.parent)
    assert [first.info.status, again.info.status] == ["FINISHED", "FINISHED"]
    query = f"tags.`mlflow.parentRunId` = '{first.info.run_id}'"
    children = client.search_runs([first.info.experiment_id], query)
    assert all(child.info.status == "FINISHED" for child in children)
    trials = [child for child in children if "variant" in child.data.params]
    assert len(trials) == 3
    assert {"perturb_prompts", "compare", "register"} < {child.info.run_name for child in children}
    below = client.search_runs([first.info.experiment_id], f"tags.`mlflow.parentRunId` = '{trials[0].info.run_id}'")
    assert {"synthesize", "embed", "score"} <= {step.info.run_name.split()[0] for step in below}
    champion = read_json(finished.output / "summary.json")["verdict"]["champion"]
    assert champion is not None
    held = client.get_model_version_by_alias("aelif-smoke", "champion")
    assert held.tags["weights.sha256"]


def test_a_second_run_reuses_what_did_not_change(finished: Finished):
    assert finished.again.returncode == 0, finished.again.stdout + finished.again.stderr
    steps = {event["step"] for event in finished.again_events}
    assert steps <= {"open_run", "read_inputs", "deliver_results", "register", "close_run"}


@pytest.mark.parametrize(
    ("recipe", "method", "weights"),
    [
        ("smoke", "lora", "pytorch_lora_weights.safetensors"),
        ("smoke-sd3", "lora", "pytorch_lora_weights.safetensors"),
        ("smoke-sd3", "full", "transformer/diffusion_pytorch_model.safetensors"),
    ],
)
def test_both_miniatures_run_by_lora_and_whole(tmp_path: Path, recipe: str, method: str, weights: str):
    output, rival = tmp_path / "run", "typo_shift:0.5+aelif_mask:0.1-0.3"
    done = run(recipe, "--output", str(output), "--variants", f"baseline,{rival}", "--set", f"train.method={method}",
               "--set", "train.validate_every=2")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr + (output / "run.log").read_text()[-4000:]
    assert len(list((output / "work" / "steps").glob(f"**/train-dreambooth*/model/{weights}"))) == 2
    assert {row["variant"] for row in read_table(output / "scores.parquet", score_schema())} == {"baseline", rival}
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (trial,) = client.search_runs([parents(tmp_path)[0].info.experiment_id], f"params.variant = '{rival}'")
    painted = [image.path for image in client.list_artifacts(trial.info.run_id, "images")]
    assert {name.partition("+timestamp")[0] for name in painted} == {
        f"images/validation~00-{image:02d}+step+{step}" for image in (0, 1) for step in (2, 4)
    }


def test_an_interrupted_run_stops_cleanly_and_goes_on_from_its_checkpoint(tmp_path: Path):
    output = tmp_path / "smoke"
    flags = ["smoke", "--output", str(output), "--variants", "baseline", "--set", "train.steps=60",
             "--set", "train.checkpoint_every=5"]  # fmt: skip
    process = subprocess.Popen(
        command("run", *flags), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # background jobs ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 180
    tail, trained = EventTail(output / "work" / "events.jsonl"), 0
    while trained < 12 and time.monotonic() < deadline and process.poll() is None:
        trained = max([trained, *(e["done"] for e in tail.new_events() if e["step"] == "train" and "done" in e)])
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "the same command goes on" in text
    assert "Traceback" not in text
    assert parents(tmp_path)[0].info.status == "KILLED"

    again = run(*flags)
    assert again.returncode == 0, again.stdout + again.stderr
    steps = [event["done"] for event in events_of(output) if event["step"] == "train" and "done" in event]
    assert min(steps) >= 10, "it must not start over"
    assert not any(event["step"] == "prepare_data" for event in events_of(output))


def test_a_failing_step_names_itself_its_cause_and_the_log(tmp_path: Path):
    output = tmp_path / "smoke"
    done = run("smoke", "--output", str(output), "--set", "score.scorer=nowhere/clip")
    assert done.returncode == 1
    assert "nowhere/clip" in done.stderr
    assert "run.log" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Traceback" in (output / "run.log").read_text()
    failed = parents(tmp_path)[0]
    assert failed.info.status == "FAILED"
    assert "nowhere/clip" in json.dumps(failed.data.tags)
