"""Schedules on a server that answers like Kubeflow's, with faults at every write."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from tests.pipelines.kfp_server import KfpServer
from tests.pipelines.photos import PROMPTS
from typer.testing import CliRunner

from aelif.config import ClusterConfig, TrackingConfig
from aelif_pipelines.cluster import ClusterError, clear_errors, cluster_arguments, connect
from aelif_pipelines.commands.options import console
from aelif_pipelines.commands.schedule import app
from aelif_pipelines.package import compile_package, ensure_experiment, ensure_version
from aelif_pipelines.recipes import recipe
from aelif_pipelines.schedule import Plan, create, delete, list_schedules, pause, resume

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERVER = TrackingConfig(tracking_uri="http://mlflow:5000")
SIDE_EFFECTS = {"open-run", "close-run", "read-fingerprints", "find-champion", "deliver-results", "register-model"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("KF_PIPELINES_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("aelif_pipelines.arguments.code_version", lambda: "c0de")  # to hash all files takes time
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "no-context.json"))


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return compile_package("retrain", tmp_path_factory.mktemp("package") / "retrain.yaml")


@pytest.fixture
def server():
    with KfpServer() as running:
        yield running


def on_s3(**changes):
    config = recipe("retrain")
    return replace(config, data=replace(config.data, **{"instance_images": "s3://photos/backpack", **changes}))


ARGUMENTS = {**cluster_arguments(on_s3(), tracking=SERVER), "code_version": "c0de"}


def plan_for(cluster, package, *, cron="0 0 3 * * *", pin=False, **changes) -> Plan:
    with clear_errors(cluster.host):
        uploaded = ensure_version(cluster, "aelif-retrain", package)
        experiment_id = ensure_experiment(cluster, "aelif")
    return Plan(
        name="nightly", cron=cron, pipeline_id=uploaded.pipeline_id, version_id=uploaded.version_id if pin else "",
        experiment_id=experiment_id, arguments=ARGUMENTS,
        **changes,
    )  # fmt: skip


def test_a_schedule_is_made_once_whatever_is_repeated(server, package):
    cluster = connect(host=server.url)
    made = create(cluster, plan_for(cluster, package))
    writes = list(server.writes)
    again = create(cluster, plan_for(cluster, package))
    assert (made.state, again.state, again.schedule_id) == ("created", "unchanged", made.schedule_id)
    assert server.writes == writes == [
        "POST pipelines", "POST pipelines/upload_version", "POST experiments", "POST recurringruns"
    ]  # fmt: skip
    (item,) = server.recurring.values()
    assert (item.no_catchup, item.max_concurrency, item.mode) == (True, "1", "ENABLE")
    assert item.pipeline_version_reference.pipeline_version_id is None, "the latest version, not this one for ever"
    assert item.runtime_config.parameters["data"]["instance_images"] == "s3://photos/backpack"


def test_other_content_replaces_it_and_a_pinned_version_is_other_content(server, package):
    cluster = connect(host=server.url)
    first = create(cluster, plan_for(cluster, package))
    second = create(cluster, plan_for(cluster, package, cron="0 30 4 * * *"))
    third = create(cluster, plan_for(cluster, package, cron="0 30 4 * * *", pin=True))
    assert [second.state, third.state] == ["replaced", "replaced"]
    assert list(server.recurring) == [third.schedule_id] != [first.schedule_id]
    assert server.enabled()[0].pipeline_version_reference.pipeline_version_id


def test_what_is_paused_stays_paused_under_new_content(server, package):
    cluster = connect(host=server.url)
    create(cluster, plan_for(cluster, package))
    assert pause(cluster, "nightly")
    assert not pause(cluster, "nightly")
    made = create(cluster, plan_for(cluster, package, cron="0 30 4 * * *"))
    assert (made.state, made.enabled, server.enabled(), len(server.recurring)) == ("replaced", False, [], 1)
    assert resume(cluster, "nightly")
    assert not resume(cluster, "nightly")
    assert len(server.enabled()) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 8))
def test_a_failure_at_any_write_and_a_repetition_leave_one_schedule(server, package, number, moment):
    """Writes 1 to 4 make the first schedule, 5 to 7 replace it; until then and after, one is switched on."""
    cluster = connect(host=server.url)
    server.fail_at = (number, moment)

    def make_and_change():
        for cron in ("0 0 3 * * *", "0 30 4 * * *"):
            create(cluster, plan_for(cluster, package, cron=cron))

    with pytest.raises(ClusterError, match=r"database is away|answer was lost"):
        make_and_change()
    if number > 4:
        assert server.enabled(), "never none"
    server.fail_at = None
    create(cluster, plan_for(cluster, package, cron="0 30 4 * * *"))
    (item,) = server.recurring.values()
    assert (item.mode, item.trigger.cron_schedule.cron) == ("ENABLE", "0 30 4 * * *")
    assert (len(server.pipelines), len(server.versions), len(server.experiments)) == (1, 1, 1)


def test_two_people_who_create_at_once_leave_one(server, package):
    cluster = connect(host=server.url)
    plan = plan_for(cluster, package)
    create(cluster, plan)
    (item,) = server.recurring.values()
    twin = type(item)(**{name: getattr(item, name) for name in item.openapi_types})
    server.add(server.recurring, "recurring_run_id", twin)
    made = create(cluster, plan)
    assert (made.state, list(server.recurring)) == ("unchanged", [made.schedule_id])


def test_a_list_tells_when_what_and_how_it_went(server, package):
    cluster = connect(host=server.url)
    assert list_schedules(cluster, now=NOW) == []
    made = create(cluster, plan_for(cluster, package))
    server.run(made.schedule_id, "FAILED")
    server.run(made.schedule_id, "SUCCEEDED")
    (row,) = list_schedules(cluster, now=NOW, zone="Europe/Berlin")
    assert (row.name, row.enabled, row.last_state, row.concurrency) == ("nightly", True, "SUCCEEDED", "1")
    assert row.next_run.isoformat() == "2026-03-02T03:00:00+01:00"
    assert row.version.startswith("latest (")
    pause(cluster, "nightly")
    assert list_schedules(cluster, now=NOW)[0].next_run is None


def test_runs_that_have_begun_survive_a_change_and_a_deletion(server, package):
    cluster = connect(host=server.url)
    server.run(create(cluster, plan_for(cluster, package)).schedule_id, "RUNNING")
    create(cluster, plan_for(cluster, package, cron="0 30 4 * * *"))
    delete(cluster, "nightly")
    assert [run.state for run in server.runs.values()] == ["RUNNING"]


def test_deleting_what_is_missing_is_an_error_unless_it_may_be(server, package):
    cluster = connect(host=server.url)
    with pytest.raises(ValueError, match="there is none; make one"):
        delete(cluster, "nightly")
    create(cluster, plan_for(cluster, package))
    with pytest.raises(ValueError, match="did you mean 'nightly'"):
        pause(cluster, "nighty")
    assert delete(cluster, "nightly")
    assert not delete(cluster, "nightly", missing_ok=True)
    assert server.recurring == {}


def test_recurring_runs_of_others_are_left_alone(server, package):
    cluster = connect(host=server.url)
    plan = plan_for(cluster, package)
    create(cluster, plan)
    next(iter(server.recurring.values())).description = "mine"
    assert list_schedules(cluster, now=NOW) == []
    for act in (lambda: create(cluster, plan), lambda: delete(cluster, "nightly"), lambda: pause(cluster, "nightly")):
        with pytest.raises(ValueError, match="not made by aelif"):
            act()
    assert len(server.recurring) == 1


def test_an_archived_experiment_is_refused(server):
    cluster = connect(host=server.url)
    server.experiments[ensure_experiment(cluster, "aelif")].storage_state = "ARCHIVED"
    with pytest.raises(ValueError, match="archived; restore it"):
        ensure_experiment(cluster, "aelif")


def test_a_newer_version_on_the_server_is_told(server, package, tmp_path):
    cluster = connect(host=server.url)
    ensure_version(cluster, "aelif-retrain", package)
    other = tmp_path / "other.yaml"
    other.write_text(package.read_text() + "\n")
    newer = ensure_version(cluster, "aelif-retrain", other)
    again = ensure_version(cluster, "aelif-retrain", package)
    assert (newer.new, again.new, again.newest) == (True, False, newer.version)


def test_many_users_need_a_namespace(package, tmp_path):
    with KfpServer(multi_user=True, token="secret") as server:
        token = tmp_path / "token"
        token.write_text("secret")
        with pytest.raises(ValueError, match="give --namespace"):
            connect(host=server.url, token_file=str(token))
        mine = connect(host=server.url, token_file=str(token), namespace="team-a")
        create(mine, plan_for(mine, package))
        theirs = connect(host=server.url, token_file=str(token), namespace="team-b")
        assert list_schedules(theirs, now=NOW) == []
        assert len(list_schedules(mine, now=NOW)) == 1


def test_one_user_may_not_have_one(server, package):
    cluster = connect(host=server.url, namespace="kubeflow")
    create(cluster, plan_for(cluster, package))
    assert len(server.enabled()) == 1


def test_unreachable_or_refusing_servers_are_one_line(package, tmp_path, monkeypatch):
    with pytest.raises(ClusterError, match=r"no answer; check the address, or kubectl port-forward"):
        connect(host="127.0.0.1:1")
    with (
        KfpServer(token="secret") as server,
        pytest.raises(ClusterError, match="401 unauthenticated; it wants a login"),
    ):
        connect(host=server.url)
    with KfpServer(token="secret") as server:
        (tmp_path / "token").write_text("secret")
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
        assert connect().host == server.url
    with KfpServer(page=True) as server, pytest.raises(ClusterError, match="a page, perhaps a login"):
        connect(host=server.url)
    with pytest.raises(ValueError, match="token-file"):
        connect(host="http://127.0.0.1:1", token_file=str(tmp_path / "none"))


def test_a_forbidden_write_names_the_role(server, package):
    cluster = connect(host=server.url)
    plan = plan_for(cluster, package)
    server.forbidden = True
    with pytest.raises(ClusterError, match=r"403 User is not authorized; .*kubeflow-edit"):
        create(cluster, plan)


# ── what goes to the cluster ───────────────────────────────────────────────────────────────────


def test_arguments_are_the_pipelines_parameters_and_name_nothing_local(package):
    arguments = cluster_arguments(on_s3(), tracking=SERVER, destination="s3://results/nightly")
    spec = next(iter(yaml.safe_load_all(package.read_text())))
    assert set(arguments) <= set(spec["root"]["inputDefinitions"]["parameters"])
    assert str(Path.cwd()) not in json.dumps(arguments)
    assert (arguments["destination"], arguments["checkpoint_root"]) == ("s3://results/nightly", "")
    assert json.dumps(arguments, sort_keys=True) == json.dumps(
        cluster_arguments(on_s3(), tracking=SERVER, destination="s3://results/nightly"), sort_keys=True
    )


@pytest.mark.parametrize(("of_a_pod", "nodes", "expected"), [(0, 1, ("", "")), (4, 1, ("1", "4")), (4, 2, ("1", ""))])
def test_numbers_of_accelerators_are_text(of_a_pod, nodes, expected):
    config = replace(on_s3(), cluster=ClusterConfig(accelerators=of_a_pod, nodes=nodes))
    arguments = cluster_arguments(config, tracking=SERVER, checkpoint_root="/checkpoints/nightly")
    assert (arguments["accelerators"], arguments["train_accelerators"]) == expected


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        (on_s3(instance_images="photos"), {}, r"data.instance_images = .*upload the photos and give s3://"),
        (on_s3(reference_images="photos"), {}, "data.reference_images = 'photos'"),
        (replace(on_s3(), base_model="/models/sdxl"), {}, "base_model = '/models/sdxl'"),
        (on_s3(), {"tracking": TrackingConfig(tracking_uri="sqlite:////tmp/mlflow.db")}, "tracking-uri = 'sqlite"),
        (on_s3(), {"tracking": TrackingConfig(tracking_uri="http://localhost:5000")}, "that is the pod itself"),
        (on_s3(), {"destination": "outputs"}, "destination = 'outputs': give s3://"),
        (on_s3(), {"checkpoint_root": "checkpoints"}, "checkpoint-root = 'checkpoints'"),
        (replace(on_s3(), cluster=ClusterConfig(nodes=2)), {}, "needs a folder below /checkpoints"),
    ],
)
def test_what_pods_cannot_see_is_refused(config, given, message):
    with pytest.raises(ValueError, match=message):
        cluster_arguments(config, **{"tracking": SERVER, **given})


def test_steps_with_side_effects_are_never_cached(package):
    """So the schedule leaves caching as compiled: its own switch would turn it on for these steps, too."""
    spec = next(iter(yaml.safe_load_all(package.read_text())))
    graphs = [spec["root"], *spec["components"].values()]
    tasks = [task for graph in graphs for task in graph.get("dag", {}).get("tasks", {}).items()]
    cached = {name: task.get("cachingOptions", {}).get("enableCache", False) for name, task in tasks}
    assert set(cached) >= SIDE_EFFECTS
    assert not any(cached[name] for name in SIDE_EFFECTS)
    assert cached["train-dreambooth"]


# ── the commands ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    """A wide console, whatever the terminal of the tests is: tables do not fold."""
    monkeypatch.setattr(console, "_width", 160)
    monkeypatch.setattr(console, "_height", 40)


def aelif(*arguments: str):
    done = CliRunner().invoke(app, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_the_commands_from_creation_to_deletion(server):
    made = (
        "create", "nightly", "--cron", "0 0 3 * * *", "--instance-images", "s3://photos/backpack", *PROMPTS,
        "--tracking-uri", "http://mlflow:5000", "--host", server.url,
    )  # fmt: skip
    first, second = aelif(*made), aelif(*made)
    assert "Schedule nightly is new." in first.output
    assert "(just uploaded)" in " ".join(first.output.split())
    assert "Next (UTC)" in first.output
    assert "Schedule nightly is as it was." in second.output
    (item,) = server.recurring.values()
    server.run(item.recurring_run_id)
    listed = aelif("list", "--host", server.url).output
    for word in ("nightly", "0 0 3 * * *", "yes", "latest (", "succeeded"):
        assert word in listed
    assert "is paused" in aelif("pause", "nightly", "--host", server.url).output
    assert "paused" in aelif("list", "--host", server.url).output
    assert "runs again" in aelif("resume", "nightly", "--host", server.url).output
    assert "is deleted" in aelif("delete", "nightly", "--host", server.url).output
    assert "did not exist" in aelif("delete", "nightly", "--missing-ok", "--host", server.url).output


def test_wrong_words_are_told_before_the_server_is_asked():
    given = ("--tracking-uri", "http://mlflow:5000", "--host", "http://127.0.0.1:1")
    for arguments, message in (
        (("create", "nightly", "--cron", "0 3 * * *"), "seconds first; write '0 0 3"),
        (("create", "Nightly!", "--cron", "0 0 3 * * *"), "lower-case letters"),
        (("create", "nightly", "--cron", "0 0 3 * * *"), "these never change; give yours"),
        (("create", "nightly", "--cron", "0 0 3 * * *", "--zone", "Mars"), "no such time zone"),
    ):
        with pytest.raises(ValueError, match=message):
            aelif(*arguments, *given)
