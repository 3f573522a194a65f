from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from tests.unit.score.examples import unit_vectors

from aelif.randomness import numpy_generator
from aelif.score.kernel import block_means, mmd2, polynomial, rbf

Pairwise = Callable[[np.ndarray, np.ndarray], float]

KERNELS = {
    "rbf": (rbf(), lambda a, b: 1000 * np.exp(-np.sum((a - b) ** 2) / 200)),
    "polynomial": (polynomial(), lambda a, b: (a @ b / len(a) + 1) ** 3),
}


def by_loops(x: np.ndarray, y: np.ndarray, kernel: Pairwise, weights: np.ndarray) -> float:
    """The unbiased squared MMD by its definition, image by image; `weights` of x sum to 1."""
    x, y = x.astype(float), y.astype(float)
    n, m = len(x), len(y)
    pairs = [(a, b) for a, b in product(range(n), range(n)) if a != b]
    within = sum(weights[a] * weights[b] * kernel(x[a], x[b]) for a, b in pairs)
    within /= sum(weights[a] * weights[b] for a, b in pairs)
    across = sum(weights[a] * kernel(x[a], y[b]) for a, b in product(range(n), range(m))) / m
    reference = np.mean([kernel(y[a], y[b]) for a, b in product(range(m), range(m)) if a != b])
    return within - 2 * across + reference


@pytest.mark.parametrize("name", KERNELS)
def test_against_loops_for_any_weights_and_sizes(name: str):
    kernel, pairwise = KERNELS[name]
    groups = np.array([1, 0, 0, 2, 1, 1, 0, 3])  # unsorted, of different sizes, one of a single image
    x, y = unit_vectors(8, 0), unit_vectors(5, 1)
    counts = np.bincount(groups)
    weights = np.array([counts / 8, [0.25] * 4, [0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 0, 1], [np.nan] * 4])
    ours = mmd2(block_means(x, groups, y, kernel=kernel), weights)
    expected = [by_loops(x, y, pairwise, (row / counts)[groups]) for row in weights[:4]]
    np.testing.assert_allclose(ours[:4], expected, rtol=1e-10, atol=1e-12)
    assert np.isnan(ours[4:]).all(), "one image makes no pair"


@pytest.mark.parametrize("name", KERNELS)
def test_equal_weights_are_the_plain_u_statistic(name: str):
    x, y, groups = unit_vectors(12, 2), unit_vectors(6, 3), np.repeat(np.arange(4), 3)
    x64, y64 = x.astype(float), y.astype(float)
    if name == "rbf":
        xx, xy, yy = (1000 * rbf_kernel(a, b, gamma=1 / 200) for a, b in ((x64, x64), (x64, y64), (y64, y64)))
    else:
        xx, xy, yy = (polynomial_kernel(a, b, degree=3, coef0=1) for a, b in ((x64, x64), (x64, y64), (y64, y64)))
    expected = (xx.sum() - np.trace(xx)) / (12 * 11) + (yy.sum() - np.trace(yy)) / (6 * 5) - 2 * xy.mean()
    blocks = block_means(x, groups, y, kernel=KERNELS[name][0])
    assert mmd2(blocks, np.full((1, 4), 0.25))[0] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(blocks.within[0, 1], xx[:3, 3:6].mean(), rtol=1e-12)
    np.testing.assert_allclose(blocks.across, xy.reshape(4, 18).mean(axis=1), rtol=1e-12)


def test_closed_form_between_gaussians():
    """E k(x, y) of Gaussians in one dimension: b / sqrt(b² + 2 s²) exp(−(μ − ν)² / (2 (b² + 2 s²)))."""
    generator, bandwidth, spread, gap = numpy_generator(0, "test/kernel"), 1.0, 0.5, 1.5
    x, y = spread * generator.standard_normal((4000, 1)), gap + spread * generator.standard_normal((3000, 1))
    total = bandwidth**2 + 2 * spread**2
    expected = 2 * bandwidth / np.sqrt(total) * (1 - np.exp(-(gap**2) / (2 * total)))
    blocks = block_means(x, np.repeat(np.arange(40), 100), y, kernel=rbf(bandwidth, 1.0))
    assert mmd2(blocks, np.full((1, 40), 1 / 40))[0] == pytest.approx(expected, rel=0.03)


def test_samples_of_one_distribution_give_zero_on_average():
    kernel, estimates = polynomial(), []
    for run in range(200):
        x, y = unit_vectors(6, 4, run), unit_vectors(5, 5, run)
        estimates.append(mmd2(block_means(x, np.repeat([0, 1], 3), y, kernel=kernel), np.array([[0.5, 0.5]]))[0])
    assert min(estimates) < 0 < max(estimates)
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(200)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 5), st.integers(2, 6))
def test_properties(key: int, prompts: int, size: int):
    x, y = unit_vectors(prompts * size, 6, key), unit_vectors(size, 7, key)
    groups, kernel = np.repeat(np.arange(prompts), size), rbf()
    equal = np.full((1, prompts), 1 / prompts)
    value = mmd2(block_means(x, groups, y, kernel=kernel), equal)
    shuffle = numpy_generator(key, "test/shuffle").permutation(len(x))
    np.testing.assert_allclose(mmd2(block_means(x[shuffle], groups[shuffle], y[::-1], kernel=kernel), equal), value)
    swapped = mmd2(block_means(y, np.zeros(size, int), x, kernel=kernel), np.ones((1, 1)))
    np.testing.assert_allclose(swapped, value, rtol=1e-8)
    spread = mmd2(block_means(y, np.zeros(size, int), y, kernel=kernel), np.ones((1, 1)))[0]
    mean = kernel(y.astype(float), y.astype(float)).mean()
    expected = -2 * (kernel(y[:1].astype(float), y[:1].astype(float))[0, 0] - mean) / (size - 1)
    assert spread == pytest.approx(expected, rel=1e-6), "a set against itself: minus what unbiasedness takes off"


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch):
    x, y, groups = unit_vectors(12, 8), unit_vectors(6, 9), np.array([2, 0, 1] * 4)
    whole = block_means(x, groups, y, kernel=rbf())
    monkeypatch.setattr("aelif.score.kernel.BLOCK", 25)
    parts = block_means(x, groups, y, kernel=rbf())
    for name in ("within", "across", "reference", "counts"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)


def test_undefined_and_bad_input():
    x, y = unit_vectors(4, 10), unit_vectors(2, 11)
    alone = block_means(x, np.zeros(4, int), y[:1], kernel=rbf())
    assert np.isnan(mmd2(alone, np.ones((1, 1)))).all(), "one photo makes no pair"
    with pytest.raises(ValueError, match="without gaps"):
        block_means(x, np.array([0, 0, 2, 2]), y, kernel=rbf())
    with pytest.raises(ValueError, match="of 4 images"):
        block_means(x, np.array([0, 1]), y, kernel=rbf())
    with pytest.raises(ValueError, match="same dimension"):
        block_means(x, np.zeros(4, int), y[:, :3], kernel=rbf())
