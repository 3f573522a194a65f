"""``kill -9`` in the middle of a training, and its resumption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.train.conftest import settings

from aelif.artifacts import digest_of_folder
from aelif.config import LoraConfig, Trial
from aelif.progress import StepProgress
from aelif.train.dreambooth import fine_tune

VICTIM = """
import os, signal, sys
from pathlib import Path
from tests.unit.train.test_kill import train
from aelif.progress import StepProgress
from aelif.train import loop

*folders, dies_at, in_write = sys.argv[1:]
real, written = loop.take_step, []
def step(training, number):
    if number == int(dies_at) and not int(in_write):
        os.kill(os.getpid(), signal.SIGKILL)
    real(training, number)
def sync(_):
    written.append(1)
    if len(written) == int(dies_at) and int(in_write):  # the checkpoint has its bytes, but not its name
        os.kill(os.getpid(), signal.SIGKILL)
loop.take_step, os.fsync = step, sync
train(*map(Path, folders))
"""


def train(base: Path, photos: Path, class_images: Path, output: Path, checkpoints: Path):
    from aelif.config import DataConfig

    data = DataConfig(
        instance_images="x", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
    )
    config = settings(
        steps=5, optimizer="prodigy", ema_decay=0.9, checkpoint_every=1, gradient_accumulation=2,
        lora=LoraConfig(rank=2, dropout=0.2), caption_dropout=0.2,
    )  # fmt: skip
    return fine_tune(
        base=base, photos=photos, class_images=class_images, output=output, data=data, config=config,
        trial=Trial.parse("aelif_mask:0.1-0.5/seed=2"), checkpoint_dir=checkpoints, progress=StepProgress("train", ""),
    )  # fmt: skip


@pytest.mark.parametrize(("dies_at", "in_write"), [(3, 0), (3, 1)])
def test_a_killed_training_ends_with_the_same_bits(
    base: Path, photos: Path, class_images: Path, tmp_path: Path, dies_at, in_write
):
    folders = (base, photos, class_images)
    kept = tmp_path / "checkpoints"
    whole = train(*folders, tmp_path / "whole", tmp_path / "other")
    command = [sys.executable, "-c", VICTIM, *folders, tmp_path / "parts", kept, str(dies_at), str(in_write)]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])})
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "parts").exists()
    assert any(kept.glob("*.partial")) == bool(in_write)
    resumed = train(*folders, tmp_path / "parts", kept)
    assert resumed.resumed_from == (dies_at - 1 if in_write else dies_at)
    assert resumed == type(whole)(
        losses=whole.losses, resumed_from=resumed.resumed_from, weights_sha256=whole.weights_sha256
    )
    assert digest_of_folder(tmp_path / "parts") == digest_of_folder(tmp_path / "whole")
