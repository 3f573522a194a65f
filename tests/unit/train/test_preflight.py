"""The pass before the first step: what it says, that it leaves no trace, and what it proposes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.unit.train.conftest import Listening, settings

from aelif.config import LoraConfig
from aelif.train import dreambooth, preflight
from aelif.train.loss import DenoisingLoss


def test_it_tells_memory_and_time(train):
    progress = Listening()
    train("model", progress=progress, gradient_accumulation=3)
    (event,) = (event for event in progress.events if event["event"] == "preflight")
    assert event["memory_gib"] > 0.1
    assert event["training_s"] == pytest.approx(event["pass_s"] * 6 * 3, abs=0.1)
    assert event["device"] == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "prodigy", "lora": LoraConfig(rank=2, dropout=0.5)}], ids=["adamw", "prodigy-dropout"]
)
def test_it_leaves_no_trace(train, monkeypatch: pytest.MonkeyPatch, changes):
    with_it = train("a", **changes)
    monkeypatch.setattr(dreambooth, "preflight", lambda *_, **__: None)
    assert train("b", **changes) == with_it


def test_smaller_settings_come_in_order():
    config = settings(batch_size=6, method="full", lora=LoraConfig(text_encoders=True))
    proposals = list(preflight.smaller_settings(config))
    told = [(c.gradient_checkpointing, c.batch_size, c.gradient_accumulation, c.method, c.lora.text_encoders)
            for _, c in proposals]  # fmt: skip
    assert told == [
        (True, 6, 1, "full", True), (True, 3, 2, "full", True), (True, 1, 4, "full", True),
        (True, 1, 4, "lora", True), (True, 1, 4, "lora", False),
    ]  # fmt: skip
    assert proposals[2][0] == "gradient_checkpointing = True, batch_size = 1, gradient_accumulation = 4"


def limit(monkeypatch: pytest.MonkeyPatch, allowed) -> list[tuple]:
    """Let every pass whose settings are not `allowed` run out of memory; return the settings that were tried."""
    forward, tried = DenoisingLoss.forward, []

    def limited(self, batch):
        config = self._config
        tried.append((config.gradient_checkpointing, config.batch_size, config.method))
        assert sum(len(group.rows) for group in batch.groups) == 2 * config.batch_size
        if not allowed(config):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, batch)

    monkeypatch.setattr(DenoisingLoss, "forward", limited)
    return tried


@pytest.mark.parametrize(
    ("allowed", "words", "tries"),
    [
        (lambda c: c.gradient_checkpointing, "this fits: gradient_checkpointing = True$", 2),
        (lambda c: c.batch_size == 1,
         "this fits: gradient_checkpointing = True, batch_size = 1, gradient_accumulation = 4$", 4),
        (lambda c: c.method == "lora", "gradient_accumulation = 4, method = 'lora'$", 5),
        (lambda c: False, "and even at .*method = 'lora'; give a smaller image_size", 5),
    ],
)  # fmt: skip
def test_the_error_names_the_first_settings_that_fit(
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed, words, tries
):
    tried = limit(monkeypatch, allowed)
    with pytest.raises(MemoryError, match=r"^out of memory at batch_size = 4, method = 'full', .*" + words):
        train("model", batch_size=4, method="full", ema_decay=0.9)
    assert len(dict.fromkeys(tried)) == tries, "each is really tried"
    assert not (tmp_path / "model").exists()


def test_other_errors_are_not_taken_for_a_shortage(train, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(DenoisingLoss, "forward", lambda *_: (_ for _ in ()).throw(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        train("model")


def test_the_largest_photo_is_measured(train, monkeypatch: pytest.MonkeyPatch):
    seen = []
    real = preflight.largest_rows

    def recording(samples, *, job):
        moments = list(samples.instance.moments)
        moments[2] = torch.zeros(2, 1, 16, 12, 8)
        seen.append(real(replace(samples, instance=replace(samples.instance, moments=tuple(moments))), job=job))
        return real(samples, job=job)

    monkeypatch.setattr(preflight, "largest_rows", recording)
    train("model", steps=1)
    assert {row.sample for row in seen[0] if row.instance} == {2}


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import psutil
from aelif.config import DataConfig, LoraConfig, TrainConfig, Trial
from aelif.progress import StepProgress
from aelif.train import dreambooth

base, photos, output = map(Path, sys.argv[1:])
real = dreambooth.preflight
def limited(*arguments, **options):
    room = psutil.Process().memory_info().vms + 350 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    return real(*arguments, **options)
dreambooth.preflight = limited
data = DataConfig(instance_images="x", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack")
config = TrainConfig(steps=1, batch_size=1024, prior_preservation=False, lora=LoraConfig(rank=2))
try:
    dreambooth.fine_tune(base=base, photos=photos, class_images=None, output=output, data=data, config=config,
                         trial=Trial.parse("baseline/seed=0"), checkpoint_dir=None, progress=StepProgress("train", ""))
except MemoryError as error:
    print("refused:", error, "because:", error.__cause__)
"""


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="limits a CPU's address space")
def test_a_real_shortage(base: Path, photos: Path, tmp_path: Path):
    # A fixed threshold: freed tensors leave the address space, which the limit counts, at once.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run([sys.executable, "-c", SHORT_OF_MEMORY, base, photos, tmp_path / "model"],
                          capture_output=True, text=True, check=False, env=environment)  # fmt: skip
    assert "refused: out of memory at batch_size = 1024" in done.stdout, done.stdout + done.stderr
    assert "this fits: gradient_checkpointing = True" in done.stdout
