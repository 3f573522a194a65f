"""A PostgreSQL of our own: its data in a folder, on 127.0.0.1 alone, behind a password that was made for it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from aelif_pipelines.processes import Program, ProgramError, await_answer, launch, primary_group

USER, DATABASE = "aelif", "mlflow"
GRACE_S = 30.0
"""How long it may take to end in order."""
SERVICE_ACCOUNTS = ("postgres", "nobody")
"""Users to run it as where we are root, which it refuses; the first that exists."""
FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin",
           "/usr/local/opt/postgresql*/bin")  # fmt: skip
"""Where Debian, Red Hat and Homebrew keep what they do not put on the PATH."""


def find_program(name: str) -> Path | None:
    """Return where a program of PostgreSQL lies, on the PATH or where packages put it; the newest of several."""
    if found := shutil.which(name):
        return Path(found)
    candidates = [path for pattern in FOLDERS for path in Path("/").glob(f"{pattern.lstrip('/')}/{name}")]
    return max(candidates, key=_release, default=None)


def _release(program: Path) -> tuple[int, ...]:
    """Return the release in a path such as /usr/lib/postgresql/17/bin/initdb as numbers to compare."""
    words = "".join(character if character.isdigit() else " " for character in str(program)).split()
    return tuple(map(int, words))


def require_program(name: str) -> Path:
    """Return where a program of PostgreSQL lies.

    Raises:
        ProgramError: if PostgreSQL is not installed; says how to.
    """
    if found := find_program(name):
        return found
    raise ProgramError(
        f"{name}: PostgreSQL is not installed; `apt install postgresql` (Debian, Ubuntu), `dnf install "
        "postgresql-server` (Fedora) or `brew install postgresql` (macOS), or name a database with --database-url"
    )


def service_account() -> str | None:
    """Return the user to run PostgreSQL as, None for ourselves.

    Raises:
        ProgramError: if we are root and there is no other user.
    """
    if os.geteuid() != 0:
        return None
    import pwd

    accounts = {entry.pw_name for entry in pwd.getpwall()}
    for name in SERVICE_ACCOUNTS:
        if name in accounts:
            return name
    raise ProgramError(f"PostgreSQL refuses to run as root, and there is no user {' or '.join(SERVICE_ACCOUNTS)}; "
                       "run this as another user")  # fmt: skip


def make_cluster(data: Path, *, password_file: Path) -> None:
    """Create the data folder and its password, unless both are there; an interruption leaves neither half done.

    Args:
        data: folder to create, owned by the user that PostgreSQL runs as.
        password_file: file in libpq's format (``PGPASSFILE``), which nobody but us can read.

    Raises:
        ProgramError: if PostgreSQL is not installed, or cannot reach or fill the folder.
    """
    if (data / "PG_VERSION").exists():
        return
    account, program = service_account(), require_program("initdb")
    fresh = data.with_name(data.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)  # what an interruption left
    fresh.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    given = fresh.with_name("password.new")
    _write_secret(given, password)
    if account is not None:
        for path in (fresh, given):
            shutil.chown(path, account, primary_group(account))
        _check_reach(fresh, account)
    try:
        _initialize(program, fresh, given, account=account)
    finally:
        given.unlink()
    _write_secret(password_file, f"127.0.0.1:*:*:{USER}:{password}\n")
    fresh.rename(data)


def _initialize(program: Path, folder: Path, password: Path, *, account: str | None) -> None:
    """Run initdb; only the password that it is given opens the database."""
    done = subprocess.run(
        [program, "--pgdata", folder, "--username", USER, "--pwfile", password, "--auth", "scram-sha-256",
         "--encoding", "UTF8", "--locale", "C"],
        capture_output=True, text=True, cwd="/", user=account, extra_groups=None if account is None else [],
        group=None if account is None else primary_group(account),
    )  # fmt: skip
    if done.returncode != 0:
        raise ProgramError(f"initdb could not create {folder}: {done.stderr.strip()}")


def _check_reach(folder: Path, account: str) -> None:
    """Raise unless that user can enter the folder, for which each one above it must let it pass."""
    group = primary_group(account)
    reached = subprocess.run(["test", "-w", folder], cwd="/", user=account, group=group, extra_groups=[])
    if reached.returncode != 0:
        shutil.rmtree(folder)
        raise ProgramError(
            f"PostgreSQL refuses to run as root, and user {account!r} cannot enter {folder.parent}; give a --folder "
            "that it can reach, such as /var/tmp/aelif-stack, or run this as another user"
        )


def _write_secret(path: Path, text: str) -> None:
    """Write a file that was never readable for others."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def launch_postgres(data: Path, *, port: int, log: Path) -> Program:
    """Start the server on this data; it listens on 127.0.0.1, and at no socket file: paths to those must be short.

    Raises:
        ProgramError: if it cannot be run.
    """
    command = [str(require_program("postgres")), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    return launch(command, log=log, account=service_account())


def await_postgres(program: Program, *, port: int, password_file: Path, log: Path, patience_s: float) -> None:
    """Return once the server accepts our password and the database exists.

    Raises:
        ProgramError: if it does not, or its driver is not installed.
    """
    try:
        import psycopg2
    except ImportError as error:
        raise ProgramError(f"{error}: pip install 'aelif[stack]'") from error
    refusal = ""

    def connect(database: str) -> bool:
        nonlocal refusal
        try:
            connection = psycopg2.connect(host="127.0.0.1", port=port, user=USER, dbname=database,
                                          passfile=str(password_file), connect_timeout=5)  # fmt: skip
        except psycopg2.OperationalError as error:
            refusal = str(error).strip()
            return False
        connection.autocommit = True  # no database can be created within a transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{DATABASE}"')
        connection.close()
        return True

    try:
        await_answer(program, lambda: connect("postgres"), name="PostgreSQL", log=log, patience_s=patience_s)
    except ProgramError as error:
        raise ProgramError(f"{error}\n{refusal}" if refusal else str(error)) from error


def end_postgres(program: Program) -> int:
    """End the server in order, without waiting for its clients; return how many processes there were."""
    return program.end(sign=signal.SIGINT, grace_s=GRACE_S, together=False)


def database_url(port: int) -> str:
    """Return SQLAlchemy's URL of the database; the password comes from ``PGPASSFILE``."""
    return f"postgresql+psycopg2://{USER}@127.0.0.1:{port}/{DATABASE}"
