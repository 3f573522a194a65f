"""Reaching the MLflow store: made whole on first use, awaited while locked, errors in one line."""

from __future__ import annotations

import errno
import logging
import os
import re
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from aelif.config import TrackingConfig, from_dict

Result = TypeVar("Result")

PATIENCE_S = 60.0
"""How long to wait for a locked database or an absent server before giving up."""

_REMEDIES = (
    ("locked", "another program holds it; end that one (a second run, an `mlflow` command) and run again"),
    ("readonly", "it cannot be written; check the permissions of the file and its folder"),
    ("unable to open", "it cannot be opened; check the permissions of the file and its folder"),
    ("not a database", "the file is something else; move it away and run again"),
    ("disk is full", "the disk is full; free some space and run again, finished steps are reused"),
    ("out-of-date", "it was made by another MLflow; back it up and run `mlflow db upgrade` on it"),
    ("host header", "the server refuses this host name; start it with --allowed-hosts naming it, port included"),
    ("deleted state", "restore it in MLflow, or choose another name"),
)
_ABSENCE = ("check that it is there, and the address; what was computed is kept in the output folder, and the same "
            "command goes on from there")  # fmt: skip
_PASSING = (
    "database is locked", "failed with exception", "too many 5", "too many 429", "error code 5", "connection refused",
    "could not connect", "server closed the connection", "timeout expired", "database system is starting",
)  # fmt: skip
"""Signs of what passes, in messages of MLflow (which has no type for them), SQLite and PostgreSQL."""


class TrackingError(RuntimeError):
    """MLflow could not be reached or refused; one line that names the store, the cause and the remedy."""


class AbsentError(TrackingError):
    """Nobody answered, or the store is busy: what could not be told now may be told later."""


def run_with_store(
    tracking: Mapping[str, Any], action: Callable[[MlflowClient, TrackingConfig], Result], *, patience_s: float
) -> Result:
    """Return what `action` returns for a client of this store, repeated while it is locked or away.

    MLflow waits for a lock only where SQLite can: a transaction that turns from reading to
    writing fails at once when two processes meet. And a server may go at any moment, and come
    back. So the whole action is repeated, and must bear it.

    Args:
        tracking: a `TrackingConfig` in plain values, as the pipeline carries it.
        action: what to do; idempotent.
        patience_s: seconds after which a lock or an absent server is an error.

    Raises:
        ValueError: if `tracking` is not valid.
        AbsentError: if the store cannot be reached, or stays locked.
        TrackingError: if it refuses.
    """
    config = from_dict(TrackingConfig, dict(tracking))
    deadline = time.monotonic() + patience_s
    delay_s = 0.2
    while True:
        try:
            return action(connect(config, patience_s=max(0.0, deadline - time.monotonic())), config)
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            if not is_passing(error):
                raise TrackingError(describe(config, error)) from error
            if time.monotonic() + delay_s > deadline:
                raise AbsentError(describe(config, error)) from error
        time.sleep(delay_s)
        delay_s = min(2 * delay_s, 5.0)


def is_passing(error: Exception) -> bool:
    """Tell whether the same request may succeed later: a lock, nobody there, a server that is overloaded or starts."""
    if isinstance(error, OSError):  # a full disk, say, stays full
        return isinstance(error, (ConnectionError, TimeoutError, urllib.error.URLError, requests.ConnectionError,
                                  requests.Timeout))  # fmt: skip
    return any(sign in str(error).lower() for sign in _PASSING)


def connect(config: TrackingConfig, *, patience_s: float = PATIENCE_S) -> MlflowClient:
    """Return a client, once the store exists and answers.

    Raises:
        sqlite3.Error: if the database file is locked, not writable, or no database.
        OSError: if no server answers.
    """
    for name in ("mlflow", "alembic"):  # what they log is raised as well, and told by `TrackingError`
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if (path := database_file(config)) is not None:
        if not path.exists():
            create_database(path, artifact_root=artifact_root(config) or "")
        await_database(path, patience_s=patience_s)
    elif config.tracking_uri.startswith("http"):
        await_server(config.tracking_uri, patience_s=patience_s)
    return MlflowClient(tracking_uri=config.tracking_uri, registry_uri=config.tracking_uri)


def database_file(config: TrackingConfig) -> Path | None:
    """Return the file of a ``sqlite:`` store, None for any other."""
    prefix = "sqlite:///"
    uri = config.tracking_uri
    return Path(uri.removeprefix(prefix).partition("?")[0]) if uri.startswith(prefix) else None


def artifact_root(config: TrackingConfig) -> str | None:
    """Return where the experiment's files go; None where a server decides.

    A database alone would put them into the current directory, which is another one for every step.
    """
    path = database_file(config)
    return config.artifact_location or (None if path is None else (path.parent / "mlflow-artifacts").as_uri())


def create_database(path: Path, *, artifact_root: str) -> None:
    """Create an MLflow database; it appears at `path` whole, or not at all.

    MLflow builds it in place by some 70 migrations: an interruption leaves a broken file, and
    waiting for the disk after each takes most of the time. So it is built under another name,
    without waiting (7 s become 1 s), and linked to its own. Of several processes one wins.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
        fresh = Path(folder) / "mlflow.db"
        event.listen(Engine, "connect", hurry)
        try:
            SqlAlchemyStore(f"sqlite:///{fresh}", artifact_root).engine.dispose()
        finally:
            event.remove(Engine, "connect", hurry)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        try:
            path.hardlink_to(fresh)
        except FileExistsError:
            return  # another process was first
        except OSError:  # a file system without hard links
            fresh.replace(path)


def await_database(path: Path, *, patience_s: float) -> None:
    """Return once `path` can be written; MLflow itself would try for minutes, and print what it meets.

    Raises:
        sqlite3.Error: if it stays locked for `patience_s`, or cannot be written.
    """
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=patience_s)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    finally:
        connection.close()


def await_server(uri: str, *, patience_s: float) -> None:
    """Return once a server answers at `uri`, whatever it says.

    Raises:
        OSError: if none does within `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10).close()
        except urllib.error.HTTPError:
            return  # an answer: perhaps a proxy that hides this page, or asks for a login
        except OSError:
            if time.monotonic() + 1 > deadline:
                raise
            time.sleep(1)
        else:
            return


def describe(config: TrackingConfig, error: Exception) -> str:
    """Return one line: which store, what happened, what to do."""
    store = database_file(config) or re.sub(r"//[^/@]*@", "//***@", config.tracking_uri)
    if isinstance(error, OSError):
        full = error.errno == errno.ENOSPC
        remedy = dict(_REMEDIES)["disk is full"] if full else _ABSENCE
        return f"MLflow at {store}: {error}; {remedy}"
    message = re.sub(r"^\(sqlite3\.\w+\) ", "", str(error).strip().partition("\n")[0])
    remedies = [remedy for sign, remedy in _REMEDIES if sign in str(error).lower()]
    remedies += [_ABSENCE] if is_passing(error) else []
    return "; ".join([f"MLflow at {store}: {message}", *remedies[:1]])
