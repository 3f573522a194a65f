"""`aelif stack` on real servers: up, down, what survives, and what a server that died costs."""

import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import boto3
import psutil
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from aelif_pipelines import postgres
from aelif_pipelines.commands.stack import app
from aelif_pipelines.processes import ProgramError
from aelif_pipelines.servers import MLFLOW, POSTGRES, S3, SERVERS, Stack
from aelif_pipelines.stack import start, status, stop


def present(folder: Path) -> Stack:
    stack = status(folder)
    assert stack is not None
    return stack


def pids(stack: Stack) -> dict[str, int]:
    return {name: server.program.processes[0][0] for name, server in stack.servers.items() if server.program}


def command(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_mlflow_keeps_its_files_in_the_bucket(stack_folder: Path, tmp_path: Path):
    stack = present(stack_folder)
    client = MlflowClient(stack.tracking_uri)
    run = client.create_run(client.create_experiment("files"))
    (tmp_path / "note.txt").write_text("hello")
    client.log_artifact(run.info.run_id, str(tmp_path / "note.txt"))
    store = boto3.client("s3", endpoint_url=stack.s3_address, aws_access_key_id="a", aws_secret_access_key="b")
    keys = [item["Key"] for item in store.list_objects_v2(Bucket="mlflow")["Contents"]]
    assert any(key.startswith("mlflow/") and key.endswith(f"{run.info.run_id}/artifacts/note.txt") for key in keys)


def test_the_password_lies_in_one_file_that_is_ours_alone(stack_folder: Path):
    secret = stack_folder / "pgpass"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    password = secret.read_text().strip().rpartition(":")[2]
    assert len(password) >= 32
    others = [path for path in stack_folder.iterdir() if path.is_file() and path != secret]
    assert not any(password in path.read_text() for path in others)
    for pid in pids(present(stack_folder)).values():
        assert not any(password in word for word in psutil.Process(pid).cmdline())
    assert not (stack_folder / "password.new").exists()


def test_the_database_asks_for_the_password(stack_folder: Path):
    import psycopg2

    port = present(stack_folder).servers[POSTGRES].port
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(host="127.0.0.1", port=port, user="aelif", dbname="mlflow", password="wrong")


def test_a_second_start_changes_nothing_and_says_so(stack_folder: Path):
    before = present(stack_folder)
    done = command("up", "--folder", str(stack_folder))
    assert done.exit_code == 0, done.output
    assert "Everything runs already" in done.output
    assert f"export MLFLOW_TRACKING_URI={before.tracking_uri}" in done.output
    assert pids(present(stack_folder)) == pids(before)
    sourced = f'. "{stack_folder / "stack.env"}"; echo $MLFLOW_TRACKING_URI'
    assert subprocess.run(["sh", "-c", sourced], capture_output=True, text=True).stdout.strip() == before.tracking_uri


@pytest.mark.parametrize("name", [POSTGRES, S3, MLFLOW])
def test_a_dead_server_starts_again_at_its_port_with_its_data(stack_folder: Path, name: str):
    before = present(stack_folder)
    client = MlflowClient(before.tracking_uri)
    client.create_experiment(f"before {name} died")
    psutil.Process(pids(before)[name]).kill()  # this process alone: its children are left to fend for themselves
    psutil.wait_procs([psutil.Process(pids(before)[name])], timeout=10)
    shown = command("status", "--folder", str(stack_folder))
    assert shown.exit_code == 1
    assert shown.output.count("does not run") == 1
    said: list[str] = []
    after = start(stack_folder, say=said.append)
    assert [line for line in said if "starts" in line] == [
        f"{name} starts at 127.0.0.1:{before.servers[name].port} …",
    ]
    assert after.tracking_uri == before.tracking_uri
    changed = {part for part in SERVERS if pids(after)[part] != pids(before)[part]}
    assert changed == {name}
    assert client.get_experiment_by_name(f"before {name} died")
    if name == S3:  # moto's objects are gone, but there is a bucket to write to
        run = client.create_run("0")
        client.log_text(run.info.run_id, "hello", "note.txt")


def test_a_port_that_someone_took_is_named(stack_folder: Path):
    stack = present(stack_folder)
    server = stack.servers[S3]
    assert server.program is not None
    server.program.end(sign=signal.SIGTERM, grace_s=10)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", server.port))
        listener.listen()
        with pytest.raises(ProgramError, match=f"another program listens at port {server.port}"):
            start(stack_folder)
    assert start(stack_folder).servers[S3].alive


def test_stop_ends_just_these_and_the_next_start_keeps_the_database(stack_folder: Path):
    before = present(stack_folder)
    members = [pid for server in before.servers.values() if server.program for pid, _ in server.program.processes]
    MlflowClient(before.tracking_uri).create_experiment("kept")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        done = command("down", "--folder", str(stack_folder))
        assert bystander.poll() is None
        bystander.communicate(b"\n")
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.output.splitlines()] == [MLFLOW, S3, POSTGRES]
    assert not [pid for pid in members if psutil.pid_exists(pid)]
    assert command("status", "--folder", str(stack_folder)).exit_code == 1
    assert "was not running" in command("down", "--folder", str(stack_folder)).output
    after = start(stack_folder)
    assert after.tracking_uri == before.tracking_uri
    assert MlflowClient(after.tracking_uri).get_experiment_by_name("kept")


def test_a_given_store_and_database_are_used(stack_folder: Path, public_folder: Path):
    """The S3 endpoint is the shared stack's; the database a file, which `--database-url` may name as well."""
    given = present(stack_folder).s3_address
    folder = public_folder / "given"
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AELIF_DATABASE_URL": f"sqlite:///{folder}/x.db"}
    runner = CliRunner(env={**os.environ, **keys})
    done = runner.invoke(app, ["up", "--folder", str(folder), "--s3-endpoint", given, "--bucket", "other"])
    try:
        assert done.exit_code == 0, done.output
        stack = present(folder)
        assert set(stack.servers) == {MLFLOW}
        client = MlflowClient(stack.tracking_uri)
        client.log_text(client.create_run("0").info.run_id, "hello", "note.txt")
        store = boto3.client("s3", endpoint_url=given, aws_access_key_id="a", aws_secret_access_key="b")
        assert store.list_objects_v2(Bucket="other")["KeyCount"] == 1
        with pytest.raises(ValueError, match="another database"):
            start(folder)
    finally:
        stop(folder)


# ── Without servers ────────────────────────────────────────────────────────────────────────────


def test_a_folder_without_a_stack(tmp_path: Path):
    assert command("status", "--folder", str(tmp_path)).exit_code == 1
    assert "no stack was started here" in command("down", "--folder", str(tmp_path)).output
    assert list(tmp_path.iterdir()) == []


def test_without_postgresql_it_says_how_to_install_it(
    public_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "FOLDERS", (str(tmp_path / "*"),))
    with pytest.raises(ProgramError, match=r"apt install postgresql.*--database-url"):
        start(public_folder / "bare")


def test_the_newest_postgresql_outside_the_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for release in ("9", "15", "17"):
        (tmp_path / release / "bin").mkdir(parents=True)
        (tmp_path / release / "bin" / "initdb").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(postgres, "FOLDERS", (f"{tmp_path}/*/bin",))
    assert postgres.find_program("initdb") == tmp_path / "17" / "bin" / "initdb"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands PostgreSQL to another user")
def test_as_root_a_folder_that_others_cannot_enter_is_refused(tmp_path: Path):
    tmp_path.chmod(0o700)
    with pytest.raises(ProgramError, match=r"cannot enter .*--folder"):
        start(tmp_path / "stack")
    assert not (tmp_path / "stack" / "postgres.new").exists()


def test_an_object_store_that_does_not_answer_is_named(tmp_path: Path):
    with pytest.raises(ProgramError, match=r"http://127.0.0.1:9: .*--s3-endpoint"):
        start(tmp_path, s3_endpoint="http://127.0.0.1:9", database_url=f"sqlite:///{tmp_path}/x.db")


def test_the_pages_of_mlflow_are_there(stack_folder: Path):
    with urllib.request.urlopen(present(stack_folder).tracking_uri, timeout=30) as page:
        assert b"MLflow" in page.read()
