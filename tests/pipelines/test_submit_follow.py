"""A run is followed to its end: what is shown, what a failure says, what happens when the server is away."""

import io
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from kfp_server_api import ApiException
from rich.console import Console
from tests.pipelines.kfp_runs import Workflow
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.photos import ON_S3
from typer.testing import CliRunner

from aelif.config import TrackingConfig
from aelif_pipelines.cli import app
from aelif_pipelines.cluster import ClusterError, cluster_arguments, connect
from aelif_pipelines.commands.options import console
from aelif_pipelines.deployment import Deployment
from aelif_pipelines.follow import PATIENCE_S, Clock, LostServerError, follow
from aelif_pipelines.run_display import RunDisplay, duration
from aelif_pipelines.settings import load_config
from aelif_pipelines.states import node_id, read_states
from aelif_pipelines.steps import expand, read_package
from aelif_pipelines.submit import prepare, submit

CONFIG = load_config("smoke", changes=ON_S3)
TRIALS = [str(trial) for trial in CONFIG.trials]
STEPS = 30
OPEN = ".root.exit-handler-1.open-run"
STUDY = ".root.exit-handler-1.study"


def turn(number: int) -> str:
    return f"{STUDY}.for-loop-1.iteration-iterations({number}:{number}).iteration-item.trial"


TRAIN = [f"{turn(number)}.train-dreambooth" for number in range(3)]


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
def submission(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    arguments = cluster_arguments(CONFIG, tracking=TrackingConfig(tracking_uri="http://mlflow:5000"))
    return prepare(
        CONFIG, arguments, name="first", folder=folder, deployment=Deployment(), experiment="aelif",
        service_account="", pipeline_root="", caching=True, many_pods=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def graph(submission):
    return expand(read_package(submission.package)[0], submission.arguments)


@pytest.fixture
def server():
    with KfpServer() as running:
        yield running


def made(server, submission) -> str:
    return submit(connect(host=server.url), submission).run_id


class Told:
    """A display that remembers."""

    def __init__(self) -> None:
        self.states, self.words = [], []

    def show(self, state) -> None:
        self.states.append(state)

    def tell(self, message: str) -> None:
        self.words.append(message)


def fast_clock(log: list) -> Clock:
    """Time that passes by sleeping alone."""
    return Clock(now=lambda: sum(log), sleep=log.append)


def command(*words: str):
    done = CliRunner().invoke(app, words)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


# ── what the details of a run say ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("workflow", "node", "known"),
    [
        ("dag-diamond-xfww2", ".A(0)", "dag-diamond-xfww2-990947287"),
        ("dag-diamond-xfww2", ".C(0)", "dag-diamond-xfww2-2043927737"),
        ("dag-diamond-xfww2", ".B(0)", "dag-diamond-xfww2-3629114292"),
    ],
)
def test_identifiers_are_argos(workflow, node, known):
    """Pairs from the records in Argo Workflows' own tests (workflow/controller/dag_test.go)."""
    assert node_id(workflow, workflow + node) == known


def test_each_trial_is_told_from_its_twins(graph):
    workflow = Workflow().step(TRAIN[0], "RUNNING").step(TRAIN[2], "SUCCEEDED")
    state = read_states(workflow.details(), graph)
    found = {step.label: step for step in state.steps if step.name == "train-dreambooth"}
    assert [found[trial].state for trial in TRIALS] == ["running", "", "succeeded"]
    assert found[TRIALS[2]].took == timedelta(seconds=754)
    assert found[TRIALS[0]].took is None
    assert (state.done, len(state.steps), state.workflow) == (1, STEPS, workflow.name)
    assert found[TRIALS[2]].pod == workflow.identifier(f"{TRAIN[2]}.executor(0)").rpartition("-")[2]


def test_cached_repeated_and_waiting_steps_are_known(graph):
    workflow = Workflow().step(OPEN, "SUCCEEDED", attempts=0).step(TRAIN[0], "RUNNING", attempts=2, pod="PENDING")
    state = read_states(workflow.details(), graph)
    found = {step.key: step for step in state.steps}
    assert found["open-run", ""].state == "cached"
    assert found["train-dreambooth", TRIALS[0]].attempts == 2
    assert state.waiting == 1


class OtherNames(Workflow):
    """Of a server that makes identifiers otherwise."""

    def identifier(self, node: str) -> str:
        return f"{self.name}-{super().identifier(node)[::-1]}"


def test_where_steps_cannot_be_recognised_they_are_counted_without_saying_which(graph):
    workflow = OtherNames().step(OPEN, "SUCCEEDED").step(TRAIN[1], "RUNNING").step(TRAIN[2], "SUCCEEDED")
    state = read_states(workflow.details(), graph)
    found = {step.label: step.state for step in state.steps if step.name == "train-dreambooth"}
    assert sorted(found.items()) == [("1 of 3", found["1 of 3"]), ("2 of 3", found["2 of 3"]), ("3 of 3", "")]
    assert sorted(found.values()) == ["", "running", "succeeded"]
    assert (state.done, len(state.steps)) == (2, STEPS)


def test_no_step_has_begun_in_an_empty_run(graph):
    state = read_states([], graph)
    assert (state.done, state.waiting, state.workflow) == (0, 0, "")
    assert {step.state for step in state.steps} == {""}


# ── following ──────────────────────────────────────────────────────────────────────────────────


def whole(graph, name: str = "robustness-x7k2p", **states: str) -> Workflow:
    workflow = Workflow(name)
    for step in graph.leaves():
        workflow.step(step.node, states.get(step.name.replace("-", "_"), "SUCCEEDED"))
    return workflow


def test_a_run_that_succeeds_is_shown_step_by_step(server, submission, graph):
    run_id = made(server, submission)
    server.story = [
        ("PENDING", Workflow()),
        ("RUNNING", Workflow().step(OPEN, "RUNNING")),
        ("SUCCEEDED", whole(graph, close_run="RUNNING")),  # the end of the run is reported before that of its steps
        ("SUCCEEDED", whole(graph)),
    ]
    told, slept = Told(), []
    ended = follow(connect(host=server.url), run_id, told, clock=fast_clock(slept))
    assert (ended.end, ended.name, ended.state.done) == ("succeeded", "first", STEPS)
    assert [state.done for state in told.states] == [0, 0, STEPS - 1, STEPS]
    assert told.words == []


def test_a_stopped_run_is_canceled_though_kubeflow_calls_it_failed(server, submission):
    run_id = made(server, submission)
    server.story = [("RUNNING", Workflow()), ("CANCELING", Workflow()), ("FAILED", Workflow())]
    assert follow(connect(host=server.url), run_id, Told(), clock=fast_clock([])).end == "canceled"
    server.story = [("FAILED", Workflow())]
    assert follow(connect(host=server.url), run_id, Told(), clock=fast_clock([])).end == "canceled", "it is remembered"


@pytest.mark.parametrize("faults", [["drop"] * 2, [503, 502, "drop", "drop", 500], [401, 429]])
def test_a_server_that_is_away_for_a_while_loses_no_run(server, submission, graph, faults):
    run_id = made(server, submission)
    server.story = [("SUCCEEDED", whole(graph))]
    server.faults = list(faults)
    told, slept = Told(), []
    ended = follow(connect(host=server.url), run_id, told, clock=fast_clock(slept))
    assert ended.end == "succeeded"
    assert len(told.words) == 2
    assert "the run goes on" in told.words[0]
    assert told.words[1] == "The server answers again."
    assert len(slept) == len(faults) - ("drop" in faults), "the client itself tries a dropped look once more"


def test_waiting_grows_and_ends_with_patience(server, submission, monkeypatch):
    run_id, cluster = made(server, submission), connect(host=server.url)
    server.faults = [503] * 1000
    monkeypatch.setattr("aelif_pipelines.follow.EVERY_S", 5.0)
    told, slept = Told(), []
    with pytest.raises(LostServerError, match=r"no answer for 30 minutes \(503"):
        follow(cluster, run_id, told, clock=fast_clock(slept))
    assert slept[:5] == [5, 10, 20, 40, 60]
    assert PATIENCE_S <= sum(slept) <= PATIENCE_S + 60
    assert len(told.words) == 1


def test_what_will_not_change_is_told_at_once(server, submission):
    made(server, submission)
    slept: list = []
    with pytest.raises(ClusterError, match="404 Run nothing not found"):
        follow(connect(host=server.url), "nothing", Told(), clock=fast_clock(slept))
    server.faults = [403]
    with pytest.raises(ClusterError, match="403 away; these credentials may not do this"):
        follow(connect(host=server.url), next(iter(server.runs)), Told(), clock=fast_clock(slept))
    assert slept == []


def test_a_token_that_is_renewed_during_the_wait_is_read_again(submission, graph, tmp_path):
    token = tmp_path / "token"
    token.write_text("old")
    with KfpServer(token="old") as server:
        cluster = connect(host=server.url, token_file=str(token))
        run_id = submit(cluster, submission).run_id
        server.story = [("RUNNING", Workflow()), ("SUCCEEDED", whole(graph))]
        slept: list = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            server.token = "new"
            if len(slept) == 3:
                token.unlink()  # as while a kubelet replaces it
            if len(slept) == 4:
                token.write_text("new")

        ended = follow(cluster, run_id, told := Told(), clock=Clock(now=lambda: 0.0, sleep=sleep))
    assert ended.end == "succeeded"
    assert "401" in told.words[0]
    assert len(slept) == 4


def test_a_server_that_is_away_when_the_package_is_asked_for_loses_no_run(server, submission, graph, monkeypatch):
    run_id = made(server, submission)
    server.story = [("SUCCEEDED", whole(graph))]
    cluster = connect(host=server.url)
    ask, answers = cluster.client.pipelines.pipeline_service_get_pipeline_version, [503, 200]

    def once_away(*words, **options):
        if answers.pop(0) == 503:
            raise ApiException(status=503, reason="Service Unavailable")
        return ask(*words, **options)

    monkeypatch.setattr(cluster.client.pipelines, "pipeline_service_get_pipeline_version", once_away)
    assert follow(cluster, run_id, Told(), clock=fast_clock([])).end == "succeeded"


def test_a_run_whose_package_was_sent_along_is_followed(server, submission, graph):
    run_id = submit(connect(host=server.url), replace(submission, caching=False)).run_id
    server.story = [("SUCCEEDED", whole(graph))]
    assert follow(connect(host=server.url), run_id, Told(), clock=fast_clock([])).state.done == STEPS


# ── what a person sees ─────────────────────────────────────────────────────────────────────────

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def shown(graph, *workflows: Workflow, terminal: bool = False) -> str:
    out = io.StringIO()
    paper = Console(file=out, force_terminal=terminal, width=120, color_system=None)
    with RunDisplay(paper, now=lambda: NOON) as display:
        for workflow in workflows:
            display.show(read_states(workflow.details(), graph))
    return out.getvalue()


def test_a_log_has_one_line_for_each_change(graph):
    running = Workflow().step(OPEN, "SUCCEEDED").step(TRAIN[0], "RUNNING", pod="PENDING")
    again = Workflow().step(OPEN, "SUCCEEDED").step(TRAIN[0], "RUNNING", attempts=2)
    failed = Workflow().step(OPEN, "SUCCEEDED").step(TRAIN[0], "FAILED", attempts=2)
    assert shown(graph, running, running, again, failed).splitlines() == [
        f"12:00:00 ✓ open-run  12 min 34 s  1/{STEPS}",
        f"12:00:00   train-dreambooth {TRIALS[0]}  started",
        "12:00:00   1 pod waits for a machine",
        f"12:00:00 ! train-dreambooth {TRIALS[0]}  attempt 2",
        f"12:00:00 ✗ train-dreambooth {TRIALS[0]}  12 min 34 s, 2 attempts  2/{STEPS}",
    ]


def test_a_terminal_shows_the_working_steps_and_how_far_the_run_is(graph):
    text = shown(graph, Workflow().step(OPEN, "SUCCEEDED", attempts=0).step(TRAIN[1], "RUNNING"), terminal=True)
    assert "= open-run  cached" in text
    assert f"1/{STEPS} steps" in text
    assert any("train-dreambooth" in line and TRIALS[1] in line and "0 s" in line for line in text.splitlines())


def test_a_quiet_log_speaks_now_and_then(graph):
    out, times = io.StringIO(), [NOON]
    with RunDisplay(Console(file=out, width=120, color_system=None), now=lambda: times[-1]) as display:
        for minutes in (0, 10, 20):
            times.append(NOON + timedelta(minutes=minutes))
            display.show(read_states(Workflow().step(TRAIN[0], "RUNNING").details(), graph))
    assert out.getvalue().splitlines()[1:] == [f"12:20:00   0/{STEPS} steps; at work: train-dreambooth {TRIALS[0]}"]


@pytest.mark.parametrize(("seconds", "words"), [(0, "0 s"), (59, "59 s"), (725, "12 min 5 s"), (12_000, "3 h 20 min")])
def test_durations(seconds, words):
    assert duration(timedelta(seconds=seconds)) == words


# ── the command ────────────────────────────────────────────────────────────────────────────────


def test_success_is_exit_code_0(server, submission, graph):
    run_id = made(server, submission)
    server.story = [("SUCCEEDED", whole(graph))]
    done = command("follow", run_id, "--host", server.url)
    assert done.exit_code == 0
    assert f"Succeeded: first, {STEPS} of {STEPS} steps." in done.output


def test_a_failed_step_is_named_with_its_reason_its_log_and_the_command(server, submission, graph):
    run_id = made(server, submission)
    broken = (
        Workflow().step(OPEN, "SUCCEEDED").step(TRAIN[1], "FAILED", attempts=3, message="OOMKilled (exit code 137)")
    )
    pod = f"{broken.name}-impl-{broken.identifier(TRAIN[1] + '.executor(2)').rpartition('-')[2]}"
    server.story = [("FAILED", broken)]
    server.logs[pod] = "step 120\n\nCUDA out of memory [1]\n"
    done = command("follow", run_id, "--host", server.url)
    assert done.exit_code == 1
    for words in (
        f"✗ train-dreambooth {TRIALS[1]}: OOMKilled (exit code 137)",
        "    CUDA out of memory [1]",
        f"kubectl -n aelif-runs logs {pod} --container main",
        f"Failed: first, after 2 of {STEPS} steps.",
    ):
        assert words in done.output


def test_without_the_older_routes_there_is_the_command_still(server, submission):
    run_id = made(server, submission)
    server.story = [("FAILED", Workflow().step(TRAIN[1], "FAILED"))]
    server.old_api = False
    done = command("follow", run_id, "--host", server.url)
    assert done.exit_code == 1
    assert (f"kubectl -n kubeflow get pods --selector "
            f"pipeline/runid={run_id},app.kubernetes.io/component=train-dreambooth") in done.output  # fmt: skip


def test_a_step_that_kubeflow_could_not_start_is_named(server, submission):
    run_id = made(server, submission)
    server.story = [("FAILED", Workflow().broken_driver(OPEN, "Error (exit code 1): no such secret"))]
    done = command("follow", run_id, "--host", server.url)
    assert done.exit_code == 1
    assert "open-run, before it started: Error (exit code 1): no such secret" in done.output


def test_canceled_is_exit_code_3(server, submission):
    run_id = made(server, submission)
    server.story = [("CANCELING", Workflow()), ("FAILED", Workflow().step(TRAIN[0], "FAILED"))]
    done = command("follow", run_id, "--host", server.url)
    assert done.exit_code == 3
    assert "Canceled: first" in done.output


def test_a_server_that_stays_away_is_exit_code_4_and_the_run_is_not_lost(server, submission, monkeypatch):
    run_id = made(server, submission)
    monkeypatch.setattr("aelif_pipelines.follow.PATIENCE_S", -1.0)
    server.faults = [503, 503]
    done = command("follow", run_id, "--host", server.url)
    assert done.exit_code == 4
    assert f"Follow it again: aelif follow {run_id} --host {server.url}" in done.output


def test_ctrl_c_ends_the_following_and_not_the_run(server, submission, monkeypatch):
    run_id = made(server, submission)
    server.story = [("RUNNING", Workflow().step(OPEN, "RUNNING"))]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("aelif_pipelines.follow.Clock", lambda: Clock(sleep=interrupt))
    done = command("follow", run_id, "--host", server.url)
    assert done.exit_code == 130
    assert "The run goes on." in done.output
    assert f"Stop it: aelif stop {run_id} --host {server.url}" in done.output
    assert server.runs[run_id].state == "RUNNING"
