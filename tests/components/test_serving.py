"""`mlflow models serve` on a registered model answers with the pipeline's own images."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.registered import SYNTHESIS, register, write_base, write_model, write_trained
from tests.tiny import write_tiny_sdxl

from aelif.artifacts import read_json
from aelif.config import StressConfig, TrackingConfig, to_dict
from aelif.progress import StepProgress
from aelif.registry.store import run_with_store
from aelif.synthesize.sampler import generate_images

PROMPT = "a photo of sks dog"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serving")
    base = write_base(write_tiny_sdxl(folder / "raw"), folder / "base")
    model = write_model(write_trained(base, folder / "trained"), base, folder / "model")
    tracking = to_dict(TrackingConfig.local(folder))
    run_with_store(tracking, lambda client, _: register(client, "dog", model), patience_s=30)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/dog@champion",
               "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]  # fmt: skip
    binaries = Path(sys.executable).parent  # MLflow starts uvicorn by its name
    environment = {
        **os.environ, "MLFLOW_TRACKING_URI": TrackingConfig.local(folder).tracking_uri, "OMP_NUM_THREADS": "1",
        "AELIF_MODEL_CACHE": str(folder / "cache"), "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    environment.pop("AELIF_BASE_MODEL", None)
    log = folder / "log"
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=log.open("w"), stderr=subprocess.STDOUT, start_new_session=True
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{uri}/health", process, log)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(uri: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(uri, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def post(server: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{server}/invocations", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["predictions"]


def test_a_request_is_answered_with_the_pipelines_images(server: str, folder: Path):
    row = {"prompt_id": 0, "clean_id": 0, "prompt": PROMPT, "prompt_set": "clean", "family": "clean", "severity": 0.0}
    generate_images(
        base=folder / "base", model=folder / "trained", prompts=[row], output=folder / "images", config=SYNTHESIS,
        stress=StressConfig(), shard=0, num_shards=1, progress=StepProgress("synthesize", ""),
    )  # fmt: skip
    expected = [np.asarray(Image.open(path)) for path in sorted((folder / "images").glob("*.png"))]
    body = {"dataframe_records": [{"prompt": PROMPT}], "params": {"seed": SYNTHESIS.seed, "num_images": 2}}
    for _ in range(2):  # the model stays open between requests
        rows = post(server, body)
        assert [(row["prompt"], row["image_index"]) for row in rows] == [(PROMPT, 0), (PROMPT, 1)]
        images = [np.asarray(Image.open(io.BytesIO(base64.b64decode(row["image"])))) for row in rows]
        np.testing.assert_array_equal(images, expected)


def test_the_input_example_is_a_request(server: str, folder: Path):
    (row,) = post(server, read_json(folder / "model" / "serving_input_example.json"))
    assert row["prompt"] == PROMPT


def test_a_bad_request_is_named_and_harms_nobody(server: str):
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, {"dataframe_records": [{"prompt": PROMPT}], "params": {"num_inference_steps": 0}})
    assert refused.value.code == 400
    assert "num_inference_steps = 0" in refused.value.read().decode()
    assert post(server, {"dataframe_records": [{"prompt": PROMPT}]})
