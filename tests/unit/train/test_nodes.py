"""Training on two nodes, for real but for the cluster: Kubeflow's SDK, an API that runs the pods, torchrun and gloo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import write_photos
from tests.unit.train.conftest import Listening, settings
from tests.unit.train.trainer_api import ROOT, Cluster

from aelif.config import ClusterConfig, DataConfig, Trial
from aelif.progress import StepProgress
from aelif.train.dreambooth import TrainReport
from aelif.train.launch import train_on_all_devices

LORA_FILE = "pytorch_lora_weights.safetensors"
TRIAL = Trial.parse("aelif_mask:0.3/seed=1")
TWO = ClusterConfig(nodes=2, accelerators=0, cpu="1", memory="1Gi")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the nodes are processes without a GPU")


@pytest.fixture
def train(on_nodes, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainReport]:
    cluster.runs = True
    monkeypatch.setattr("aelif.train.nodes.POLL_S", 0.2)

    def train(name: str, progress: StepProgress | None = None, *, inputs: dict[str, Any] | None = None, **changes: Any):
        return on_nodes(progress, output=tmp_path / name, config=settings(**changes), cluster=TWO, **(inputs or {}))

    return train


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / LORA_FILE)


def assert_same_bits(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def pair(base: Path, photos: Path, class_images: Path, data: DataConfig, tmp_path: Path) -> Callable[..., TrainReport]:
    """Train by two processes of one machine."""

    def pair(name: str, **changes: Any) -> TrainReport:
        return train_on_all_devices(
            base=base, photos=photos, class_images=class_images, output=tmp_path / name, trial=TRIAL, data=data,
            config=settings(**changes), checkpoint_dir=None, progress=Listening(), num_processes=2,
        )  # fmt: skip

    return pair


def test_two_nodes_train_what_two_processes_of_a_machine_train(train, pair, cluster: Cluster, volume: Path, tmp_path,
                                                               monkeypatch, capsys):  # fmt: skip
    measures, listening = tmp_path / "measures", Listening()
    monkeypatch.setenv("AELIF_MEASURES", str(measures))
    report = train("nodes", listening, validate_every=4)
    monkeypatch.delenv("AELIF_MEASURES")
    expected = pair("pair", validate_every=4)
    assert report.losses == expected.losses
    assert report.weights_sha256 == expected.weights_sha256
    assert_same_bits(tmp_path / "nodes", tmp_path / "pair")
    assert len(list((tmp_path / "nodes" / "validation").rglob("*.png"))) == 2

    assert cluster.jobs == {}
    assert files(volume) == []
    events = [event["event"] for event in listening.events]
    assert events[0] == "trainjob"
    assert {"preflight", "validation", "progress"} <= set(events)
    assert [event["done"] for event in listening.events if event["event"] == "progress"][-1] == 6
    assert measures.read_text().count("train/loss") == 6


def test_the_error_of_a_node_is_the_error_of_the_step(train, cluster: Cluster, volume: Path, tmp_path: Path):
    broken = write_photos(tmp_path / "photos", count=2, text="a photo of a backpack")
    with pytest.raises(ValueError, match=r"0000\.png: its caption .* lacks the identifier 'sks'"):
        train("broken", inputs={"photos": broken})
    assert cluster.jobs == {}
    assert files(volume) == []
    assert not (tmp_path / "broken").exists()


def test_a_lost_node_fails_the_step_whose_next_attempt_resumes(train, pair, cluster: Cluster, volume, tmp_path: Path):
    def lose_a_node() -> None:
        if list((volume / "run").glob("*.safetensors")):
            cluster.nodes[1].kill()

    cluster.on_get = lose_a_node
    with pytest.raises(RuntimeError, match=r"TrainJob aelif-\w+-\w+: .*node-1 Failed"):
        train("lost", steps=24)
    assert cluster.jobs == {}
    assert [Path(name).suffix for name in files(volume)] == [".safetensors"]

    cluster.on_get = lambda: None
    report = train("resumed", steps=24)
    assert report.resumed_from > 0
    pair("pair", steps=24)
    assert_same_bits(tmp_path / "resumed", tmp_path / "pair")
    assert files(volume) == []


@pytest.fixture
def step(base: Path, photos: Path, class_images: Path, cluster: Cluster, volume: Path, tmp_path: Path):
    """Start a step as a process of its own."""
    cluster.runs = True
    started: list[subprocess.Popen] = []

    def step() -> subprocess.Popen:
        paths = [str(path) for path in (volume, base, photos, class_images, tmp_path / "output")]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.train.step_on_nodes", cluster.host, *paths], cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}/components:{ROOT}/pipelines"},
        )  # fmt: skip
        started.append(process)
        deadline = time.monotonic() + 120
        while not cluster.jobs:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    yield step
    for process in started:
        process.kill()
        process.wait()


def test_a_step_whose_pod_was_lost_finds_its_job(step, train, cluster: Cluster, volume: Path):
    lost = step()
    lost.send_signal(signal.SIGKILL)
    lost.wait()
    listening = Listening()
    report = train("output", listening, steps=24)
    assert len(report.losses) == 24
    assert len(cluster.made) == 1
    assert listening.events[0]["state"] == "found; going on with it"
    assert cluster.jobs == {}
    assert files(volume) == []


def test_a_step_that_is_stopped_takes_its_job_away(step, cluster: Cluster, volume: Path):
    stopped = step()
    stopped.terminate()
    assert stopped.wait(timeout=60) == 128 + signal.SIGTERM
    assert cluster.jobs == {}
    assert not list(volume.rglob("trainjob*"))
