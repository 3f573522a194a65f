"""Servers that tests start on this machine, and end."""

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests
from moto.server import ThreadedMotoServer


@contextmanager
def object_store() -> Iterator[str]:
    """Run moto's server in this process and yield its address; what it held would outlive it, so it is forgotten."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    uri = f"http://{host}:{port}"
    try:
        yield uri
    finally:
        requests.post(f"{uri}/moto-api/reset", timeout=10).raise_for_status()
        server.stop()


@contextmanager
def serving(
    command: Sequence[str], folder: Path, *, uri: str, env: Mapping[str, str], patience_s: float
) -> Iterator[str]:
    """Run a server in `folder` and yield its address once ``/health`` answers; its log is `folder`/log."""
    log = folder / "log"
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdout=log.open("w"), stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        _await(f"{uri}/health", process, log, patience_s=patience_s)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(page: str, process: subprocess.Popen, log: Path, *, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(page, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(log.read_text())
