from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from aelif.randomness import numpy_generator
from aelif.score.permutation import flip_test, flip_units, holm


def by_scipy(shares: np.ndarray, **options) -> float:
    """The paired permutation test of scipy, whose samples swap places: the signs of the differences flip."""
    return scipy.stats.permutation_test(
        (shares, np.zeros_like(shares)), lambda x, y, axis: (x - y).sum(axis=axis),
        permutation_type="samples", vectorized=True, **options,
    ).pvalue  # fmt: skip


def test_all_flips_agree_with_scipy():
    shares = numpy_generator(0, "test/shares").standard_normal((3, 8)) + np.array([[0], [0.5], [1]])
    tests = flip_test(shares, num_flips=1000)
    assert {test.num_flips for test in tests} == {256}
    for test, row in zip(tests, shares, strict=True):
        assert test.statistic == pytest.approx(row.sum())
        assert test.p_value == pytest.approx(by_scipy(row, n_resamples=np.inf))


def test_random_flips_approximate_all():
    shares = numpy_generator(0, "test/shares").standard_normal((2, 12)) + np.array([[0.2], [0.5]])
    exact, drawn = flip_test(shares, num_flips=4096), flip_test(shares, num_flips=4095)
    assert (exact[0].num_flips, drawn[0].num_flips) == (4096, 4095)
    for one, other in zip(exact, drawn, strict=True):
        assert other.p_value == pytest.approx(one.p_value, abs=4 * np.sqrt(one.p_value / 4095))
    assert drawn == flip_test(shares, num_flips=4095)


def test_the_smallest_p_value():
    assert flip_test(np.ones((1, 6)), num_flips=1000)[0].p_value == 2 / 64
    assert flip_test(np.ones((1, 2000)), num_flips=1000)[0].p_value == 1 / 1000
    assert flip_test(np.zeros((1, 6)), num_flips=1000)[0].p_value == 1


def test_p_values_are_uniform_where_nothing_differs():
    """Under the null hypothesis P(p ≤ α) ≤ α, with equality up to the test's steps."""
    shares = numpy_generator(0, "test/null").standard_normal((4000, 9))
    p_values = np.array([test.p_value for test in flip_test(shares, num_flips=512)])
    for level in (0.05, 0.1, 0.25, 0.5):
        steps = np.floor(level * 256) / 256
        assert np.mean(p_values <= level) == pytest.approx(steps, abs=4 * np.sqrt(level * (1 - level) / 4000))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_units_are_seeds_where_there_are_enough():
    differences = numpy_generator(0, "test/differences").standard_normal((2, 6, 5))
    shares, unit = flip_units(differences, [0, 0, 1, 1, 1])
    assert unit == "seed"
    np.testing.assert_allclose(shares, differences.mean(axis=2) / 6)
    shares, unit = flip_units(differences[:, :2], [0, 0, 1, 1, 1])
    assert unit == "seed and prompt"
    assert shares.shape == (2, 4)
    np.testing.assert_allclose(shares.sum(axis=1), differences[:, :2].mean(axis=(1, 2)))
    np.testing.assert_allclose(shares[0, 3], differences[0, 1, 2:].sum() / 10)
