from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.unit.score.examples import PROMPTS, score_rows

from aelif.config import ScoreConfig
from aelif.randomness import numpy_generator
from aelif.score.bootstrap import draw_clustered_weights, draw_weights, resample_mean, to_interval
from aelif.score.summary import summarize, variant_names

CONFIG = ScoreConfig(resamples=500)
NULL = {"value": None, "low": None, "high": None}


def summary_of(rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    given = {
        "reference_distances_N": np.array([0.3, 0.5]),
        "seed_distances_KP": np.array([[0.2, 0.4]]),
        "num_reference": 2,
        "config": CONFIG,
    }
    return summarize(rows, **{**given, **changes})


def exact(value: float) -> Any:
    return pytest.approx({"value": value, "low": value, "high": value})


def constant(variant: str, seed: int, prompt: dict[str, Any]) -> float:
    """Distances without any spread: clean 0.5, perturbed 0.8 (baseline) and 0.6 (others)."""
    if prompt["prompt_set"] == "clean":
        return 0.5
    return 0.8 if variant == "baseline" else 0.6


def noisy(variant: str, seed: int, prompt: dict[str, Any]) -> float:
    return constant(variant, seed, prompt) + 0.05 * seed + 0.03 * prompt["prompt_id"]


def test_known_answers():
    summary = summary_of(score_rows(constant))
    baseline, mask = summary["variants"]["baseline"], summary["variants"]["aelif_mask"]
    assert baseline["clean"] == exact(0.5)
    assert baseline["perturbed"] == exact(0.8)
    assert baseline["excess_damage"] == exact(0.3)
    assert mask["improvement_plain"] == exact(0.25)
    assert mask["improvement_excess"] == exact(2 / 3)
    assert mask["families"]["paper"] == {"distance": exact(0.6), "improvement_plain": exact(0.25)}
    assert mask["clip_t"] == exact(0.25)
    assert "improvement_plain" not in baseline
    assert baseline["families"].keys() == {"paper", "word_drop"}
    assert summary["noise_floor"]["value"] == pytest.approx(0.4)
    assert summary["seed_floor"]["value"] == pytest.approx(0.3)
    assert summary["notes"] == []
    head = {key: summary[key] for key in ("schema", "seeds", "num_resamples", "confidence", "num_images_per_prompt")}
    assert head == {"schema": 1, "seeds": [0, 1], "num_resamples": 500, "confidence": 0.95, "num_images_per_prompt": 4}


def test_values_are_means_over_seeds_and_prompts():
    rows = score_rows(noisy)
    summary = summary_of(rows)
    for name, variant in (("baseline", "baseline"), ("aelif_mask", "aelif_mask:0.3")):
        for prompt_set in ("clean", "perturbed"):
            values = [
                r["value"] for r in rows if (r["variant"], r["prompt_set"], r["metric"]) == (variant, prompt_set, "w1")
            ]
            figure = summary["variants"][name][prompt_set]
            assert figure["value"] == pytest.approx(np.mean(values))
            assert figure["low"] < figure["value"] < figure["high"]
    prompt = summary["variants"]["aelif_mask"]["prompts"][3]
    assert prompt["prompt"] == "a photo sks dog"
    assert prompt["distance"]["value"] == pytest.approx(0.6 + 0.09 + 0.025)
    assert prompt["improvement_plain"]["value"] == pytest.approx(0.2 / (0.8 + 0.09 + 0.025))


def test_identical_variants_differ_by_exactly_nothing():
    summary = summary_of(score_rows(lambda variant, seed, prompt: noisy("baseline", seed, prompt)))
    mask = summary["variants"]["aelif_mask"]
    assert mask["improvement_plain"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert mask["improvement_excess"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert mask["perturbed"] == summary["variants"]["baseline"]["perturbed"]


def test_pairing_cancels_what_variants_share():
    def shifted(variant: str, seed: int, prompt: dict[str, Any]) -> float:
        own = 0.1 * seed + 0.2 * prompt["prompt_id"] + 1
        return own if variant == "baseline" else 0.9 * own

    mask = summary_of(score_rows(shifted))["variants"]["aelif_mask"]
    assert mask["improvement_plain"] == exact(0.1)
    assert mask["perturbed"]["high"] - mask["perturbed"]["low"] > 0.1


def test_one_seed_one_prompt_and_one_photo():
    prompts = [PROMPTS[0], PROMPTS[2]]
    rows = score_rows(noisy, seeds=[5], prompts=prompts)
    summary = summary_of(rows, reference_distances_N=np.empty(0), seed_distances_KP=np.empty((0, 1)), num_reference=1)
    assert summary["variants"]["baseline"]["clean"] == exact(0.75)
    assert summary["noise_floor"] == summary["seed_floor"] == NULL
    assert summary["seeds"] == [5]
    assert [note.split(":")[0] for note in summary["notes"]] == [
        "There is one training seed",
        "There is one training image, so noise_floor is undefined.",
    ]


def test_excess_is_undefined_where_the_baseline_takes_no_damage():
    summary = summary_of(score_rows(lambda variant, seed, prompt: 0.5))
    assert summary["variants"]["aelif_mask"]["improvement_excess"] == NULL
    assert summary["variants"]["aelif_mask"]["improvement_plain"] == exact(0.0)
    assert "do the baseline no damage" in summary["notes"][0]


def test_excess_has_no_interval_where_damage_is_uncertain():
    damages = {2: 0.4, 3: -0.2, 4: -0.1}
    rows = score_rows(lambda variant, seed, prompt: 0.5 + damages.get(prompt["prompt_id"], 0))
    excess = summary_of(rows)["variants"]["aelif_mask"]["improvement_excess"]
    assert excess == {"value": 0.0, "low": None, "high": None}
    assert "not clearly above zero" in summary_of(rows)["notes"][0]


def test_one_image_leaves_diversity_undefined():
    rows = [{**row, "num_images": 1} for row in score_rows(constant) if row["metric"] != "diversity"]
    summary = summary_of(rows)
    assert summary["variants"]["baseline"]["diversity"] == NULL
    assert "diversity is undefined" in summary["notes"][0]
    assert "NaN" not in json.dumps(summary)


def test_names_carry_the_magnitude_only_where_needed():
    assert variant_names(["baseline", "aelif_mask:0.3"]) == {"baseline": "baseline", "aelif_mask:0.3": "aelif_mask"}
    rows = score_rows(constant, variants=["aelif_mask:0.1", "baseline", "aelif_noise_conv:0.3", "aelif_mask:0.3"])
    names = ["aelif_mask:0.1", "baseline", "aelif_noise_conv", "aelif_mask:0.3"]
    assert list(summary_of(rows)["variants"]) == names


def test_incomplete_scores_are_refused():
    rows = score_rows(constant)
    with pytest.raises(ValueError, match="with seed 1 lacks the distance of prompt 4"):
        summary_of([row for row in rows if (row["seed"], row["prompt_id"], row["metric"]) != (1, 4, "w1")])
    with pytest.raises(ValueError, match="the baseline is missing"):
        summary_of([row for row in rows if row["variant"] != "baseline"])
    with pytest.raises(ValueError, match="no perturbed prompts"):
        summary_of([row for row in rows if row["prompt_set"] == "clean"])
    with pytest.raises(ValueError, match=r"images per prompt = \[4, 5\]"):
        summary_of([{**row, "num_images": 4 + row["seed"]} for row in rows])


def test_weights_are_means_of_draws_with_replacement():
    weights = draw_weights(4, 3000, "test")
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[0], 0.25)
    np.testing.assert_allclose((weights[1:] * 4) % 1, 0, atol=1e-12)
    np.testing.assert_allclose(weights.mean(axis=0), 0.25, atol=0.01)
    np.testing.assert_array_equal(weights, draw_weights(4, 3000, "test"))
    assert not np.array_equal(weights, draw_weights(4, 3000, "another"))


def test_clustered_weights_pair_a_clean_prompt_with_what_was_made_of_it():
    clean = draw_clustered_weights([0, 1, 2], 3, 2000)
    perturbed = draw_clustered_weights([0, 0, 1, 1, 2, 2], 3, 2000)
    for weights in (clean, perturbed):
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        np.testing.assert_allclose(weights[0], 1 / weights.shape[1])
    np.testing.assert_allclose(perturbed.reshape(-1, 3, 2).sum(axis=2), clean, atol=1e-12)
    assert len(np.unique(perturbed[:, 0] / np.maximum(clean[:, 0], 1e-9))) > 2, "prompts within a cluster are drawn too"


def test_clusters_that_were_not_drawn_leave_a_group_undefined():
    weights = draw_clustered_weights([1], 3, 2000)
    assert np.isnan(weights).any()
    np.testing.assert_allclose(weights[np.isfinite(weights)], 1)


def test_pairing_removes_what_clean_prompts_have_in_common():
    """Prompts differ much, the damage is the same for each: its interval must be narrow."""
    level = {0: 0.5, 1: 0.9}
    rows = score_rows(lambda variant, seed, prompt: level[prompt["clean_id"]] + 0.1 * (prompt["prompt_id"] > 1))
    damage = summary_of(rows)["variants"]["baseline"]["excess_damage"]
    clean = summary_of(rows)["variants"]["baseline"]["clean"]
    assert clean["high"] - clean["low"] == pytest.approx(0.4)
    assert damage["high"] - damage["low"] < 0.1


def test_interval_of_a_mean_agrees_with_scipy():
    import scipy.stats

    values = numpy_generator(0, "test/sample").standard_normal(30)
    ours = to_interval(draw_weights(30, 9999, "test") @ values, confidence=0.9)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=9999, method="percentile", rng=numpy_generator(1, "scipy")
    ).confidence_interval
    assert (ours["low"], ours["high"]) == pytest.approx(tuple(theirs), abs=0.02)


def test_intervals_cover_the_truth():
    """Distances of crossed seeds and prompts with random effects around a known mean."""
    hits, runs, seeds, prompts = 0, 300, 10, 20
    seed_weights, prompt_weights = draw_weights(seeds, 500, "test/seeds"), draw_weights(prompts, 500, "test/prompts")
    for run in range(runs):
        generator = numpy_generator(run, "test/coverage")
        values = 1 + 0.2 * generator.standard_normal((seeds, 1)) + 0.3 * generator.standard_normal((1, prompts))
        values = values + 0.1 * generator.standard_normal((seeds, prompts))
        interval = to_interval(resample_mean(values, seed_weights, prompt_weights), confidence=0.95)
        hits += interval["low"] <= 1 <= interval["high"]
    assert 0.88 <= hits / runs <= 0.99


def test_undefined_resamples_cost_the_interval_only_when_many():
    statistics = np.arange(1001.0)
    statistics[1:11] = np.nan
    assert to_interval(statistics, confidence=0.95)["low"] is not None
    statistics[1:101] = np.nan
    assert to_interval(statistics, confidence=0.95) == {"value": 0.0, "low": None, "high": None}
    statistics[0] = np.nan
    assert to_interval(statistics, confidence=0.95) == NULL
