"""A run is checked without a server, then made once on a server that answers like Kubeflow's."""

import json
import re
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer.main
import yaml
from tests.pipelines.kfp_runs import Workflow
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.photos import PROMPTS
from typer.testing import CliRunner

from aelif_pipelines.cli import app
from aelif_pipelines.cluster import ClusterError
from aelif_pipelines.commands.options import console
from aelif_pipelines.commands.submit import CANCELED, INTERRUPTED, LOST
from aelif_pipelines.deployment import Deployment
from aelif_pipelines.package import compile_package
from aelif_pipelines.pods import MOST_PODS

GIVEN = (
    "smoke", "--instance-images", "s3://photos/backpack", *PROMPTS, "--tracking-uri", "http://mlflow:5000",
    "--name", "first",
)  # fmt: skip
OPEN = ".root.exit-handler-1.open-run"
ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("aelif_pipelines.arguments.code_version", lambda: "c0de")  # to hash all files takes time
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "no-context.json"))
    monkeypatch.setattr("aelif_pipelines.follow.EVERY_S", 0.0)
    monkeypatch.setattr(console, "_width", 160)
    before = signal.getsignal(signal.SIGTERM)  # which the commands change
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def packages() -> dict:
    return {}


@pytest.fixture(autouse=True)
def _compiled(packages, monkeypatch):
    """Compile each package once: it takes seconds."""

    def compile_once(pipeline, path, deployment):
        key = (pipeline, str(deployment))
        if key not in packages:
            packages[key] = compile_package(pipeline, path, deployment).read_text()
        path.write_text(packages[key])
        return path

    monkeypatch.setattr("aelif_pipelines.submit.compile_package", compile_once)


@pytest.fixture
def server():
    with KfpServer() as running:
        running.story = [("SUCCEEDED", Workflow().step(OPEN, "SUCCEEDED"))]
        yield running


@dataclass
class Done:
    code: int
    text: str


def aelif(*words: str) -> Done:
    done = CliRunner().invoke(app, words)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.output)


def test_a_run_is_made_with_what_was_given_and_the_package_is_uploaded_once(server):
    words = ("submit", *GIVEN, "--pipeline-root", "s3://kfp/root", "--host", server.url)
    first, second = aelif(*words), aelif(*words)
    assert (first.code, second.code) == (0, 0)
    assert server.writes == [
        "POST pipelines", "POST pipelines/upload_version", "POST experiments", "POST runs", "POST runs"
    ]  # fmt: skip
    run, _ = server.runs.values()
    assert (run.display_name, run.service_account) == ("first", "aelif-runner")
    assert run.runtime_config.pipeline_root == "s3://kfp/root"
    assert run.runtime_config.parameters["data"]["instance_images"] == "s3://photos/backpack"
    assert run.runtime_config.parameters["checkpoint_root"] == "/checkpoints"
    (version,) = server.versions.values()
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert "(just uploaded)" in first.text
    assert "(just uploaded)" not in second.text


def test_fresh_runs_every_step_without_a_version_that_schedules_would_take(server):
    assert aelif("submit", *GIVEN, "--fresh", "--host", server.url).code == 0
    (run,) = server.runs.values()
    assert '"enableCache": true' not in json.dumps(run.pipeline_spec)
    assert "kubernetes" in run.pipeline_spec["platform_spec"]["platforms"]
    (version,) = server.versions.values()
    assert '"enableCache": true' in json.dumps(version.pipeline_spec)


def test_without_waiting_it_says_how_to_follow(server):
    done = aelif("submit", *GIVEN, "--no-wait", "--host", server.url)
    (run_id,) = server.runs
    assert done.code == 0
    assert f"aelif follow {run_id} --host {server.url}" in done.text
    assert "Succeeded" not in done.text


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lost_answer_makes_no_second_run_and_loses_none(server, moment):
    server.fail_at = (4, moment)
    if moment == "before":
        with pytest.raises(ClusterError, match="the database is away"):
            aelif("submit", *GIVEN, "--host", server.url)
        assert not server.runs
    else:
        assert aelif("submit", *GIVEN, "--host", server.url).code == 0
        assert len(server.runs) == 1


def test_a_new_version_names_the_schedules_that_take_it(server):
    create = (
        "schedule", "create", "nightly", "--cron", "0 0 3 * * *", "--recipe", "smoke", *GIVEN[1:9],
        "--host", server.url,
    )  # fmt: skip
    aelif(*create)
    again = aelif("submit", *GIVEN, "--host", server.url)
    assert "nightly" not in again.text
    labelled = aelif("submit", *GIVEN, "--label", "team=shop", "--host", server.url)
    assert "have this one from now on: nightly" in labelled.text


def test_many_users(tmp_path):
    with KfpServer(multi_user=True, token="secret") as server:
        server.story = [("SUCCEEDED", Workflow().step(OPEN, "SUCCEEDED"))]
        token = tmp_path / "token"
        token.write_text("secret\n")
        given = ("--host", server.url, "--namespace", "team-a", "--token-file", str(token))
        done = aelif("submit", *GIVEN, "--no-wait", *given)
        assert {experiment.namespace for experiment in server.experiments.values()} == {"team-a"}
        (run_id,) = server.runs
        assert f"aelif follow {run_id} --host {server.url} --namespace team-a --token-file {token}" in done.text
        assert aelif("follow", run_id, *given).code == 0
        with pytest.raises(ValueError, match="give --namespace"):
            aelif("submit", *GIVEN, "--host", server.url, "--token-file", str(token))


def test_a_dry_run_asks_no_server_and_is_yaml():
    done = aelif("submit", *GIVEN, "--dry-run", "--host", "http://127.0.0.1:1")
    assert done.code == 0
    arguments = yaml.safe_load(done.text)
    assert arguments["data"]["instance_images"] == "s3://photos/backpack"
    assert len(arguments["trials"]) == 3
    for words in ("version 0.", "30 pods of steps, 15 of them with accelerators, at most 7 at once",
                  f"images: {Deployment().cpu_image}", "warning: images are named by tag", "needs no accelerator",
                  "service account aelif-runner"):  # fmt: skip
        assert words in done.text


def test_images_by_digest_are_no_warning():
    images = ("--cpu-image", f"example.org/cpu@{DIGEST}", "--gpu-image", f"example.org/gpu@{DIGEST}")
    done = aelif("submit", *GIVEN, "--dry-run", "--set", "cluster.accelerators=0", *images)
    assert f"images: example.org/cpu@{DIGEST}" in done.text
    assert "warning" not in done.text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("smoke", "--instance-images", "photos", *GIVEN[3:]), "pods see no folder"),
        ((*GIVEN[:3], *GIVEN[7:]), "give --instance-prompt and --class-prompt"),
        (("smok", *GIVEN[1:]), "did you mean 'smoke'"),
        ((*GIVEN, "--tracking-uri", "http://localhost:5000"), "that is the pod itself"),
        ((*GIVEN, "--gpu-image", "example.org/gpu"), "it may mean another image tomorrow"),
        ((*GIVEN, "--name", "n" * 200), "at most 128"),
        (("paper", *GIVEN[1:]), "submit each with --only: miniature-sdxl, miniature-sd3"),
        (("paper", *GIVEN[1:], "--only", "miniature-sd3"), "pods = 90"),
        ((*GIVEN, "--force"), "it is for retrain"),
        (GIVEN[:7], "give --tracking-uri or MLFLOW_TRACKING_URI"),
    ],
)
def test_wrong_words_are_told_before_the_server_is_asked(words, message):
    with pytest.raises(ValueError, match=message):
        aelif("submit", *words, "--host", "http://127.0.0.1:1")


def test_ctrl_c_while_submitting_says_that_the_run_may_be_there(server, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("aelif_pipelines.submit._create", interrupt)
    done = aelif("submit", *GIVEN, "--host", server.url)
    assert done.code == 130
    assert "the run first by then, it goes on" in done.text


def test_a_run_that_is_stopped_is_being_canceled(server):
    aelif("submit", *GIVEN, "--no-wait", "--host", server.url)
    (run_id,) = server.runs
    assert "is being stopped" in aelif("stop", run_id, "--host", server.url).text
    assert server.runs[run_id].state == "CANCELING"
    with pytest.raises(ClusterError, match="404 Run nothing not found"):
        aelif("stop", "nothing", "--host", server.url)


PAGES = "\n".join((ROOT / page).read_text() for page in ("docs/operations.md", "README.md"))
COMMANDS = re.findall(r"^aelif (submit|follow|stop) (.*)$", PAGES.replace("\\\n", " "), flags=re.MULTILINE)


def test_the_guide_has_each_command():
    assert {name for name, _ in COMMANDS} == {"submit", "follow", "stop"}


@pytest.mark.parametrize(("name", "words"), COMMANDS)
def test_commands_of_the_guide_have_their_options(name, words):
    typer.main.get_command(app).commands[name].make_context(name, shlex.split(words, comments=True))


def test_exit_codes_of_the_guide_are_the_commands():
    table = re.findall(r"^\| (\d+) \| (.*) \|$", PAGES.partition("| exit code |")[2].partition("```")[0], re.MULTILINE)
    assert [int(code) for code, _ in table] == [0, 1, 2, CANCELED, LOST, INTERRUPTED]
    assert f"Beyond {MOST_PODS} submit" in PAGES
