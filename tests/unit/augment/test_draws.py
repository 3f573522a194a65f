"""Magnitudes that are constant, drawn, or grow; numbers keyed by row."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from aelif.augment.draws import draw_magnitudes, draw_normal, draw_uniform
from aelif.config import Magnitude
from aelif.randomness import torch_generator


def magnitudes(text: str, *, slots=range(3), step: int = 0, done: float = 0.0, seed: int = 0) -> list[float]:
    drawn = draw_magnitudes(Magnitude.parse(text), seed=seed, purpose="test", step=step, slots=slots, done=done)
    assert drawn.dtype == torch.float64
    return drawn.tolist()


def test_a_constant_is_the_same_everywhere():
    assert magnitudes("0.3", step=5, done=0.9) == [0.3] * 3


@pytest.mark.parametrize(("done", "expected"), [(0.0, 0.1), (0.25, 0.2), (0.5, 0.3), (0.999, 0.4996)])
def test_a_ramp_is_linear_in_the_training(done, expected):
    assert magnitudes("0.1to0.5", done=done) == pytest.approx([expected] * 3)


def test_a_ramp_may_fall():
    assert magnitudes("0.5to0", done=0.2) == pytest.approx([0.4] * 3)


def test_a_range_is_uniform_and_drawn_for_each_row_and_step():
    drawn = magnitudes("0.1-0.5", slots=range(500))
    assert stats.kstest(drawn, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-3
    assert magnitudes("0.1-0.5", slots=[7, 3], done=0.9) == [drawn[7], drawn[3]], "a row's number is its own"
    assert not set(drawn) & set(magnitudes("0.1-0.5", slots=range(500), step=1))
    assert not set(drawn) & set(magnitudes("0.1-0.5", slots=range(500), seed=1))


def test_a_range_does_not_follow_the_numbers_that_positions_are_drawn_with():
    generators = [torch_generator(0, "test", 0, slot) for slot in range(500)]
    positions = [torch.rand((), dtype=torch.float64, generator=generator).item() for generator in generators]
    correlation = stats.pearsonr(magnitudes("0-1", slots=range(500)), positions).statistic
    assert abs(correlation) < 5 / 500**0.5


@pytest.mark.parametrize(
    ("draw", "distribution"), [(draw_uniform, stats.uniform(0, 1)), (draw_normal, stats.norm(0, 1))]
)
def test_numbers_come_from_the_rows_generator(draw, distribution):
    keyed = [torch_generator(0, "test", row) for row in range(3)]
    numbers = draw(keyed, 20, 100)
    assert numbers.shape == (3, 20, 100)
    assert stats.kstest(numbers.flatten().numpy(), distribution.cdf).pvalue > 1e-3
    assert torch.equal(draw([torch_generator(0, "test", 2)], 20, 100)[0], numbers[2])
    assert draw(keyed).shape == (3,)
