from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from aelif.randomness import numpy_generator
from aelif.score.bootstrap import Distances, improvement_excess, improvement_plain
from aelif.score.draws import Draws, make_draws
from aelif.score.intervals import UNDEFINED, half_widths, to_interval, to_intervals

PER_CLEAN = 3
"""Perturbed prompts of each clean one in the simulated studies."""


def test_one_way_interval_of_a_mean_is_students():
    values = numpy_generator(0, "test/sample").standard_normal(7)
    draws = make_draws(1, range(7), 7, 5000)
    ours = to_interval(draws.means(values[None, None], range(7))[0], blocks=draws.blocks, confidence=0.9)
    theirs = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert ours["value"] == pytest.approx(values.mean())
    assert ours["high"] - ours["low"] == pytest.approx(theirs.high - theirs.low)
    assert (ours["low"], ours["high"]) == pytest.approx(tuple(theirs), abs=0.05), "the bootstrap may skew it"


def test_two_way_width_by_hand():
    table = numpy_generator(0, "test/table").standard_normal((3, 5))
    draws = make_draws(3, range(5), 5, 200)
    width = half_widths(draws.means(table[None], range(5)), blocks=draws.blocks, confidence=0.95)[0]
    seeds, prompts = table.mean(axis=1).var(ddof=1) / 3, table.mean(axis=0).var(ddof=1) / 5
    freedom = (seeds + prompts) ** 2 / (seeds**2 / 2 + prompts**2 / 4)
    assert width == pytest.approx(scipy.stats.t.ppf(0.975, freedom) * np.sqrt(seeds + prompts))


def test_two_seeds_that_agree_do_not_widen_an_interval():
    """One degree of freedom stands for t = 12.7, which must not apply to what comes from the prompts."""
    prompts = numpy_generator(0, "test/prompts").standard_normal(8)
    draws = make_draws(2, range(8), 8, 200)
    table = np.stack([prompts, prompts + 0.01])
    width = half_widths(draws.means(table[None], range(8)), blocks=draws.blocks, confidence=0.95)[0]
    student = scipy.stats.t.ppf(0.975, 7) * prompts.std(ddof=1) / np.sqrt(8)
    assert width == pytest.approx(student, rel=0.01)


def test_a_group_made_of_some_clean_prompts_has_their_number():
    table = numpy_generator(0, "test/group").standard_normal((1, 5))
    draws, alone = make_draws(1, range(5), 5, 200), make_draws(1, range(3), 3, 200)
    some = half_widths(draws.means(table[None], [0, 1, 2]), blocks=draws.blocks, confidence=0.95)
    same = half_widths(alone.means(table[None, :, :3], [0, 1, 2]), blocks=alone.blocks, confidence=0.95)
    np.testing.assert_allclose(some, same)


def test_skew_of_the_bootstrap_stays():
    draws = make_draws(1, range(6), 6, 5000)
    table = np.array([[1.0, 1.1, 1.2, 0.9, 1.0, 4.0]])
    interval = to_interval(np.exp(draws.means(table[None], range(6))[0]), blocks=draws.blocks, confidence=0.95)
    assert interval["high"] - interval["value"] > 1.2 * (interval["value"] - interval["low"])


def test_constants_have_no_width_and_the_undefined_no_interval():
    draws = make_draws(2, range(4), 4, 1000)
    constant = np.full(draws.seeds.shape[0], 0.3)
    assert to_interval(constant, blocks=draws.blocks, confidence=0.95) == {"value": 0.3, "low": 0.3, "high": 0.3}
    statistic = draws.means(numpy_generator(0, "x").standard_normal((1, 2, 4)), range(4))[0]
    few, many, without, never = (statistic.copy() for _ in range(4))
    few[1:11], many[1:101], without[-1], never[0] = np.nan, np.nan, np.nan, np.nan
    rows = to_intervals(np.stack([statistic, few, many, without, never]), blocks=draws.blocks, confidence=0.95)
    assert rows[0]["low"] < rows[0]["value"] < rows[0]["high"]
    assert rows[1]["low"] == pytest.approx(rows[0]["low"], abs=0.2)
    for row in rows[2:4]:
        assert row == {"value": statistic[0], "low": None, "high": None}
    assert rows[4] == UNDEFINED
    assert to_interval(statistic[:1001], blocks=(), confidence=0.95)["low"] is None, "nothing to jackknife"


def simulate(generator: np.random.Generator, seeds: int, clean: int, spread: dict[str, float]) -> np.ndarray:
    """(2, S, C, 1 + per clean) distances of baseline and variant, correlated, with crossed random effects."""

    def effects() -> np.ndarray:
        shapes = {"seed": (seeds, 1, 1), "clean": (1, clean, 1), "interaction": (seeds, clean, 1),
                  "prompt": (1, clean, 1 + PER_CLEAN), "noise": (seeds, clean, 1 + PER_CLEAN)}  # fmt: skip
        parts = [spread[name] * generator.standard_normal(shape) for name, shape in shapes.items()]
        return np.sqrt(0.5) * np.broadcast_to(sum(parts), (seeds, clean, 1 + PER_CLEAN))

    shared, damage = effects(), np.array([0] + [1] * PER_CLEAN)
    return np.stack([0.6 + 0.3 * damage + shared + effects(), 0.6 + 0.15 * damage + shared + effects()])


TRUTH = {"mean": 0.9, "damage": 0.3, "plain": 1 - 0.75 / 0.9, "excess": 0.5}


def statistics(study: np.ndarray, draws: Draws) -> dict[str, np.ndarray]:
    clean, perturbed = range(study.shape[2]), range(study.shape[2], study[0, 0].size)
    flat = np.concatenate([study[..., 0], study[..., 1:].reshape(*study.shape[:2], -1)], axis=-1)
    pairs = zip(draws.means(flat, clean), draws.means(flat, perturbed), strict=True)
    base, variant = (Distances(clean=mean, perturbed=other) for mean, other in pairs)
    return {
        "mean": base.perturbed,
        "damage": base.damage,
        "plain": improvement_plain(base.perturbed, variant.perturbed),
        "excess": improvement_excess(base, variant),
    }


EVEN = {"seed": 0.05, "clean": 0.05, "interaction": 0.03, "prompt": 0.03, "noise": 0.03}
PROMPTS_DIFFER = {"seed": 0.01, "clean": 0.1, "interaction": 0.01, "prompt": 0.05, "noise": 0.01}
SEEDS_DIFFER = {"seed": 0.1, "clean": 0.02, "interaction": 0.01, "prompt": 0.02, "noise": 0.01}
NOISY = {"seed": 0.01, "clean": 0.01, "interaction": 0.05, "prompt": 0.01, "noise": 0.05}


NOMINAL, SHORT, WIDE = (0.915, 0.995), (0.86, 0.995), (0.955, 1.0)


@pytest.mark.parametrize(
    ("seeds", "clean", "spread", "band"),
    [
        (1, 4, EVEN | {"seed": 0.0, "interaction": 0.0}, NOMINAL),
        (2, 3, EVEN, NOMINAL),
        (3, 4, EVEN, NOMINAL),
        (5, 8, EVEN, NOMINAL),
        (2, 8, PROMPTS_DIFFER, NOMINAL),
        (8, 3, PROMPTS_DIFFER, NOMINAL),
        (3, 3, SEEDS_DIFFER, NOMINAL),
        (8, 8, SEEDS_DIFFER, NOMINAL),
        (2, 8, SEEDS_DIFFER, SHORT),  # the weak spot of Satterthwaite's approximation, as documented
        (5, 8, NOISY, WIDE),  # noise counts in both variances, as documented
    ],
)
def test_intervals_of_95_percent_cover_the_truth(seeds, clean, spread, band):
    """In 600 simulated studies; the binomial error of a share of 95 % is 0.9 points."""
    units = [*range(clean), *np.repeat(np.arange(clean), PER_CLEAN)]
    draws = make_draws(seeds, units, clean, 400)
    generator = numpy_generator(0, "test/coverage", seeds, clean)
    figures = [statistics(simulate(generator, seeds, clean, spread), draws) for _ in range(600)]
    for name, truth in TRUTH.items():
        rows = to_intervals(np.stack([figure[name] for figure in figures]), blocks=draws.blocks, confidence=0.95)
        known = [row for row in rows if row["low"] is not None]
        assert len(known) > 0.9 * len(rows), name
        assert band[0] <= np.mean([row["low"] <= truth <= row["high"] for row in known]) <= band[1], name
