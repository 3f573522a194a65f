"""The stack that the tests of this folder share, in a short path that PostgreSQL's own user can reach."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aelif_pipelines.postgres import find_program
from aelif_pipelines.stack import start, stop

Command = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="session")
def aelif() -> Command:
    """Start `aelif` as a user types it, with its output in pipes; the environment names no server."""
    code = os.environ.get("X_CODE", "from aelif_pipelines.cli import main; main()")
    given = ("MLFLOW_", "AWS_", "AELIF_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(given)}
    environment |= {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}

    def begin(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, env=environment,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip

    return begin


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter: as root, we run PostgreSQL as another one."""
    folder = Path(tempfile.mkdtemp(prefix="aelif-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def stack_folder(public_folder: Path) -> Iterator[Path]:
    """The folder of a stack that runs; tests leave it running."""
    if find_program("initdb") is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql, or brew install postgresql")
    folder = public_folder / "stack"
    start(folder)
    yield folder
    stop(folder)
