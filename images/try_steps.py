"""Run real steps where this runs, inside an image: by the commands of the compiled pipeline, as a pod does.

`images/try.sh` starts it in a container without rights to write anywhere but where pods may.

Example: python3 images/try_steps.py gpu
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from aelif.config import TrackingConfig
from aelif_pipelines.arguments import pipeline_arguments
from aelif_pipelines.package import compile_package
from aelif_pipelines.recipes import recipe

STEPS = {
    "cpu": ("read-fingerprints", "prepare-data", "prepare-reference"),
    "gpu": ("prepare-data", "resolve-model", "perturb-prompts", "synthesize-class-images", "train-dreambooth",
            "synthesize-images"),
}  # fmt: skip
"""Image → steps, each of which finds the outputs of those before it."""
CALLED = {
    ("resolve-model", "model"): "base",
    ("perturb-prompts", "table"): "prompts",
    ("synthesize-class-images", "images"): "class_images",
}
"""What later steps call an output."""
RESULTS = {"cpu": {"photos": "*.png", "reference": "*.png"}, "gpu": {"model": "**/*.safetensors", "images": "**/*.png"}}
"""Image → output → files that must lie in it."""
STORE = "minio://try"
"""Kubeflow's launcher hands steps such addresses; they read and write below /minio."""


def run_steps(kind: str) -> dict[str, str]:
    """Run the steps of an image; return output → its address."""
    with TemporaryDirectory() as folder:
        package = compile_package("robustness", Path(folder) / "package.yaml")
        spec, _ = yaml.safe_load_all(package.read_text())
    config = recipe("smoke")
    arguments = pipeline_arguments(config, Path("/tmp"), tracking=TrackingConfig(tracking_uri=""), command="try")
    values = arguments | {
        "trial": arguments["trials"][-1],
        "fingerprint": "",
        "base_fingerprint": "",
        "settings": arguments["prompts"],
        "shard": 0,
        "checkpoint_root": "",
    }
    made: dict[str, str] = {}
    for step in STEPS[kind]:
        took = time.monotonic()
        run_step(spec, step, values, made)
        print(f"✓ {step} ({time.monotonic() - took:.0f} s)", flush=True)
    return made


def run_step(spec: dict[str, Any], step: str, values: dict[str, Any], made: dict[str, str]) -> None:
    """Run one step, and add its outputs to `made`."""
    component = spec["components"][f"comp-{step}"]
    container = spec["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    inputs, outputs = (component.get(f"{side}Definitions", {}) for side in ("input", "output"))
    written = {name: f"{STORE}/{step}/{name}" for name in outputs.get("artifacts", {})}
    executor_input = {
        "inputs": {
            "parameterValues": {name: values[name] for name in inputs.get("parameters", {})},
            "artifacts": {name: _artifact(name, made[name]) for name in inputs.get("artifacts", {})},
        },
        "outputs": {
            "parameters": {name: {"outputFile": f"/tmp/kfp/{step}/{name}"} for name in outputs.get("parameters", {})},
            "artifacts": {name: _artifact(name, address) for name, address in written.items()},
            "outputFile": f"/tmp/kfp/{step}/executor_output.json",
        },
    }
    for address in written.values():
        Path("/minio", address.removeprefix("minio://")).parent.mkdir(parents=True, exist_ok=True)
    command = [
        part.replace("{{$}}", json.dumps(executor_input)) for part in [*container["command"], *container["args"]]
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"✗ {step}: exit status {done.returncode}\n{done.stdout[-4000:]}")
    made |= {CALLED.get((step, name), name): address for name, address in written.items()}


def _artifact(name: str, address: str) -> dict[str, Any]:
    kind = {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"}
    return {"artifacts": [{"name": name, "type": kind, "uri": address, "metadata": {}}]}


def check_results(kind: str, made: dict[str, str]) -> None:
    """Say what came out; exit if something is missing."""
    for name, pattern in RESULTS[kind].items():
        files = list(Path("/minio", made[name].removeprefix("minio://")).glob(pattern))
        if not files:
            sys.exit(f"✗ {name}: no {pattern} in it")
        print(f"✓ {name}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")


def check_rights() -> None:
    """Exit if more can be written than a pod may."""
    if os.getuid() == 0:
        sys.exit("✗ this runs as root")
    for folder in ("/", "/opt/aelif", "/usr/bin", "/etc"):
        try:
            Path(folder, ".try").touch()
        except OSError:
            continue
        sys.exit(f"✗ {folder} can be written")
    print(f"✓ user {os.getuid()}, read-only outside of its mounts")


def serve_mlflow() -> None:
    """Start MLflow's server on a new database, and ask for its health."""
    with socket.socket() as free, TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = ["mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port),
                   "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
                   "--artifacts-destination", f"{folder}/artifacts"]  # fmt: skip
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                began = time.monotonic()
                while time.monotonic() < began + 120:
                    try:
                        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                            print(f"✓ mlflow server: {answer.read().decode()} ({time.monotonic() - began:.0f} s)")
                            return
                    except OSError:
                        time.sleep(0.5)
                sys.exit("✗ mlflow server: no answer in 120 s")
            finally:
                server.terminate()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STEPS:
        sys.exit("usage: try_steps.py cpu|gpu")
    check_rights()
    check_results(sys.argv[1], run_steps(sys.argv[1]))
    if sys.argv[1] == "cpu":
        serve_mlflow()
