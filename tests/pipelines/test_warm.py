"""Tasks run in forks of a warm process as they would in an interpreter of their own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aelif_pipelines.warm import warm_interpreter

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks after imports on Linux alone")

TASK = """
import os, sys
print("imported by", os.environ["MARK"])

def executor_main():
    print(sys.argv[1:], os.getcwd(), os.environ["MARK"], "json.tool" in sys.modules)
    code = os.environ["CODE"]
    if not code.isdigit():
        raise OSError(code)
    sys.exit(int(code))

if __name__ == "__main__":
    executor_main()
"""


@pytest.fixture
def executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a small module that stands for kfp's executor."""
    (tmp_path / "small_executor.py").write_text(TASK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", os.environ["PATH"])  # restored afterwards
    monkeypatch.setenv("MARK", "the server")
    return "small_executor"


def run_task(executor: str, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", f'python3 -m {executor} --name "$0"', "a b"]
    environment = {**os.environ, "MARK": "the task", "CODE": code}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def warm_task(executor: str, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run tasks until the server is up and takes one."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        done = run_task(executor, code, cwd)
        if "imported by" not in done.stdout:  # a fork imports nothing any more
            return done
    raise AssertionError("the server never took a task")


def test_a_fork_gets_the_arguments_environment_folder_and_streams(executor: str, tmp_path: Path):
    with warm_interpreter(executor, ["json.tool"]):
        done = warm_task(executor, "0", tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"['--name', 'a b'] {tmp_path} the task True\n"


@pytest.mark.parametrize(("code", "expected"), [("3", 3), ("broken", 1)])
def test_a_failing_task_gives_its_exit_code_and_traceback(executor: str, tmp_path: Path, code: str, expected: int):
    with warm_interpreter(executor, ["json.tool"]):
        done = warm_task(executor, code, tmp_path)
    assert done.returncode == expected
    assert ("OSError: broken" in done.stderr) == (code == "broken")


def test_without_a_server_a_fresh_interpreter_runs_the_task(executor: str, tmp_path: Path):
    with warm_interpreter(executor, ["json.tool"]):
        path = os.environ["PATH"]
    assert not Path(path.partition(os.pathsep)[0]).exists()
    done = run_task(executor, "0", tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"imported by the task\n['--name', 'a b'] {tmp_path} the task False\n"
