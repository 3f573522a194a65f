"""Several processes, by accelerate launch with gloo on a CPU: the weights of one process, or the error of one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import write_photos
from tests.unit.train.conftest import settings

from aelif.config import LoraConfig, Trial
from aelif.progress import StepProgress
from aelif.train.launch import train_on_all_devices

LORA_FILE = "pytorch_lora_weights.safetensors"
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="two processes would want two GPUs")


@pytest.fixture
def launch(base: Path, photos: Path, class_images: Path, data, tmp_path: Path):
    def launch(name: str, *, processes: int | None, folder: Path = photos, checkpoints: Path | None = None, **changes):
        return train_on_all_devices(
            base=base, photos=folder, class_images=class_images, output=tmp_path / name, data=data,
            trial=Trial.parse("aelif_mask:0.3/seed=1"), config=settings(**changes), checkpoint_dir=checkpoints,
            progress=StepProgress("train", "test"), num_processes=processes,
        )  # fmt: skip

    return launch


def test_two_processes_train_what_one_trains(launch, tmp_path: Path):
    changes = {"lora": LoraConfig(rank=2, text_encoders=True), "gradient_accumulation": 2, "validate_every": 4,
               "ema_decay": 0.5}  # fmt: skip
    one = launch("one", processes=None, batch_size=2, **changes)
    two = launch("two", processes=2, batch_size=1, checkpoints=tmp_path / "checkpoints", **changes)
    assert two.losses == pytest.approx(one.losses, rel=1e-5)
    single, both = (load_file(tmp_path / name / LORA_FILE) for name in ("one", "two"))
    assert single.keys() == both.keys()
    for name, tensor in single.items():
        torch.testing.assert_close(both[name], tensor, atol=1e-5, rtol=1e-3)
    assert len(list((tmp_path / "two" / "validation").rglob("*.png"))) == 2
    assert not any((tmp_path / "checkpoints").iterdir())


def test_the_failure_of_a_process_is_the_failure_of_all(launch, tmp_path: Path):
    broken = write_photos(tmp_path / "photos", count=2, text="a photo of a backpack")
    with pytest.raises(ValueError, match=r"0000\.png: its caption .* lacks the identifier 'sks'"):
        launch("broken", processes=2, folder=broken)
    assert not (tmp_path / "broken").exists()


def test_no_process_is_no_training(launch):
    with pytest.raises(ValueError, match="num_processes = 0"):
        launch("x", processes=0)
