"""What training tells of its steps while it goes on."""

from types import SimpleNamespace

import pytest
import torch

from aelif.config import OptimizerConfig, TrainConfig
from aelif.progress import StepProgress
from aelif.train.loop import measures
from aelif.train.schedule import rate_factor


def test_every_step_is_told_once_by_its_number():
    config = TrainConfig(steps=8, optimizer=OptimizerConfig(learning_rate=2e-4, warmup=0.25))
    training = SimpleNamespace(
        job=SimpleNamespace(config=config),
        losses=torch.arange(8) / 8,
        norms=torch.arange(8) * 2.0,
        optimizer=SimpleNamespace(param_groups=[{"initial_lr": 2e-4}]),
    )
    told = measures(training, first=3, done=5)
    assert list(told) == [4, 5]
    assert (told[4]["train/loss"], told[4]["train/grad_norm"]) == (3 / 8, 6.0)
    expected = 2e-4 * rate_factor(3, steps=8, config=config.optimizer)
    assert told[4]["train/learning_rate"] == pytest.approx(expected)
    whole = measures(training, first=0, done=8)
    assert {step: whole[step] for step in told} == told


def test_without_a_file_for_them_metrics_cost_nothing(monkeypatch, tmp_path):
    monkeypatch.delenv("AELIF_MEASURES", raising=False)
    StepProgress("train", "").measure({1: {"train/loss": 0.5}})
    assert list(tmp_path.iterdir()) == []
