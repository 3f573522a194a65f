"""Validation images: where they go, and that painting them changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tests.unit.train.conftest import Interrupting, Listening

from aelif.config import LoraConfig


def images(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*.png"))}


@pytest.mark.parametrize(
    "changes",
    [{}, {"method": "full", "ema_decay": 0.9}, {"lora": LoraConfig(rank=2, dropout=0.3, text_encoders=True)}],
    ids=["lora", "full-ema", "dropout-text"],
)
def test_training_does_not_notice(train, tmp_path: Path, changes):
    progress = Listening()
    plain = train("plain", **changes)
    watched = train("watched", progress=progress, validate_every=3, **changes)
    assert watched.losses == plain.losses
    assert watched.weights_sha256 == plain.weights_sha256
    painted = images(tmp_path / "watched" / "validation")
    names = [f"step-00000{step}/00-0{image}.png" for step in (3, 6) for image in range(2)]
    assert sorted(painted) == names
    assert len(set(painted.values())) == 4
    with Image.open(tmp_path / "watched" / "validation" / names[0]) as image:
        assert image.size == (64, 64)
    events = [event for event in progress.events if event["event"] == "validation"]
    assert [(event["step"], event["prompts"]) for event in events] == [(s, ["a photo of sks backpack"]) for s in (3, 6)]
    assert not (tmp_path / "plain" / "validation").exists()


def test_prompts_can_be_chosen(train, tmp_path: Path):
    train("model", steps=2, validate_every=2, validation_prompts=("a sks backpack on a beach", "a dog"))
    assert len(images(tmp_path / "model" / "validation")) == 4


def test_images_survive_an_interruption(train, tmp_path: Path):
    train("whole", validate_every=2)
    with pytest.raises(KeyboardInterrupt):
        train("parts", progress=Interrupting(6), checkpoints=tmp_path / "checkpoints", validate_every=2)
    kept = images(tmp_path / "checkpoints")
    assert [name.split("/")[1] for name in kept][::2] == ["step-000002", "step-000004"]
    train("parts", checkpoints=tmp_path / "checkpoints", validate_every=2)
    assert images(tmp_path / "parts") == images(tmp_path / "whole")
    assert len(images(tmp_path / "parts")) == 6
    assert not any((tmp_path / "checkpoints").iterdir())


def test_what_was_left_without_a_checkpoint_is_not_taken_over(train, tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        train("model", progress=Interrupting(6), steps=8, validate_every=2)
    train("model", steps=4, validate_every=4)
    assert {name.split("/")[0] for name in images(tmp_path / "model" / "validation")} == {"step-000004"}
    assert not (tmp_path / "model.validation").exists()
