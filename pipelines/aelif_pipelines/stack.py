"""The real stack on one machine: an MLflow server on PostgreSQL and S3, in one folder, on free ports of 127.0.0.1.

`start` brings up what is not there, `stop` ends just the processes that it started. PostgreSQL's data
stay in the folder. The S3 server that comes with it, moto's, keeps objects in memory: they are gone
when it ends; give the endpoint of another one (MinIO, SeaweedFS, AWS) to keep them.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aelif_pipelines import postgres
from aelif_pipelines.processes import ProgramError, free_ports, is_free
from aelif_pipelines.servers import (
    MLFLOW,
    POSTGRES,
    RECORD,
    S3,
    SERVERS,
    Server,
    Stack,
    await_server,
    end_server,
    launch_server,
    make_bucket,
    read_record,
    write_record,
)

BUCKET = "mlflow"
LOST = "its objects are in memory: they are lost when it ends, MLflow's runs and models are not"

Say = Callable[[str], None]


def start(
    folder: Path, *, s3_endpoint: str = "", database_url: str = "", bucket: str = BUCKET, say: Say = print
) -> Stack:
    """Start what does not run yet and return the stack; safe to repeat, and after any part died.

    Args:
        folder: data, logs and `stack.json`; created if need be.
        s3_endpoint: of an object store that exists; its keys as boto3 reads them. None: moto's server is started.
        database_url: SQLAlchemy's URL of a database that exists. None: PostgreSQL is started.
        bucket: of the object store; created if need be.
        say: told what happens.

    Raises:
        ProgramError: if a server cannot be started; those before it go on.
        ValueError: if the folder holds a stack of other servers.
    """
    folder = folder.resolve()
    with _locked(folder):
        stack = _planned(folder, s3_endpoint=s3_endpoint, own_database=not database_url, bucket=bucket)
        if all(server.alive for server in stack.servers.values()):
            say(f"Everything runs already: {stack.tracking_uri}")
            return stack
        if POSTGRES in stack.servers:
            postgres.make_cluster(folder / "postgres", password_file=folder / "pgpass")
        for name in stack.servers:
            if name == MLFLOW:
                make_bucket(stack)
            if not stack.servers[name].alive:
                stack = _bring_up(stack, name, database_url=database_url, say=say)
        lines = [f"export {name}={value}" for name, value in stack.environment.items()]
        (folder / "stack.env").write_text("\n".join(lines) + "\n")
    if S3 in stack.servers:
        say(f"{S3}: {LOST}. Give another store with --s3-endpoint to keep them.")
    return stack


def stop(folder: Path, *, say: Say = print) -> Stack | None:
    """End the processes that `start` started and that still run, in reverse order; data stay.

    Returns:
        The stack as it is afterwards, None where the folder holds none.
    """
    folder = folder.resolve()
    if not (folder / RECORD).exists():
        say(f"{folder}: no stack was started here")
        return None
    with _locked(folder):
        stack = read_record(folder)
        for name in reversed(stack.servers):
            ended = end_server(name, stack.servers[name].program)
            stack = stack.with_program(name, None)
            write_record(stack)
            kept = {POSTGRES: "; its data stay", S3: "; its objects are gone"}.get(name, "")
            say(f"{name}: {f'ended{kept}' if ended else 'was not running'}")
    return stack


def status(folder: Path) -> Stack | None:
    """Return the stack of a folder, None where there is none."""
    folder = folder.resolve()
    return read_record(folder) if (folder / RECORD).exists() else None


def _bring_up(stack: Stack, name: str, *, database_url: str, say: Say) -> Stack:
    """Start one server, on its port and its data, and wait until it answers."""
    port, log = stack.servers[name].port, stack.log(name)
    if not is_free(port):
        raise ProgramError(f"{name}: another program listens at port {port}; end that one, or run `aelif stack down` "
                           "first, then new ports are chosen")  # fmt: skip
    say(f"{name} starts at 127.0.0.1:{port} …")
    program = launch_server(stack, name, database_url=database_url)
    stack = stack.with_program(name, program)
    write_record(stack)  # before it answers: whatever happens now, `stop` knows it
    try:
        await_server(stack, name, program)
    except ProgramError:
        end_server(name, program)
        raise
    stack = stack.with_program(name, program.with_children())
    write_record(stack)
    say(f"{name} runs; log: {log}")
    return stack


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one command at a time change what runs here."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _planned(folder: Path, *, s3_endpoint: str, own_database: bool, bucket: str) -> Stack:
    """Return the stack that was here before, or a new one on free ports; of one that is down, ports taken since change.

    Raises:
        ValueError: if the one before had other servers, and runs.
    """
    given = {POSTGRES: not own_database, S3: bool(s3_endpoint)}
    names = [name for name in SERVERS if not given.get(name)]
    before = read_record(folder) if (folder / RECORD).exists() else None
    servers = before.servers if before else {}
    running = any(server.alive for server in servers.values())
    if before and running and (list(servers), before.s3_endpoint, before.bucket) != (names, s3_endpoint, bucket):
        raise ValueError(
            f"folder = {str(folder)!r}: a stack with another database, --s3-endpoint or --bucket runs here; give the "
            "same ones, end it with `aelif stack down`, or choose another --folder"
        )
    for name, server in servers.items():
        if not server.alive:
            end_server(name, server.program)  # children that outlived it may hold its port
    kept = {name: server for name, server in servers.items() if running or is_free(server.port)}
    fresh = dict(zip(names, free_ports(len(names)), strict=True))
    planned = {name: kept.get(name, Server(port=fresh[name])) for name in names}
    return Stack(folder=folder, servers=planned, s3_endpoint=s3_endpoint, bucket=bucket)
