from __future__ import annotations

import pytest
import torch

from aelif.average import WeightAverage


def test_average_follows_its_formula_and_can_be_put_in_place():
    weight = torch.tensor([1.0, -2.0])
    average, expected = WeightAverage({"w": weight}, decay=0.9), weight.double().clone()
    for step in range(30):
        weight.copy_(torch.tensor([step * 0.5, -step]))
        average.update(step)
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * weight.double()
    torch.testing.assert_close(average.tensors["average.w"].double(), expected, rtol=1e-5, atol=1e-6)
    before = weight.clone()
    with average.in_place():
        assert torch.equal(weight, average.tensors["average.w"])
    assert torch.equal(weight, before)
    with pytest.raises(KeyError), average.in_place():
        raise KeyError
    assert torch.equal(weight, before)


def test_without_decay_there_is_none():
    weight = torch.ones(2)
    average = WeightAverage({"w": weight}, decay=0)
    average.update(0)
    assert average.tensors == {}
    with average.in_place():
        assert torch.equal(weight, torch.ones(2))
