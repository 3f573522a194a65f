from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aelif.randomness import numpy_generator
from aelif.score import sliced as module
from aelif.score.sliced import sliced_bound, sliced_wasserstein, sliced_wasserstein_many
from aelif.score.wasserstein import wasserstein

coordinates = st.floats(-2, 2, width=32)


def clouds(columns: int = 3):
    return st.integers(1, 6).flatmap(lambda rows: arrays(np.float32, (rows, columns), elements=coordinates))


def normal(rows: int, columns: int, *key: int) -> np.ndarray:
    return numpy_generator(3, "test/sliced", *key).standard_normal((rows, columns))


def directions(columns: int) -> np.ndarray:
    drawn = numpy_generator(0, "score/projections").standard_normal((columns, 256))
    return drawn / np.linalg.norm(drawn, axis=0)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (6, 6), (4, 6), (9, 7)])
def test_agrees_with_pot_and_scipy(n: int, m: int, order: int):
    x, y = normal(n, 5, 0), normal(m, 5, 1)
    ours = sliced_wasserstein(x, y, order=order)
    assert ours == pytest.approx(ot.sliced_wasserstein_distance(x, y, p=order, projections=directions(5)), rel=1e-10)
    if order == 1:
        lines = zip((x @ directions(5)).T, (y @ directions(5)).T, strict=True)
        assert ours == pytest.approx(np.mean([scipy.stats.wasserstein_distance(*line) for line in lines]))


@pytest.mark.parametrize("order", [1, 2])
def test_in_one_dimension_it_is_exact(order: int):
    x, y = normal(5, 1, 2), normal(8, 1, 3)
    assert sliced_wasserstein(x, y, order=order) == pytest.approx(wasserstein(x, y, order=order))
    assert sliced_bound(x, y, order=order) == pytest.approx(wasserstein(x, y, order=order))


def test_repeatable_and_seeded():
    pair = normal(5, 4, 4), normal(7, 4, 5)
    assert sliced_wasserstein(*pair) == sliced_wasserstein(*pair)
    assert sliced_wasserstein(*pair) != sliced_wasserstein(*pair, seed=1)


@pytest.mark.parametrize(("order", "share"), [(1, math.gamma(2) / (math.sqrt(math.pi) * math.gamma(2.5))), (2, 1 / 2)])
def test_a_shift_in_four_dimensions(order: int, share: float):
    x = normal(6, 4, 6)
    shift = np.array([3.0, 0, 0, 0])
    ours = sliced_wasserstein(x, x + shift, order=order, num_projections=20_000)
    assert ours == pytest.approx(3 * share, rel=0.02)
    assert sliced_bound(x, x + shift, order=order) == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize("block", [1, 20, 200])
def test_blocks_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch):
    y, groups = normal(5, 4, 7), [normal(size, 4, 8, size) for size in (3, 5, 3, 1, 3)]
    expected = [sliced_wasserstein(group, y) for group in groups]
    assert sliced_wasserstein_many(groups, y) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(module, "BLOCK", block)
    assert sliced_wasserstein_many(groups, y) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(clouds(), clouds(), clouds())
def test_it_is_a_metric_below_the_exact_one(x: np.ndarray, y: np.ndarray, z: np.ndarray):
    for order in (1, 2):

        def distance(a: np.ndarray, b: np.ndarray, order: int = order) -> float:
            return sliced_wasserstein(a, b, order=order)

        assert distance(x, x) == 0
        assert distance(x, y) == pytest.approx(distance(y, x), abs=1e-9)
        assert distance(x, y) == pytest.approx(distance(x[::-1], y), abs=1e-9), "sets have no order"
        assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-9
        assert distance(x, y) <= wasserstein(x, y, order=order) + 1e-9
    assert sliced_wasserstein(x, y, order=1) <= sliced_wasserstein(x, y, order=2) + 1e-9


def test_bad_sets_are_refused():
    with pytest.raises(ValueError, match="non-empty sets of the same dimension"):
        sliced_wasserstein(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="row 0 of 1 is not finite"):
        sliced_wasserstein_many([np.zeros((2, 1))], np.full((1, 1), np.nan))
