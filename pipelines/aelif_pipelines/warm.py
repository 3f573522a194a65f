"""A warm interpreter for local steps: libraries are imported once per run, not once per step.

kfp's SubprocessRunner starts every task as `python3 -m kfp.dsl.executor_main …`. A run with dozens
of tasks would spend more time importing torch, diffusers and mlflow than working. So the worker
starts one process that imports them and then forks a child for each task; the `python3` that tasks
find first on PATH hands its arguments, environment and streams to it. While that process still
warms up, on another system than Linux, or should it be gone, tasks run in a fresh interpreter.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

EXECUTOR = "kfp.dsl.executor_main"
"""Module whose `executor_main` a task runs."""
PRELOADED = (
    "aelif.models.sdxl",
    "aelif.models.sd3",
    "aelif.train.dreambooth",
    "aelif.synthesize.class_images",
    "aelif.embed.folders",
    "aelif.score.summary",
    "aelif.registry.publish",
    "aelif.registry.live",
    "aelif.registry.sending",
    "aelif.registry.due",
    "aelif.champion.evaluate",
    "aelif.report.page",
    "aelif.deliver.results",
    "aelif.prepare.photos",
    "aelif.perturb.plan",
    "diffusers.schedulers.scheduling_dpmsolver_multistep",
    "peft",
    "pyarrow.parquet",
    "matplotlib.figure",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.system_metrics.metrics.cpu_monitor",
    "mlflow.system_metrics.metrics.disk_monitor",
    "mlflow.system_metrics.metrics.network_monitor",
    "mlflow.system_metrics.metrics.gpu_monitor",
)
"""What steps import, at their start or while they work."""

CLIENT = """\
import json, os, socket, sys
python, path = {python!r}, {socket!r}
link = socket.socket(socket.AF_UNIX)
try:
    if sys.argv[1:3] != ["-m", {executor!r}]:
        raise ConnectionError
    link.connect(path)
except OSError:
    os.execv(python, [python, *sys.argv[1:]])
request = json.dumps({{"arguments": sys.argv[3:], "folder": os.getcwd(), "environment": dict(os.environ)}}).encode()
socket.send_fds(link, [len(request).to_bytes(8, "big")], [0, 1, 2])
link.sendall(request)
code = link.recv(1)
sys.exit(code[0] if code else 1)
"""


@contextmanager
def warm_interpreter(executor: str = EXECUTOR, preloaded: Sequence[str] = PRELOADED) -> Iterator[None]:
    """Put a `python3` first on PATH that runs tasks in forks of one warm process; ends it on leaving.

    Args:
        executor: module that tasks name as `python3 -m MODULE`, with a function `executor_main`.
        preloaded: further modules to import once.
    """
    if not sys.platform.startswith("linux"):  # elsewhere, forking after imports is not safe
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="aelif-warm-"))
    address = str(folder / "socket")
    client = folder / "client.py"
    client.write_text(CLIENT.format(python=sys.executable, socket=address, executor=executor))
    launcher = folder / "bin" / "python3"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{client}" "$@"\n')
    launcher.chmod(0o755)
    os.environ["PATH"] = f"{launcher.parent}{os.pathsep}{os.environ['PATH']}"
    server = subprocess.Popen([sys.executable, "-m", __name__, address, executor, *preloaded])
    try:
        yield
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def serve(address: str, executor: str, *preloaded: str) -> None:
    """Import everything, then fork a child for every request until the parent is gone."""
    parent = os.getppid()
    for module in (executor, *preloaded):
        importlib.import_module(module)
    gc.freeze()  # children leave these pages shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps children
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        listener.settimeout(2.0)
        while os.getppid() == parent:
            try:
                link, _ = listener.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                listener.close()
                _run_task(link, executor)
            link.close()


def _run_task(link: socket.socket, executor: str) -> NoReturn:
    """Become the task's process: take its streams, folder, environment and arguments; run; send the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    link.setblocking(True)
    head, streams, *_ = socket.recv_fds(link, 8, 3)
    with link.makefile("rb") as file:
        request = json.loads(file.read(int.from_bytes(head, "big")))
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [executor, *request["arguments"]]
    random.seed()
    code = 1
    try:
        sys.modules[executor].executor_main()
        code = 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:  # the last frame of a process: printed like any uncaught error, exit code 1
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        link.sendall(bytes([code & 255]))
        os._exit(code)


if __name__ == "__main__":
    serve(*sys.argv[1:])
