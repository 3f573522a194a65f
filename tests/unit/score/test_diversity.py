"""Cosines, spreads, effective numbers and near-copies."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import scipy.spatial
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.score.examples import unit_vectors

from aelif.score.copies import near_copy_cosine, near_copy_share
from aelif.score.diversity import mean_cosine, mean_pairwise_distance, vendi_score


def test_cosine_and_diversity_against_loops():
    x, y = unit_vectors(5, 0), unit_vectors(3, 1)
    assert mean_cosine(x, y) == pytest.approx(np.mean(1 - scipy.spatial.distance.cdist(x, y, "cosine")))
    assert mean_pairwise_distance(x) == pytest.approx(np.mean([np.linalg.norm(a - b) for a, b in combinations(x, 2)]))
    assert mean_pairwise_distance(np.eye(4)) == pytest.approx(np.sqrt(2))
    assert mean_pairwise_distance(np.ones((3, 2))) == 0
    assert np.isnan(mean_pairwise_distance(x[:1]))


def test_diversity_in_blocks(monkeypatch: pytest.MonkeyPatch):
    x = unit_vectors(7, 2)
    whole = mean_pairwise_distance(x)
    monkeypatch.setattr("aelif.score.diversity.BLOCK", 15)
    assert mean_pairwise_distance(x) == pytest.approx(whole, rel=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_vendi_against_the_definition(key: int, count: int):
    x = unit_vectors(count, 3, key)
    eigenvalues = np.clip(scipy.linalg.eigvals(x.astype(float) @ x.astype(float).T / count).real, 0, None)
    assert vendi_score(x) == pytest.approx(np.exp(scipy.stats.entropy(eigenvalues)), rel=1e-5)
    assert 1 - 1e-6 <= vendi_score(x) <= min(count, 6) + 1e-6
    assert vendi_score(x[::-1]) == pytest.approx(vendi_score(x))
    assert vendi_score(np.repeat(x, 3, axis=0)) == pytest.approx(vendi_score(x)), "copies add nothing"


def test_vendi_known_answers():
    assert vendi_score(np.eye(5)) == pytest.approx(5)
    assert vendi_score(np.tile(unit_vectors(1, 4), (4, 1))) == pytest.approx(1)
    assert vendi_score(np.eye(3)[[0, 0, 1, 1]]) == pytest.approx(2)
    cosine = 0.5  # of two vectors: eigenvalues (1 ± cosine) / 2
    pair = np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)]])
    assert vendi_score(pair) == pytest.approx(np.exp(scipy.stats.entropy([0.75, 0.25])))
    assert vendi_score(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3), "more rows than columns"


def test_near_copies_against_loops():
    x, photos = unit_vectors(40, 5, width=3), unit_vectors(4, 6, width=3)
    threshold = max(float(np.dot(a.astype(float), b.astype(float))) for a, b in combinations(photos, 2))
    assert near_copy_cosine(photos) == pytest.approx(threshold)
    closest = [max(float(np.dot(image.astype(float), photo)) for photo in photos) for image in x]
    share = near_copy_share(x, photos, threshold=threshold)
    assert share == np.mean([cosine >= threshold for cosine in closest])
    assert 0 < share < 1


def test_near_copies_known_answers():
    photos = np.eye(4)[:3]
    assert near_copy_cosine(photos) == 0
    images = np.array([[1, 0, 0, 0], [-1, 0, 0, 0], [0.6, 0, 0, 0.8], [-0.6, -0.8, 0, 0]])
    assert near_copy_share(images, photos, threshold=0.0) == 1, "all are at right angles to some photo"
    assert near_copy_share(images, photos, threshold=0.5) == 0.5
    assert near_copy_share(photos, photos, threshold=near_copy_cosine(photos)) == 1
    assert np.isnan(near_copy_cosine(photos[:1]))
    assert np.isnan(near_copy_share(images, photos[:1], threshold=float("nan")))
