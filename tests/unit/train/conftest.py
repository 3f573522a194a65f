from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.tiny import write_photos, write_tiny_sdxl

from aelif.config import ClusterConfig, DataConfig, LoraConfig, OptimizerConfig, Subject, TrainConfig, Trial
from aelif.progress import StepProgress
from aelif.train.dreambooth import fine_tune

if TYPE_CHECKING:
    from tests.unit.train.trainer_api import Cluster

SMALL = {"steps": 6, "crops": 2, "checkpoint_every": 2, "lora": LoraConfig(rank=2, alpha=2)}


class Interrupting(StepProgress):
    """Stops the training as Ctrl-C would, at the first report from step `at` on."""

    def __init__(self, at: int) -> None:
        super().__init__("train", "test")
        self.at = at

    def advance(self, done: int, total: int, unit: str) -> None:
        if done >= self.at:
            raise KeyboardInterrupt


class Listening(StepProgress):
    """Keeps the events."""

    def __init__(self) -> None:
        super().__init__("train", "test")
        self.events: list[dict[str, Any]] = []

    def emit(self, event: str, **fields: object) -> None:
        json.dumps(fields)
        self.events.append({"event": event, **fields})


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("train") / "base")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("train") / "photos", count=3, text="a photo of sks backpack")


@pytest.fixture(scope="session")
def class_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("train") / "class", count=4, text="a photo of a backpack", seed=1)


@pytest.fixture(scope="session")
def data() -> DataConfig:
    return DataConfig(
        instance_images="photos", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
    )


@pytest.fixture(scope="session")
def two_subjects(data: DataConfig) -> DataConfig:
    cat = Subject(instance_images="cats", instance_prompt="a photo of zwx cat", class_prompt="a photo of a cat")
    return DataConfig(
        instance_images=data.instance_images, instance_prompt=data.instance_prompt, class_prompt=data.class_prompt,
        more_subjects=(cat,),
    )  # fmt: skip


def settings(**changes: Any) -> TrainConfig:
    """Return small settings; the optimizer's name and its learning rate are given flat."""
    chosen = {**SMALL, **changes}
    flat = {"optimizer": "name", "learning_rate": "learning_rate"}
    optimizer = {theirs: chosen.pop(ours) for ours, theirs in flat.items() if ours in chosen}
    return TrainConfig(**chosen, optimizer=OptimizerConfig(**optimizer))


@pytest.fixture
def train(base: Path, photos: Path, class_images: Path, data: DataConfig, tmp_path: Path) -> Callable[..., Any]:
    def train(
        name: str, trial: str = "aelif_noise_conv:0.3/seed=1", progress: StepProgress | None = None, *,
        model: Path = base, checkpoints: Path | None = None, prior: Path | None = class_images, subjects=data,
        folder: Path = photos, **changes,
    ):  # fmt: skip
        return fine_tune(
            base=model, photos=folder, class_images=prior, output=tmp_path / name, trial=Trial.parse(trial),
            data=subjects, config=settings(**changes), checkpoint_dir=checkpoints,
            progress=progress or StepProgress("train", "test"),
        )  # fmt: skip

    return train


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A Kubernetes API with Kubeflow Trainer."""
    from tests.unit.train.trainer_api import Cluster, serve  # Kubeflow's SDK takes seconds to import

    cluster = Cluster(folder=tmp_path)
    server, cluster.host = serve(cluster)
    yield cluster
    server.shutdown()
    server.server_close()
    cluster.end()


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared volume, and the environment of a step's pod."""
    monkeypatch.setenv("AELIF_IMAGE", "registry.example/aelif/gpu-python@sha256:1")
    monkeypatch.setenv("AELIF_RUN_KEY", "run-1")
    monkeypatch.setenv("KFP_POD_NAME", "step")
    return tmp_path / "volume"


@pytest.fixture
def on_nodes(
    base: Path, photos: Path, class_images: Path, data: DataConfig, cluster: Cluster, volume: Path, tmp_path: Path
) -> Callable[..., Any]:
    """Train on nodes of `cluster`."""
    from aelif.train.nodes import train_on_nodes

    def on_nodes(progress: StepProgress | None = None, **changes: Any):
        given: dict[str, Any] = {
            "base": base, "photos": photos, "class_images": class_images, "output": tmp_path / "output", "data": data,
            "trial": Trial.parse("aelif_mask:0.3/seed=1"), "config": settings(), "checkpoint_dir": volume / "run",
            "client": cluster.client(cluster.host), "volume": volume, "cluster": ClusterConfig(nodes=2),
        }  # fmt: skip
        return train_on_nodes(**{**given, **changes}, progress=progress or Listening())

    return on_nodes
