"""What steps have to tell MLflow, kept in files until it is told: nobody waits for a server, nothing is lost.

Every step writes a file of JSON lines of its own; whoever comes by sends what is there, in the order
in which the files were begun. How far a file was sent stands in a second one beside it, written after
the sending: after a crash between the two, lines are sent again, and MLflow drops what it has, for
name, step, value and time are the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aelif.artifacts import digest_of, new_file
from aelif.progress import append_lines

SPOOL_VARIABLE = "AELIF_SPOOL"
SET_ASIDE = "set-aside.jsonl"
"""Lines that MLflow refuses, with its reasons."""
_HEAD = {"run_key", "store", "given"}
_FIELDS = {
    "open": {*_HEAD, "settings", "trials", "code_version"},
    "begin": {*_HEAD, "step", "label"},
    "metrics": {"step", "values"},
    "end": {"step", "given", "state", "cause", "duration_s"},
    "close": {*_HEAD, "state", "cause"},
}
"""Kinds of records and what each must hold beside its time."""
_ENDS = ("end", "open", "close")
"""Kinds of the records that a file ends with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What a sending came to."""

    lines: int = 0
    """How many were sent."""
    left: int = 0
    """Files that still hold something unsent."""
    set_aside: tuple[str, ...] = ()
    """Why lines were refused, and by which file."""
    fault: str = ""
    """Why it stopped; "" where it did not."""


def spool_folder() -> Path | None:
    """Return the folder that `AELIF_SPOOL` names; None without it."""
    path = os.environ.get(SPOOL_VARIABLE)
    return Path(path) if path else None


def store_key(tracking: Mapping[str, Any]) -> str:
    """Return a digest of the store, without its password: what was meant for one is not sent to another."""
    return digest_of([str(tracking["tracking_uri"]).rstrip("/"), tracking.get("experiment", "")])


def begin_file(folder: Path, tracking: Mapping[str, Any], run_key: str, **record: object) -> Path:
    """Create a file with its first record and return its path; names sort by time.

    Args:
        folder: the spool.
        tracking: a `TrackingConfig` in plain values.
        run_key: names the execution.
        record: ``kind`` ("begin", "open" or "close") and what belongs to it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{record.get('step', record['kind'])} {record.get('label', '')}".strip()
    slug = re.sub(r"[^\w.=-]+", "-", about)[:80]
    path = folder / f"{time.time_ns():020d}-{os.getpid()}-{slug}.jsonl"
    head = {"run_key": run_key, "store": store_key(tracking), "given": os.environ.get("MLFLOW_RUN_ID", "")}
    append_lines(path, [{**head, **record}])
    return path


def pending(folder: Path, store: str) -> list[Path]:
    """Return the files for a store that hold something unsent, oldest first; removes what is done with."""
    found = []
    for path in sorted(folder.glob("[0-9]*.jsonl")):
        lines, _ = read_lines(path, 0)
        head = _record(lines[0]) if lines else None
        if head is None or head.get("store", store) != store:
            continue
        if offset_of(path) < path.stat().st_size:
            found.append(path)
        elif (last := _record(lines[-1])) is not None and last.get("kind") in _ENDS:
            path.unlink()
            _offset_file(path).unlink(missing_ok=True)
    return found


def read_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Return the whole lines from `offset` on, and where they end; a line that is being written waits."""
    with path.open("rb") as file:
        file.seek(offset)
        text = file.read()
    end = text.rfind(b"\n") + 1
    return text[:end].splitlines(), offset + end


def _record(line: bytes) -> dict[str, Any] | None:
    """Return a line's record, None where it is none."""
    try:
        record = json.loads(line)
    except ValueError:  # half a line of a full disk, or of a process that was killed
        return None
    if not isinstance(record, dict) or not _FIELDS.get(str(record.get("kind")), {"?"}) | {"time"} <= set(record):
        return None
    values = record.get("values", {})
    sound = isinstance(values, dict) and all(isinstance(value, (int, float)) for value in values.values())
    return record if sound else None


def read_records(path: Path, offset: int) -> tuple[list[dict[str, Any]], list[bytes], int]:
    """Return the records from `offset` on, the lines that are none, and where they end."""
    lines, end = read_lines(path, offset)
    records = [(line, _record(line)) for line in lines]
    return [item for _, item in records if item is not None], [line for line, item in records if item is None], end


def head_of(path: Path) -> dict[str, Any]:
    """Return a file's first record.

    Raises:
        ValueError: if it is none.
    """
    lines, _ = read_lines(path, 0)
    head = _record(lines[0]) if lines else None
    if head is None:
        raise ValueError(f"{path}: it does not begin with a record; remove it")
    return head


def _offset_file(path: Path) -> Path:
    return path.with_suffix(".sent")


def offset_of(path: Path) -> int:
    """Return how many bytes of a file were sent."""
    try:
        return int(_offset_file(path).read_text())
    except FileNotFoundError:
        return 0


def set_offset(path: Path, offset: int) -> None:
    """Note how many bytes of a file were sent."""
    with new_file(_offset_file(path)) as temporary:
        temporary.write_text(str(offset))


@contextmanager
def sending_alone(folder: Path, *, wait_s: float) -> Iterator[bool]:
    """Hold the spool's lock; yields whether it was got within `wait_s`. The lock of a killed process is free."""
    deadline = time.monotonic() + wait_s
    with (folder / ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(0.05)
            else:
                yield True
                return


def send(folder: Path, tracking: Mapping[str, Any], *, patience_s: float, wait_s: float = 0.0) -> Sent:
    """Send what is unsent in a spool.

    Args:
        folder: the spool; it may not exist.
        tracking: a `TrackingConfig` in plain values; what was meant for another store stays.
        patience_s: seconds to wait for a store that is away or locked.
        wait_s: seconds to wait for another process that is sending.

    Returns:
        What was sent and what is left: a store that is away, or refuses, is no error here.

    Raises:
        ValueError: if `tracking` is not valid.
    """
    if not folder.is_dir():
        return Sent()
    with sending_alone(folder, wait_s=wait_s) as alone:
        files = pending(folder, store_key(tracking)) if alone else []
        if not files:
            return Sent(left=0 if alone else len(pending(folder, store_key(tracking))))
        from aelif.registry.sending import send_files

        sent = send_files(files, tracking, patience_s=patience_s)
        pending(folder, store_key(tracking))  # removes what is done with
        return sent


def flush(tracking: Mapping[str, Any], *, patience_s: float) -> Sent:
    """Send all that is unsent in the spool of `AELIF_SPOOL`, waiting for others who send; nothing without one."""
    folder = spool_folder()
    return send(folder, tracking, patience_s=patience_s, wait_s=patience_s) if folder else Sent()
