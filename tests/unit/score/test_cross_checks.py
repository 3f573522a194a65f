from __future__ import annotations

import numpy as np
import ot
import pytest
from tests.unit.score.examples import PROMPTS, photo_embeddings, score_rows, trial_embeddings

from aelif.config import ScoreConfig
from aelif.score.comparison import Comparison
from aelif.score.cross_checks import cross_check
from aelif.score.frechet import frechet_distance
from aelif.score.grid import read_grid
from aelif.score.trial import images_by_prompt


def u_statistic(x: np.ndarray, y: np.ndarray) -> float:
    """1000 times the unbiased squared MMD of a Gaussian kernel of bandwidth 10, pair by pair."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return 1000 * np.exp(-((a - b) ** 2).sum() / 200)

    def within(points: np.ndarray) -> float:
        return np.mean([kernel(a, b) for i, a in enumerate(points) for j, b in enumerate(points) if i != j])

    return within(x) + within(y) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_whole_sets_against_direct_computation():
    photos = photo_embeddings(5).images.astype(np.float64)
    trials = [images_by_prompt(trial_embeddings(seed)) for seed in (0, 1)]
    comparison = Comparison(read_grid(score_rows(lambda *_: 0.5)), ScoreConfig(resamples=300))
    checks = cross_check(comparison, trials, photos)
    assert checks.keys() == {"clean", "perturbed"}
    for name, figures in checks.items():
        ids = [row["prompt_id"] for row in PROMPTS if row["prompt_set"] == name]
        pools = [np.concatenate([trial[i] for i in ids]).astype(np.float64) for trial in trials]
        exact = [ot.emd2([], [], ot.dist(pool, photos, metric="euclidean")) for pool in pools]
        assert figures["w1"] == pytest.approx({"value": np.mean(exact), "low": None, "high": None})
        assert figures["frechet"]["value"] == pytest.approx(np.mean([frechet_distance(pool, photos) for pool in pools]))
        assert figures["cmmd"]["value"] == pytest.approx(np.mean([u_statistic(pool, photos) for pool in pools]))
        assert figures["cmmd"]["low"] < figures["cmmd"]["value"] < figures["cmmd"]["high"]
        assert figures["kid"]["low"] < figures["kid"]["value"] < figures["kid"]["high"]


def test_one_photo_leaves_undefined_what_needs_two():
    trials = [images_by_prompt(trial_embeddings(seed)) for seed in (0, 1)]
    comparison = Comparison(read_grid(score_rows(lambda *_: 0.5)), ScoreConfig(resamples=300))
    figures = cross_check(comparison, trials, photo_embeddings(1).images)["clean"]
    assert figures["w1"]["value"] > 0
    assert figures["cmmd"]["value"] is figures["kid"]["value"] is figures["frechet"]["value"] is None
