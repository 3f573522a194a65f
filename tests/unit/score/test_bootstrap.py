from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from aelif.randomness import numpy_generator
from aelif.score.bootstrap import (
    Distances,
    draw_weights,
    improvement_excess,
    improvement_plain,
)
from aelif.score.draws import Draws, make_draws


def test_weights_are_those_of_the_bayesian_bootstrap():
    """Dirichlet(1, …, 1): mean 1/n, variance (n − 1) / (n² (n + 1))."""
    weights = draw_weights(4, 20_000, "test")
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[0], 0.25)
    np.testing.assert_allclose(weights.mean(axis=0), 0.25, atol=0.01)
    np.testing.assert_allclose(weights[1:].var(axis=0), 3 / (16 * 5), atol=0.002)
    np.testing.assert_array_equal(weights, draw_weights(4, 20_000, "test"))
    assert not np.array_equal(weights, draw_weights(4, 20_000, "another"))
    assert weights.min() > 0, "no unit is ever lost"


def prompt_weights(draws: Draws, columns: Sequence[int]) -> np.ndarray:
    place, weights = draws.unit_weights(columns)
    return (weights / np.bincount(place))[:, place]


def test_clustered_weights_pair_a_clean_prompt_with_what_was_made_of_it():
    draws = make_draws(2, [0, 1, 2, 0, 0, 1, 1, 2, 2], 3, 2000)
    clean, perturbed = (prompt_weights(draws, columns)[:2001] for columns in (range(3), range(3, 9)))
    for weights in (clean, perturbed):
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        np.testing.assert_allclose(weights[0], 1 / weights.shape[1])
    np.testing.assert_allclose(perturbed.reshape(-1, 3, 2).sum(axis=2), clean)


UNITS = [0, 1, 2, 0, 0, 1, 2, 3, 4]
"""Three clean prompts, four errors in them, two prompts by themselves."""


def test_means_are_weighted_means_over_seeds_and_prompts():
    draws = make_draws(2, UNITS, 3, 50)
    values = numpy_generator(0, "test/values").standard_normal((3, 2, len(UNITS)))
    for columns in ([0, 1, 2], [3, 4, 5, 6], [7, 8], [3, 5], list(range(9))):
        means = draws.means(values, columns)
        np.testing.assert_allclose(means[:, 0], values[:, :, columns].mean(axis=(1, 2)))
        weights = draws.units[:, draws.unit_of[columns]]
        for k in range(3):
            shares = weights / weights.sum(axis=1, keepdims=True)
            direct = ((draws.seeds @ values[k][:, columns]) * shares).sum(axis=1)
            np.testing.assert_allclose(means[k], direct)


def test_rows_after_the_resamples_leave_out_one_unit_each():
    draws = make_draws(2, UNITS, 3, 50)
    seeds, clean, alone = draws.blocks
    assert (seeds, clean, alone) == (slice(51, 53), slice(53, 56), slice(56, 58))
    values = numpy_generator(0, "test/values").standard_normal((1, 2, len(UNITS)))
    errors = draws.means(values, [3, 4, 5, 6])[0]
    np.testing.assert_allclose(errors[seeds], [values[0, 1, 3:7].mean(), values[0, 0, 3:7].mean()])
    kept = ([5, 6], [3, 4, 6], [3, 4, 5])
    np.testing.assert_allclose(errors[clean], [values[0][:, columns].mean() for columns in kept])
    np.testing.assert_allclose(errors[alone], errors[0])
    np.testing.assert_allclose(draws.means(values, [7, 8])[0][alone], values[0][:, [8, 7]].mean(axis=0))


def test_what_cannot_be_drawn_is_held_fixed():
    draws, values = make_draws(2, UNITS, 3, 50), np.arange(18.0).reshape(1, 2, 9)
    one_prompt = draws.means(values, [3, 4])[0]
    np.testing.assert_allclose(one_prompt, draws.seeds @ values[0][:, [3, 4]].mean(axis=1))
    one_seed = make_draws(1, UNITS, 3, 50)
    assert one_seed.blocks[0] == slice(51, 54)
    assert np.isfinite(one_seed.means(values[:, :1], [0, 1])).all()
    fixed = one_seed.means(values[:, :1], [3, 4])[0]
    assert fixed[0] == 3.5
    assert np.isnan(fixed[1:]).all()
    assert np.isnan(one_seed.per_prompt(values[0, :1])[:, 1:]).all()
    np.testing.assert_allclose(draws.per_prompt(values[0])[4], draws.seeds @ values[0][:, 4])


def test_a_pair_of_seeds_weighs_what_its_seeds_do():
    draws = make_draws(3, UNITS, 3, 50)
    values = numpy_generator(0, "test/pairs").standard_normal((3, 3))
    mean = draws.pair_means(values, [0, 1, 2])
    assert mean[0] == pytest.approx(values.mean())
    np.testing.assert_allclose(mean[draws.blocks[0]], values[[2, 1, 0]].mean(axis=1))  # pairs 12, 02, 01
    a, b, c = draws.seeds[7]
    pair = np.array([a * b, a * c, b * c])
    prompts = draws.units[7, :3] / draws.units[7, :3].sum()
    assert mean[7] == pytest.approx(pair @ values @ prompts / pair.sum())
    two = make_draws(2, UNITS, 3, 50)
    np.testing.assert_allclose(two.pair_means(values[:1], [0, 1, 2])[two.blocks[0]], values[0].mean())
    assert np.isnan(two.pair_means(values[:1, :1], [0])[1:]).all()


def test_improvements_by_hand():
    base = Distances(clean=np.array([0.5, 0.5]), perturbed=np.array([0.8, 0.4]))
    variant = Distances(clean=np.array([0.5, 0.5]), perturbed=np.array([0.6, 0.4]))
    np.testing.assert_allclose(improvement_plain(base.perturbed, variant.perturbed), [0.25, 0])
    np.testing.assert_allclose(improvement_excess(base, variant), [2 / 3, np.nan])
    assert np.isnan(improvement_plain(np.zeros(1), np.ones(1)))
