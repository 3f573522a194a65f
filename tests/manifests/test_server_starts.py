"""The commands that the manifests give containers, run here: MLflow on PostgreSQL and S3, its accounts, dump, restore.

Programs, arguments and environment are read from the rendered manifests; addresses alone are exchanged for those of
servers on this machine.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.manifests.rendering import MANIFESTS, Object, containers, find, needs_kubectl, pod_of, render

PATIENCE_S = 600
HOST = "mlflow.aelif.svc:5000"
PROGRAMS = ("postgres", "initdb", "pg_dump", "pg_restore")


def program(name: str) -> str | None:
    """Return where a program of PostgreSQL lies, on the PATH or where Debian puts it."""
    return shutil.which(name) or next(map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None)


def missing() -> str:
    """Return what this machine lacks for the test, "" if nothing."""
    if absent := [name for name in PROGRAMS if program(name) is None]:
        return f"PostgreSQL is not installed ({', '.join(absent)})"
    if absent := [name for name in ("flask_wtf", "psycopg2", "moto") if importlib.util.find_spec(name) is None]:
        return f"the extras `server` and `dev` are not installed ({', '.join(absent)})"
    return ""


pytestmark = [
    pytest.mark.e2e,
    needs_kubectl,
    pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What the test has started."""

    environment: dict[str, str]
    """What every container gets in place of its ConfigMaps' and Secrets' addresses."""
    port: int
    folder: Path

    def get(self, path: str, *, login: str = "", host: str = HOST, body: object = None) -> tuple[int, Any]:
        """Return status and JSON of one call to MLflow."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            headers={"Host": host, "Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode(),
        )
        if login:
            request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        return 200, json.loads(text) if text.startswith("{") else text


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def container(workload: Object, name: str) -> Object:
    (found,) = [item for item in containers(pod_of(workload)) if item["name"] == name]
    return found


def environment_of(part: Object, objects: tuple[Object, ...], exchanged: dict[str, str]) -> dict[str, str]:
    """Return the container's environment, as the kubelet would build it, with addresses exchanged."""
    result: dict[str, str] = {}
    for source in part.get("envFrom", []):
        if "configMapRef" in source:
            result |= find(objects, "ConfigMap", source["configMapRef"]["name"]).get("data", {})
        else:
            data = find(objects, "Secret", source["secretRef"]["name"]).get("data", {})
            result |= {key: base64.b64decode(value).decode() for key, value in data.items()}
    result |= {item["name"]: item["value"] for item in part.get("env", []) if "value" in item}
    here = Path(sys.executable).parent
    kept = {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    return kept | result | {key: value for key, value in exchanged.items() if key in result}


def command_of(part: Object, environment: dict[str, str], replaced: dict[str, str]) -> list[str]:
    """Return the container's command line: variables filled in, paths of mounts and ports exchanged."""
    words = [*part["command"], *part.get("args", [])]
    for name, value in environment.items():
        words = [word.replace(f"$({name})", value) for word in words]
    for old, new in replaced.items():
        words = [word.replace(old, new) for word in words]
    words[0] = {"python3": sys.executable}.get(words[0]) or program(words[0]) or words[0]
    return words


def run(part: Object, objects: tuple[Object, ...], exchanged: dict[str, str], replaced: dict[str, str]) -> str:
    """Run a container's command to its end and return what it printed."""
    environment = environment_of(part, objects, exchanged)
    done = subprocess.run(command_of(part, environment, replaced), env=environment, capture_output=True, text=True,
                          check=False, timeout=PATIENCE_S)  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def running(command: list[str], *, log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program, end it afterwards."""
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file, **options) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()


def await_port(port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail(f"nothing answers at port {port}: {log.read_text()[-2000:]}")


def create_database(address: str) -> None:
    """Create `mlflow`, as soon as the server takes connections."""
    import psycopg2

    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = psycopg2.connect(address)
            break
        except psycopg2.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
    connection.autocommit = True
    connection.cursor().execute("create database mlflow")
    connection.close()


@contextmanager
def postgres(folder: Path, *, password: str, port: int) -> Iterator[None]:
    """A database server as the image of the manifests starts it: one superuser with a password."""
    account = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    data, secret = folder / "pgdata", folder / "pgpass"
    data.mkdir()
    secret.write_text(password)
    if account:
        folder.chmod(0o755)
        for path in (data, secret):
            shutil.chown(path, **account)
    subprocess.run([program("initdb"), "-D", data, "-U", "mlflow", "--pwfile", secret, "--auth=scram-sha-256",
                    "--no-sync", "--locale=C", "-E", "UTF8"],
                   check=True, capture_output=True, cwd="/", **account)  # fmt: skip
    command = [program("postgres") or "", "-D", str(data), "-p", str(port), "-k", "",
               "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]  # fmt: skip
    with running(command, log=folder / "postgres.log", cwd="/", **account):
        await_port(port, folder / "postgres.log")
        yield


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """PostgreSQL, S3 and MLflow, as the manifests start them; pytest's folder is closed to the user `postgres`."""
    with tempfile.TemporaryDirectory(prefix="aelif-servers-") as folder:
        yield from start_servers(Path(folder))


def start_servers(folder: Path) -> Iterator[Servers]:
    from moto.server import ThreadedMotoServer

    objects = render("dev")
    password = base64.b64decode(find(objects, "Secret", "mlflow-database")["data"]["PGPASSWORD"]).decode()
    ports = {name: free_port() for name in ("postgres", "mlflow", "s3")}
    exchanged = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(ports["postgres"]),
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports['mlflow']}",
        "MLFLOW_AUTH_CONFIG_PATH": str(MANIFESTS / "base" / "servers" / "auth.ini"),
        "HOME": str(folder),
        "BACKUP_URI": "s3://dumps/mlflow",
        "RESTORE_DUMP": "",
    }
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=ports["s3"], verbose=False)
    store.start()
    deployment = find(objects, "Deployment", "mlflow")
    with postgres(folder, password=password, port=ports["postgres"]):
        create_database(f"host=127.0.0.1 port={ports['postgres']} user=mlflow password={password} dbname=postgres")
        run(container(deployment, "tables"), objects, exchanged, {})
        bucket = find(objects, "Job", "s3-bucket")
        scripts = {"/scripts/": f"{MANIFESTS}/components/s3-store/"}
        for expected in ("aelif: created", "aelif: there already"):
            assert expected in run(container(bucket, "make-bucket"), objects, exchanged, scripts)
        part = container(deployment, "mlflow")
        environment = environment_of(part, objects, exchanged)
        command = command_of(part, environment, {"--port=5000": f"--port={ports['mlflow']}",
                                                 "--host=0.0.0.0": "--host=127.0.0.1"})  # fmt: skip
        with running(command, log=folder / "mlflow.log", env=environment, cwd=folder):
            await_port(ports["mlflow"], folder / "mlflow.log")
            yield Servers(environment=exchanged, port=ports["mlflow"], folder=folder)
    store.stop()


def secrets_of(name: str) -> dict[str, str]:
    data = find(render("dev"), "Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def admin_login() -> str:
    secret = secrets_of("mlflow-admin")
    return f"{secret['MLFLOW_AUTH_ADMIN_USERNAME']}:{secret['MLFLOW_AUTH_ADMIN_PASSWORD']}"


def user_login() -> str:
    secret = secrets_of("mlflow-user")
    return f"{secret['RUNS_USERNAME']}:{secret['RUNS_PASSWORD']}"


def make_user(servers: Servers) -> str:
    job = find(render("dev"), "Job", "mlflow-user")
    return run(container(job, "make-user"), render("dev"), servers.environment,
               {"/scripts/": f"{MANIFESTS}/base/servers/"})  # fmt: skip


SEARCH = "/api/2.0/mlflow/experiments/search?max_results=100"


def names(servers: Servers) -> set[str]:
    status, answer = servers.get(SEARCH, login=admin_login())
    assert status == 200, answer
    return {item["name"] for item in answer["experiments"]}


def test_probe_answers_and_names_are_spelled_out(servers: Servers) -> None:
    probe = container(find(render("dev"), "Deployment", "mlflow"), "mlflow")["readinessProbe"]["httpGet"]
    assert servers.get(probe["path"])[0] == 200
    for host in (HOST, "mlflow:5000", "mlflow.aelif.svc.cluster.local:5000", "localhost:8080"):
        assert servers.get(SEARCH, login=admin_login(), host=host)[0] == 200, host
    assert servers.get(SEARCH, login=admin_login(), host="mlflow.attacker.example:5000")[0] == 403


def test_who_has_no_account_gets_nothing(servers: Servers) -> None:
    assert servers.get(SEARCH)[0] == 401
    assert servers.get(SEARCH, login="admin:password1234")[0] == 401


def test_tables_step_may_run_again_beside_a_running_server(servers: Servers) -> None:
    objects = render("dev")
    run(container(find(objects, "Deployment", "mlflow"), "tables"), objects, servers.environment, {})


def test_runs_get_an_account_that_is_no_administrator(servers: Servers) -> None:
    assert "aelif: created" in make_user(servers)
    assert "aelif: given its password" in make_user(servers), "a second time changes nothing"
    create = "/api/2.0/mlflow/experiments/create"
    assert servers.get(create, login=user_login(), body={"name": "by the runs' account"})[0] == 200
    other = {"username": "intruder", "password": "a long password 1"}
    assert servers.get("/api/2.0/mlflow/users/create", login=user_login(), body=other)[0] == 403


def test_artifacts_pass_through_the_server_to_the_bucket(servers: Servers) -> None:
    import boto3

    make_user(servers)
    user, _, password = user_login().partition(":")
    script = ("import mlflow\nmlflow.set_experiment('files')\n"
              "with mlflow.start_run(): mlflow.log_text('written by a step', 'note.txt')")  # fmt: skip
    environment = {
        "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(servers.folder),
        "MLFLOW_TRACKING_URI": servers.environment["MLFLOW_TRACKING_URI"], "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": password, "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    store = boto3.client("s3", endpoint_url=servers.environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
                         aws_access_key_id="any", aws_secret_access_key="any")  # fmt: skip
    keys = [item["Key"] for item in store.list_objects_v2(Bucket="aelif").get("Contents", [])]
    assert any(key.startswith("mlflow/") and key.endswith("note.txt") for key in keys), keys


def test_a_dump_is_restored(servers: Servers) -> None:
    import boto3

    objects = (*render("dev"), *(item for item in render("production") if item["metadata"]["name"] == "mlflow-backup"))
    boto3.client("s3", endpoint_url=servers.environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
                 aws_access_key_id="any", aws_secret_access_key="any").create_bucket(Bucket="dumps")  # fmt: skip
    backup, restore = (find(render("production"), "CronJob", name) for name in ("mlflow-backup", "mlflow-restore"))
    paths = {"/dumps/": f"{servers.folder}/", "/scripts/": f"{MANIFESTS}/components/backup/"}
    servers.get("/api/2.0/mlflow/experiments/create", login=admin_login(), body={"name": "before the dump"})
    run(container(backup, "dump"), objects, servers.environment, paths)
    assert "sha256" in run(container(backup, "upload"), objects, servers.environment, paths)
    (servers.folder / "mlflow.dump").unlink()
    servers.get("/api/2.0/mlflow/experiments/create", login=admin_login(), body={"name": "after the dump"})
    assert {"before the dump", "after the dump"} <= names(servers)
    run(container(restore, "download"), objects, servers.environment, paths)
    run(container(restore, "restore"), objects, servers.environment, paths)
    assert "before the dump" in names(servers)
    assert "after the dump" not in names(servers)
