"""Programs that outlive the command which started them: found again by process id and start time, ended with care."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from aelif_pipelines.errors import CommandError

CLOCK_SLACK_S = 1.0
"""How far two readings of one process's start time may lie apart."""
LOG_LINES = 5
"""Lines of a program's log that an error quotes."""


class ProgramError(CommandError):
    """A program did not start or answer; the message names it, the cause and the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One running program: the process that was started first, then those that it started itself.

    The start time tells it from a stranger that was given the same process id later.
    """

    processes: tuple[tuple[int, float], ...]
    """Process id and start time in seconds since 1970; the first one is the program, without which it is dead."""

    @property
    def alive(self) -> bool:
        """Whether the program itself still runs; children without it do not count."""
        return _find(*self.processes[0]) is not None

    def with_children(self) -> Program:
        """Return the program with all the processes that it has started by now."""
        root = _find(*self.processes[0])
        if root is None:
            return self
        found = [(child.pid, child.create_time()) for child in root.children(recursive=True)]
        return Program(processes=(self.processes[0], *found))

    def end(self, *, sign: int, grace_s: float, together: bool = True) -> int:
        """End every process of it that still runs, and return how many did.

        Args:
            sign: signal on which they end in order.
            grace_s: seconds until whatever is left is killed.
            together: send it to every process; else to the program alone, which ends its children.
        """
        members = dict.fromkeys((*self.processes, *self.with_children().processes))
        running = [process for member in members if (process := _find(*member))]
        for process in running if together or not self.alive else running[:1]:
            _send(process, sign)
        _, stubborn = psutil.wait_procs(running, timeout=grace_s)
        for process in stubborn:
            _send(process, signal.SIGKILL)
        psutil.wait_procs(stubborn, timeout=grace_s)
        return len(running)


def launch(
    command: Sequence[str],
    *,
    log: Path,
    account: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Start a program that goes on when we end, and that Ctrl-C in our terminal does not reach.

    Args:
        command: program and arguments.
        log: file to which its output is appended.
        account: user to run it as; none: ours.
        environment: variables beside ours.

    Raises:
        ProgramError: if it cannot be run.
    """
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                cwd="/", user=account, group=None if account is None else primary_group(account),
                extra_groups=None if account is None else [], env={**os.environ, **(environment or {})},
            )  # fmt: skip
        except OSError as error:
            raise ProgramError(f"{command[0]}: {error.strerror}") from error
    try:
        return Program(processes=((process.pid, psutil.Process(process.pid).create_time()),))
    except psutil.NoSuchProcess as error:
        raise ProgramError(f"{command[0]} ended at once{quote_log(log)}") from error


def await_answer(program: Program, asks: Callable[[], bool], *, name: str, log: Path, patience_s: float) -> None:
    """Return once the program answers.

    Args:
        program: what was launched.
        asks: tells whether it answers.
        name: of the program, for the message.
        log: its output.
        patience_s: seconds to wait.

    Raises:
        ProgramError: if it ends before, or does not answer in time.
    """
    deadline = time.monotonic() + patience_s
    while not asks():
        if not program.alive:
            raise ProgramError(f"{name} ended before it answered{quote_log(log)}")
        if time.monotonic() > deadline:
            raise ProgramError(f"{name} did not answer within {patience_s:.0f} s{quote_log(log)}")
        time.sleep(0.1)


def quote_log(log: Path) -> str:
    """Return the end of a log as lines to append to a message, and where the rest is."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    return "".join(f"\n  {line}" for line in lines[-LOG_LINES:]) + f"\nLog: {log}"


def primary_group(account: str) -> int:
    """Return the group id of a user of this machine."""
    import pwd

    return pwd.getpwnam(account).pw_gid


# ── Ports ──────────────────────────────────────────────────────────────────────────────────────


def is_free(port: int) -> bool:
    """Tell whether a program could listen at this port of 127.0.0.1."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not hold it
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Return as many different free ports of 127.0.0.1."""
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


# ── Processes ──────────────────────────────────────────────────────────────────────────────────


def _find(pid: int, started: float) -> psutil.Process | None:
    """Return the process that had this id and start time, None where it is gone."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) <= CLOCK_SLACK_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


def _send(process: psutil.Process, sign: int) -> None:
    try:
        process.send_signal(sign)
    except psutil.NoSuchProcess:
        return  # it ended by itself
