from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.score.examples import unit_vectors

from aelif.randomness import numpy_generator
from aelif.score.frechet import frechet_distance


def by_matrix_root(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(float), y.astype(float)
    one, two = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(one @ two)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(one + two - 2 * root.real))


def normal(rows: int, columns: int, *key: int) -> np.ndarray:
    return numpy_generator(4, "test/frechet", *key).standard_normal((rows, columns))


@pytest.mark.parametrize(("n", "m", "width"), [(30, 40, 5), (30, 12, 8), (60, 50, 16)])
def test_agrees_with_the_matrix_root(n: int, m: int, width: int):
    x, y = normal(n, width, 0) @ normal(width, width, 1), 0.5 + normal(m, width, 2)
    assert frechet_distance(x, y) == pytest.approx(by_matrix_root(x, y), rel=1e-9)


def test_few_points_in_many_dimensions():
    """Covariances of rank 4 and 7 in 64 dimensions: the root by the eigenvalues of Σ_x Σ_y, which are real."""
    x, y = unit_vectors(8, 0, width=64).astype(float), unit_vectors(5, 1, width=64).astype(float)
    one, two = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    eigenvalues = np.sort(np.linalg.eigvals(one @ two).real)[-4:]
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(one + two) - 2 * np.sqrt(eigenvalues).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_closed_forms():
    x = normal(50, 3, 3)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(x, x + np.array([3, 0, 4])) == pytest.approx(25), "a shift: its squared length"
    wider = x.mean(0) + 2 * (x - x.mean(0))
    assert frechet_distance(x, wider) == pytest.approx(np.trace(np.cov(x, rowvar=False))), "(2 − 1)² tr Σ"
    line, other = normal(9, 1, 4), normal(7, 1, 5)
    expected = (line.mean() - other.mean()) ** 2 + (line.std(ddof=1) - other.std(ddof=1)) ** 2
    assert frechet_distance(line, other) == pytest.approx(expected), "W2² of Gaussians on a line"
    apart = np.array([[1.0, 0], [-1, 0]]), np.array([[0, 1.0], [0, -1]])
    assert frechet_distance(*apart) == pytest.approx(4), "orthogonal spreads share nothing: tr Σ_x + tr Σ_y"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9))
def test_its_root_is_a_metric(key: int, n: int, m: int):
    x, y, z = normal(n, 4, 6, key), normal(m, 4, 7, key), normal(5, 4, 8, key)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y[::-1], x), rel=1e-9, abs=1e-12)
    ways = np.sqrt([frechet_distance(x, z), frechet_distance(x, y), frechet_distance(y, z)])
    assert ways[0] <= ways[1] + ways[2] + 1e-9


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    x, y = 5 + normal(200, 6, 9), normal(90, 6, 10)
    whole = frechet_distance(x, y)
    monkeypatch.setattr("aelif.score.frechet.BLOCK", 1)
    assert frechet_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_one_point_has_no_covariance():
    assert np.isnan(frechet_distance(np.ones((1, 2)), np.eye(2)))
    with pytest.raises(ValueError, match="row 0 of 2 is not finite"):
        frechet_distance(np.full((2, 2), np.nan), np.eye(2))
