"""The servers of the stack: what each is started with, when it answers, how it ends, and the record of all of them."""

from __future__ import annotations

import signal
import sys
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aelif.artifacts import read_json, write_json
from aelif_pipelines import postgres
from aelif_pipelines.processes import Program, ProgramError, await_answer, launch

POSTGRES, S3, MLFLOW = "PostgreSQL", "S3 (moto)", "MLflow"
SERVERS = (POSTGRES, S3, MLFLOW)
"""In the order in which they start."""
PATIENCE_S = {POSTGRES: 60.0, S3: 60.0, MLFLOW: 240.0}
"""How long each may take to answer; MLflow makes its tables on the first start."""
GRACE_S = 20.0
"""How long one may take to end in order."""
MOTO_KEY, MOTO_REGION = "aelif", "us-east-1"
"""moto asks for keys and takes any."""
RECORD = "stack.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server of the stack."""

    port: int
    """Of 127.0.0.1; kept when it is started again, so that addresses stay."""
    program: Program | None = None
    """Its processes, None where it was ended."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.program is not None and self.program.alive


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What runs where; lies in `stack.json`, which holds no secret."""

    folder: Path
    servers: dict[str, Server]
    """The servers that are ours, by name; a given database or endpoint is not."""
    s3_endpoint: str
    """Endpoint that was given, "" where moto's server is ours."""
    bucket: str

    @property
    def tracking_uri(self) -> str:
        """What clients call MLflow; files go through it, so they need neither S3 nor its keys."""
        return f"http://127.0.0.1:{self.servers[MLFLOW].port}"

    @property
    def s3_address(self) -> str:
        """Endpoint of the object store."""
        return self.s3_endpoint or f"http://127.0.0.1:{self.servers[S3].port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables for clients: MLflow's address, and the endpoint for photos that lie in S3."""
        return {"MLFLOW_TRACKING_URI": self.tracking_uri, "AWS_ENDPOINT_URL": self.s3_address, **self.store_keys}

    @property
    def store_keys(self) -> dict[str, str]:
        """The object store's keys as boto3 reads them; none for a given one, whose keys the environment has."""
        if self.s3_endpoint:
            return {}
        return {"AWS_ACCESS_KEY_ID": MOTO_KEY, "AWS_SECRET_ACCESS_KEY": MOTO_KEY, "AWS_DEFAULT_REGION": MOTO_REGION}

    def log(self, name: str) -> Path:
        """Return where a server's output goes."""
        return self.folder / f"{name.split()[0].lower()}.log"

    def with_program(self, name: str, program: Program | None) -> Stack:
        """Return the stack with this program for one of its servers."""
        return replace(self, servers={**self.servers, name: replace(self.servers[name], program=program)})


def launch_server(stack: Stack, name: str, *, database_url: str) -> Program:
    """Start one server at its port.

    Args:
        stack: what there is; those that it needs run already.
        name: of the server.
        database_url: of a given database, "" where PostgreSQL is ours.

    Raises:
        ProgramError: if it cannot be run.
    """
    port, log = stack.servers[name].port, stack.log(name)
    if name == POSTGRES:
        return postgres.launch_postgres(stack.folder / "postgres", port=port, log=log)
    if name == S3:
        return launch([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], log=log)
    own = POSTGRES in stack.servers
    environment = {
        **stack.store_keys,
        # A URL with a password belongs into no command line, which everyone on the machine can read.
        "MLFLOW_BACKEND_STORE_URI": postgres.database_url(stack.servers[POSTGRES].port) if own else database_url,
        "MLFLOW_S3_ENDPOINT_URL": stack.s3_address,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a process more, for nothing that we use
    } | ({"PGPASSFILE": str(stack.folder / "pgpass")} if own else {})
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--artifacts-destination", f"s3://{stack.bucket}/mlflow"]  # fmt: skip
    return launch(command, log=log, environment=environment)


def await_server(stack: Stack, name: str, program: Program) -> None:
    """Return once a server answers.

    Raises:
        ProgramError: if it ends before, or does not answer in time.
    """
    port, log, patience_s = stack.servers[name].port, stack.log(name), PATIENCE_S[name]
    if name == POSTGRES:
        postgres.await_postgres(program, port=port, password_file=stack.folder / "pgpass", log=log,
                                patience_s=patience_s)  # fmt: skip
    else:
        page = f"http://127.0.0.1:{port}/{'health' if name == MLFLOW else 'moto-api/data.json'}"
        await_answer(program, lambda: _answers(page), name=name, log=log, patience_s=patience_s)


def _answers(page: str) -> bool:
    try:
        urllib.request.urlopen(page, timeout=5).close()
    except OSError:  # refused, reset, or an answer such as 500
        return False
    return True


def end_server(name: str, program: Program | None) -> int:
    """End what still runs of a server, and return how many processes there were."""
    if program is None:
        return 0
    return postgres.end_postgres(program) if name == POSTGRES else program.end(sign=signal.SIGTERM, grace_s=GRACE_S)


def make_bucket(stack: Stack) -> None:
    """Create the bucket unless it exists.

    Raises:
        ProgramError: if the object store cannot be reached, or refuses.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    keys: dict[str, Any] = {}
    if not stack.s3_endpoint:
        keys = {"aws_access_key_id": MOTO_KEY, "aws_secret_access_key": MOTO_KEY, "region_name": MOTO_REGION}
    config = Config(connect_timeout=5, retries={"max_attempts": 3})
    try:
        client: Any = boto3.Session(**keys).client("s3", endpoint_url=stack.s3_address, config=config)
        try:
            client.head_bucket(Bucket=stack.bucket)
        except ClientError as error:
            if error.response["Error"]["Code"] != "404":
                raise
            client.create_bucket(Bucket=stack.bucket)
    except (BotoCoreError, ClientError) as error:
        raise ProgramError(
            f"bucket {stack.bucket!r} at {stack.s3_address}: {error}; check --s3-endpoint, and the keys in "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a bucket of yours with --bucket"
        ) from error


def read_record(folder: Path) -> Stack:
    """Return the stack that `write_record` recorded."""
    plain = read_json(folder / RECORD)
    servers = {}
    for name, server in plain["servers"].items():
        processes = tuple((int(pid), float(started)) for pid, started in server["processes"])
        servers[name] = Server(port=server["port"], program=Program(processes=processes) if processes else None)
    return Stack(folder=folder, servers=servers, s3_endpoint=plain["s3_endpoint"], bucket=plain["bucket"])


def write_record(stack: Stack) -> None:
    """Record processes, ports and addresses in the stack's folder."""
    servers = {
        name: {"port": server.port, "processes": server.program.processes if server.program else ()}
        for name, server in stack.servers.items()
    }
    write_json(stack.folder / RECORD, {"servers": servers, "tracking_uri": stack.tracking_uri,
               "s3_endpoint": stack.s3_endpoint, "bucket": stack.bucket})  # fmt: skip
