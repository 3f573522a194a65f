"""A training step of a process of its own, for tests that end it: python step_on_nodes.py API VOLUME FOLDER..."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.train.conftest import settings
from tests.unit.train.trainer_api import Cluster

from aelif.config import ClusterConfig, DataConfig, Trial
from aelif.progress import StepProgress
from aelif.train.nodes import train_on_nodes

host, volume, base, photos, class_images, output = sys.argv[1:]
train_on_nodes(
    base=Path(base), photos=Path(photos), class_images=Path(class_images), output=Path(output),
    trial=Trial.parse("aelif_mask:0.3/seed=1"), config=settings(steps=24),
    data=DataConfig(
        instance_images="photos", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
    ),
    checkpoint_dir=Path(volume) / "run", progress=StepProgress("train", "test"),
    cluster=ClusterConfig(nodes=2, accelerators=0, cpu="1", memory="1Gi"),
    client=Cluster(folder=Path()).client(host), volume=Path(volume),
)  # fmt: skip
