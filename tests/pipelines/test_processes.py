"""Programs that outlive a command: whose they are, how they end, what is said when they do not start."""

import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from aelif_pipelines.processes import Program, ProgramError, await_answer, free_ports, is_free, launch

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
PARENT = [sys.executable, "-c", f"import subprocess; subprocess.run({SLEEP!r})"]
STUBBORN = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); "
            "time.sleep(600)"]  # fmt: skip


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_with_its_children_is_ended(tmp_path: Path):
    program = launch(PARENT, log=tmp_path / "log")
    until(lambda: len(program.with_children().processes) == 2)
    recorded = program.with_children()
    assert recorded.alive
    assert recorded.end(sign=signal.SIGTERM, grace_s=10) == 2
    assert not recorded.alive
    assert not [pid for pid, _ in recorded.processes if psutil.pid_exists(pid)]
    assert recorded.end(sign=signal.SIGTERM, grace_s=10) == 0


def test_children_that_outlived_it_are_ended_too(tmp_path: Path):
    program = launch(PARENT, log=tmp_path / "log")
    until(lambda: len(program.with_children().processes) == 2)
    recorded = program.with_children()
    psutil.Process(recorded.processes[0][0]).kill()
    until(lambda: not recorded.alive)
    assert recorded.end(sign=signal.SIGTERM, grace_s=10) == 1
    until(lambda: not [pid for pid, _ in recorded.processes if _runs(pid)])


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_stranger_with_the_same_process_id_is_left_alone(tmp_path: Path):
    program = launch(SLEEP, log=tmp_path / "log")
    ((pid, started),) = program.processes
    earlier = Program(processes=((pid, started - 60),))
    assert not earlier.alive
    assert earlier.end(sign=signal.SIGKILL, grace_s=1) == 0
    assert program.alive
    program.end(sign=signal.SIGTERM, grace_s=10)


def test_what_does_not_listen_is_killed(tmp_path: Path):
    program = launch(STUBBORN, log=tmp_path / "log")
    until(lambda: "deaf" in (tmp_path / "log").read_text())
    assert program.end(sign=signal.SIGTERM, grace_s=0.2) == 1
    assert not program.alive


def test_a_program_that_ends_early_shows_its_last_words(tmp_path: Path):
    program = launch([sys.executable, "-c", "raise SystemExit('no such data')"], log=tmp_path / "log")
    with pytest.raises(ProgramError, match=r"Thing ended before it answered\n  no such data\nLog: .*log"):
        await_answer(program, lambda: False, name="Thing", log=tmp_path / "log", patience_s=20)


def test_a_program_that_does_not_answer_is_named(tmp_path: Path):
    program = launch(SLEEP, log=tmp_path / "log")
    with pytest.raises(ProgramError, match="Thing did not answer within 0 s"):
        await_answer(program, lambda: False, name="Thing", log=tmp_path / "log", patience_s=0.2)
    program.end(sign=signal.SIGTERM, grace_s=10)


def test_a_missing_program_is_named(tmp_path: Path):
    with pytest.raises(ProgramError, match="/no/such: No such file"):
        launch(["/no/such"], log=tmp_path / "log")


def test_free_ports_differ_and_a_taken_one_is_not_free():
    ports = free_ports(5)
    assert len(set(ports)) == 5
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", ports[0]))
        listener.listen()
        assert not is_free(ports[0])
    assert is_free(ports[1])
