from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import scipy.spatial
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aelif.randomness import numpy_generator
from aelif.score.wasserstein import leave_one_out_distances, leave_one_out_floor, sliced_wasserstein, wasserstein

coordinates = st.floats(-2, 2, width=32)


def clouds(columns: int = 3):
    return st.integers(1, 6).flatmap(lambda rows: arrays(np.float32, (rows, columns), elements=coordinates))


def normal(rows: int, columns: int, *key: int) -> np.ndarray:
    return numpy_generator(3, "test/wasserstein", *key).standard_normal((rows, columns))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 9])
def test_equal_sizes_are_an_assignment(order: int, size: int):
    x, y = normal(size, 5, 0), normal(size, 5, 1)
    cost = scipy.spatial.distance.cdist(x, y) ** order
    expected = cost[scipy.optimize.linear_sum_assignment(cost)].mean() ** (1 / order)
    assert wasserstein(x, y, order=order) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(4, 7), (1, 5), (8, 5)])
def test_unequal_sizes_agree_with_scipy(n: int, m: int):
    x, y = normal(n, 1, 2), normal(m, 1, 3)
    assert wasserstein(x, y) == pytest.approx(scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]))
    wide = normal(n, 4, 4), normal(m, 4, 5)
    assert wasserstein(*wide) == pytest.approx(scipy.stats.wasserstein_distance_nd(*wide))


def test_unequal_sizes_are_an_assignment_of_copies():
    x, y = normal(4, 3, 6), normal(6, 3, 7)
    cost = scipy.spatial.distance.cdist(np.repeat(x, 3, axis=0), np.repeat(y, 2, axis=0), "sqeuclidean")
    expected = np.sqrt(cost[scipy.optimize.linear_sum_assignment(cost)].mean())
    assert wasserstein(x, y, order=2) == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(clouds(), clouds(), clouds())
def test_it_is_a_metric(x: np.ndarray, y: np.ndarray, z: np.ndarray):
    for distance in (
        lambda a, b: wasserstein(a, b, order=1),
        lambda a, b: wasserstein(a, b, order=2),
        sliced_wasserstein,
    ):
        assert distance(x, x) == pytest.approx(0, abs=1e-6)
        assert distance(x, y) == pytest.approx(distance(y, x), abs=1e-6)
        assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-6


@settings(max_examples=40, deadline=None)
@given(clouds(), clouds(), arrays(np.float32, 3, elements=coordinates))
def test_order_shift_and_jensen(x: np.ndarray, y: np.ndarray, shift: np.ndarray):
    w1, w2 = wasserstein(x, y, order=1), wasserstein(x, y, order=2)
    assert w1 == pytest.approx(wasserstein(x[::-1], y), abs=1e-6), "sets have no order"
    assert w1 <= w2 + 1e-6
    assert sliced_wasserstein(x, y) <= w2 + 1e-6
    assert np.linalg.norm(x.mean(0) - y.mean(0)) <= w1 + 1e-4, "the means cannot be further apart"
    assert wasserstein(x, x.astype(float) + shift) == pytest.approx(np.linalg.norm(shift), abs=1e-5)


def test_sliced_in_one_dimension_is_exact_and_repeatable():
    x, y = normal(5, 1, 8), normal(5, 1, 9)
    assert sliced_wasserstein(x, y) == pytest.approx(wasserstein(x, y, order=2))
    wide = normal(5, 4, 8), normal(7, 4, 9)
    assert sliced_wasserstein(*wide) == sliced_wasserstein(*wide)
    assert sliced_wasserstein(*wide) != sliced_wasserstein(*wide, seed=1)


def test_sliced_of_a_shift_is_its_length_over_the_root_of_the_dimension():
    x = normal(6, 4, 10)
    shift = np.array([3.0, 0, 0, 0])
    assert sliced_wasserstein(x, x + shift, num_projections=20_000) == pytest.approx(3 / 2, rel=0.02)


def test_leave_one_out_known_answer():
    points = np.array([[0.0, 0], [3, 0], [0, 4]])
    np.testing.assert_allclose(leave_one_out_distances(points), [3.5, 4.0, 4.5])
    assert leave_one_out_floor(points) == pytest.approx(4.0)
    with pytest.raises(ValueError, match="at least 2 training images"):
        leave_one_out_floor(points[:1])


@pytest.mark.parametrize("pair", [(np.zeros((0, 3)), np.zeros((2, 3))), (np.zeros((2, 3)), np.zeros((2, 4)))])
def test_bad_sets_are_refused(pair: tuple[np.ndarray, np.ndarray]):
    with pytest.raises(ValueError, match="non-empty sets of the same dimension"):
        wasserstein(*pair)


def test_scoring_imports_no_torch():
    program = (
        "import sys; import aelif.score.summary, aelif.score.trial\n"
        "print([name for name in ('torch', 'sklearn', 'kfp', 'pandas') if sys.modules.get(name)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
