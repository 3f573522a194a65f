from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup
from hypothesis import given
from hypothesis import strategies as st

from aelif.config import OptimizerConfig
from aelif.train.schedule import rate_factor


def curve(steps: int, **settings) -> list[float]:
    return [rate_factor(step, steps=steps, config=OptimizerConfig(**settings)) for step in range(steps)]


def test_cosine_ends_where_it_should():
    rates = curve(100)
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1.0
    assert all(a >= b for a, b in pairwise(rates[5:]))
    assert rates[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 94 / 95)))
    assert 0 < rates[-1] < 1e-3
    assert curve(1) == [1.0]


@pytest.mark.parametrize(
    ("schedule", "theirs"), [("cosine", get_cosine_schedule_with_warmup), ("linear", get_linear_schedule_with_warmup)]
)
def test_agrees_with_diffusers_after_the_warmup(schedule, theirs):
    # Theirs spends its first warm-up step at rate 0; ours does not waste it. From the peak on they are the same.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = theirs(optimizer, num_warmup_steps=4, num_training_steps=40)
    expected = []
    for _ in range(40):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    assert curve(40, warmup=0.1, schedule=schedule)[4:] == pytest.approx(expected[4:])


@given(
    steps=st.integers(1, 300),
    warmup=st.floats(0, 0.99),
    schedule=st.sampled_from(["cosine", "linear", "constant"]),
)
def test_rates_rise_to_the_peak_and_never_vanish(steps, warmup, schedule):
    rates = curve(steps, warmup=warmup, schedule=schedule)
    peak = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1.0
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a >= b for a, b in pairwise(rates[peak:]))
    if schedule == "constant":
        assert rates[-1] == 1.0
