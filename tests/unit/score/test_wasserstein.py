from __future__ import annotations

import subprocess
import sys

import numpy as np
import ot
import pytest
import scipy.optimize
import scipy.spatial
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aelif.randomness import numpy_generator
from aelif.score import wasserstein as module
from aelif.score.distances import euclidean_distances
from aelif.score.wasserstein import (
    leave_one_out_distances,
    leave_one_out_floor,
    set_distance,
    wasserstein,
    wasserstein_many,
)

coordinates = st.floats(-2, 2, width=32)


def clouds(columns: int = 3):
    return st.integers(1, 6).flatmap(lambda rows: arrays(np.float32, (rows, columns), elements=coordinates))


def normal(rows: int, columns: int, *key: int) -> np.ndarray:
    return numpy_generator(3, "test/wasserstein", *key).standard_normal((rows, columns))


def unit(rows: int, columns: int, *key: int) -> np.ndarray:
    points = normal(rows, columns, *key).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def by_pot(x: np.ndarray, y: np.ndarray, order: int) -> float:
    """The plain way: all differences, and POT's public function."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    cost = np.linalg.norm(x[:, None] - y[None], axis=-1) ** order
    return max(float(ot.emd2([], [], cost, numItermax=10**7)), 0.0) ** (1 / order)


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


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 1), (1, 5), (8, 5), (8, 8), (16, 20), (120, 37), (64, 64)])
def test_single_and_many_equal_pot(n: int, m: int, order: int):
    photos = unit(m, 24, 0, m)
    groups = [unit(n, 24, 1, index) for index in range(6)]
    expected = [by_pot(group, photos, order) for group in groups]
    assert [wasserstein(group, photos, order=order) for group in groups] == pytest.approx(expected, abs=1e-9)
    assert wasserstein_many(np.array(groups), photos, order=order) == pytest.approx(expected, abs=1e-9)
    assert wasserstein_many(groups, photos, order=order) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_images_next_to_photos_lose_no_digits(order: int):
    """2 − 2 x·y would leave 1e-8 of nothing, and W2 of it 1e-4."""
    photos = unit(5, 512, 2)
    for shift in (0, 1e-7, 1e-5, 1e-3, 0.02):
        near = [photos + shift * normal(5, 512, 3, 0) / 23, photos[:3] + shift * normal(3, 512, 3, 1) / 23]
        expected = [by_pot(group, photos, order) for group in near]
        np.testing.assert_allclose(wasserstein_many(near, photos, order=order), expected, rtol=1e-9, atol=1e-12)
    assert wasserstein_many([photos, photos[::-1]], photos, order=order).tolist() == [0, 0]


def test_groups_of_different_sizes_and_in_many_batches(monkeypatch: pytest.MonkeyPatch):
    photos, groups = unit(5, 8, 4), [unit(size, 8, 5, size) for size in (3, 5, 1, 9, 5, 2)]
    whole = wasserstein_many(groups, photos)
    assert whole == pytest.approx([wasserstein(group, photos) for group in groups], abs=1e-12)
    monkeypatch.setattr(module, "BLOCK", 30)
    assert wasserstein_many(groups, photos) == pytest.approx(whole, abs=1e-12)
    assert wasserstein_many([], photos).shape == (0,)


def test_ground_distances_in_blocks(monkeypatch: pytest.MonkeyPatch):
    x, y = np.concatenate([normal(7, 3, 6), 5 + 1e-6 * normal(4, 3, 7)]), 5 + 1e-6 * normal(6, 3, 8)
    expected = scipy.spatial.distance.cdist(x, y)
    np.testing.assert_allclose(euclidean_distances(x, y), expected, rtol=1e-10)
    monkeypatch.setattr("aelif.score.distances.BLOCK", 13)
    np.testing.assert_allclose(euclidean_distances(x, y), expected, rtol=1e-10)
    np.testing.assert_array_equal(np.diag(euclidean_distances(x, x)), 0)


@settings(max_examples=40, deadline=None)
@given(clouds(), clouds(), clouds())
def test_it_is_a_metric(x: np.ndarray, y: np.ndarray, z: np.ndarray):
    for order in (1, 2):

        def distance(a: np.ndarray, b: np.ndarray, order: int = order) -> float:
            return wasserstein(a, b, order=order)

        assert distance(x, x) == 0
        assert distance(x, y) == pytest.approx(distance(y, x), abs=1e-9)
        assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-9
        same = np.array_equal(np.unique(x + 0, axis=0), np.unique(y + 0, axis=0))  # −0 becomes 0
        assert same or distance(x, y) > 0, "different points, no distance"


@settings(max_examples=40, deadline=None)
@given(clouds(), clouds(), arrays(np.float32, 3, elements=coordinates), st.randoms(use_true_random=False))
def test_order_shift_and_jensen(x: np.ndarray, y: np.ndarray, shift: np.ndarray, random):
    w1, w2 = wasserstein(x, y, order=1), wasserstein(x, y, order=2)
    shuffled = random.sample(range(len(x)), len(x))
    assert w1 == pytest.approx(wasserstein(x[shuffled], y[::-1]), abs=1e-9), "sets have no order"
    assert w1 == pytest.approx(wasserstein(np.repeat(x, 2, axis=0), y), abs=1e-9), "all points twice weigh the same"
    assert w1 <= w2 + 1e-9
    assert np.linalg.norm(x.mean(0, dtype=float) - y.mean(0, dtype=float)) <= w1 + 1e-9, "means cannot be further apart"
    assert wasserstein(x, x.astype(float) + shift) == pytest.approx(np.linalg.norm(shift.astype(float)), abs=1e-9)


def test_large_sets_get_a_named_bound(monkeypatch: pytest.MonkeyPatch):
    x, y = normal(60, 6, 9), normal(50, 6, 10) + 1
    exact, method = set_distance(x, y)
    assert (exact, method) == (wasserstein(x, y), "exact")
    monkeypatch.setattr(module, "EXACT_PAIRS", 60 * 50 - 1)
    bound, method = set_distance(x, y)
    assert method == "lower bound from 256 slices"
    assert 0.5 * exact < bound <= exact
    assert wasserstein_many([x, x[:30]], y) == pytest.approx([bound, wasserstein(x[:30], y)])
    assert wasserstein_many([x], y, order=2)[0] == set_distance(x, y, order=2)[0] <= wasserstein(x, y, order=2)


def test_leave_one_out_known_answer():
    points = np.array([[0.0, 0], [3, 0], [0, 4]])
    np.testing.assert_allclose(leave_one_out_distances(points), [3.5, 4.0, 4.5])
    assert leave_one_out_floor(points) == pytest.approx(4.0)
    photos = unit(6, 8, 11)
    expected = [wasserstein(photos[i : i + 1], np.delete(photos, i, axis=0)) for i in range(6)]
    np.testing.assert_allclose(leave_one_out_distances(photos), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="at least 2 training images"):
        leave_one_out_floor(points[:1])


@pytest.mark.parametrize("pair", [(np.zeros((0, 3)), np.zeros((2, 3))), (np.zeros((2, 3)), np.zeros((2, 4)))])
def test_bad_sets_are_refused(pair: tuple[np.ndarray, np.ndarray]):
    with pytest.raises(ValueError, match="non-empty sets of the same dimension"):
        wasserstein(*pair)
    with pytest.raises(ValueError, match="non-empty sets of the same dimension"):
        wasserstein_many(pair[:1], pair[1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_refused(value: float):
    bad = np.ones((4, 3))
    bad[2, 1] = value
    for call in (wasserstein, set_distance):
        for pair in ((bad, bad[:1]), (bad[:1], bad)):
            with pytest.raises(ValueError, match="row 2 of 4 is not finite"):
                call(*pair)
    with pytest.raises(ValueError, match="row 2 of 4 is not finite"):
        wasserstein_many([bad[:1], bad], bad[:1])


def test_scoring_imports_no_torch():
    program = (
        "import sys; import aelif.score.summary, aelif.score.trial, aelif.score.kernel, aelif.score.frechet\n"
        "print([name for name in ('torch', 'sklearn', 'kfp', 'pandas') if sys.modules.get(name)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
