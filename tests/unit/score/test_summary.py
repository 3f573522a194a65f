from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tests.unit.score.examples import PROMPTS, SCORED, STRESSED, made_up, prompt_row, score_rows, worst_rows

from aelif.config import ScoreConfig
from aelif.score.summary import NO_CROSS_CHECK, summarize, variant_names

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
    paper = {"distance": exact(0.6), "improvement_plain": exact(0.25), "damage": exact(0.1), "error_rate": None,
             "tokens_changed": None, "embedding_cosine": None, "num_prompts": 2}  # fmt: skip
    assert mask["families"]["paper"] == paper
    assert (baseline["variant"], mask["variant"]) == ("baseline", "aelif_mask:0.3")
    assert mask["dino"] == mask["leakage"] == NULL
    assert (mask["stress"], mask["split"], mask["worst_case"]) == ({}, None, None)
    assert mask["cross_checks"] == NO_CROSS_CHECK
    assert mask["clip_t"] == exact(0.25)
    assert "improvement_plain" not in baseline
    assert baseline["families"].keys() == {"paper", "word_drop"}
    assert summary["noise_floor"]["value"] == pytest.approx(0.4)
    assert summary["seed_floor"]["value"] == pytest.approx(0.3)
    [note] = summary["notes"]
    assert note.startswith("The permutation test has 16 sign patterns, so no p-value can be below 0.12:")
    assert summary["interval_method"].startswith("Training seeds and clean prompts")
    assert summary["near_copy_cosine"] is None
    head = {key: summary[key] for key in ("schema", "seeds", "num_resamples", "confidence", "num_images_per_prompt")}
    assert head == {"schema": 2, "seeds": [0, 1], "num_resamples": 500, "confidence": 0.95, "num_images_per_prompt": 4}


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
    assert summary["variants"]["baseline"]["clean"] == {"value": 0.75, "low": None, "high": None}
    assert summary["variants"]["baseline"]["perturbed"] == {"value": pytest.approx(1.11), "low": None, "high": None}
    assert summary["noise_floor"] == summary["seed_floor"] == NULL
    assert summary["seeds"] == [5]
    assert [note.split(":")[0] for note in summary["notes"]] == [
        "There is one training seed",
        "There is one clean prompt",
        "There is one training image, so noise_floor is undefined.",
        "The permutation test has 2 sign patterns, so no p-value can be below 1",
    ]


def test_excess_is_undefined_where_the_baseline_takes_no_damage():
    summary = summary_of(score_rows(lambda variant, seed, prompt: 0.5))
    assert summary["variants"]["aelif_mask"]["improvement_excess"] == NULL
    assert summary["variants"]["aelif_mask"]["improvement_plain"] == exact(0.0)
    assert "do the baseline no damage" in summary["notes"][0]


def test_excess_has_no_interval_where_damage_is_uncertain():
    damages = {2: 0.5, 3: 0.1, 4: -0.2}
    rows = score_rows(lambda variant, seed, prompt: 0.5 + damages.get(prompt["prompt_id"], 0))
    excess = summary_of(rows)["variants"]["aelif_mask"]["improvement_excess"]
    assert excess == {"value": 0.0, "low": None, "high": None}
    assert "not clearly above zero" in summary_of(rows)["notes"][0]


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


def test_pairing_removes_what_clean_prompts_have_in_common():
    """Prompts differ much, the damage is the same for each: its interval must be narrow."""
    level = {0: 0.5, 1: 0.9}
    prompts = [PROMPTS[place] for place in (0, 1, 2, 4)]

    def distance(variant: str, seed: int, prompt: dict[str, Any]) -> float:
        return level[prompt["clean_id"]] + 0.1 * (prompt["prompt_id"] > 1)

    rows = score_rows(distance, prompts=prompts)
    damage = summary_of(rows)["variants"]["baseline"]["excess_damage"]
    clean = summary_of(rows)["variants"]["baseline"]["clean"]
    assert clean["high"] - clean["low"] > 1, "two prompts: t of one degree of freedom"
    assert damage == exact(0.1)


def whole_summary() -> dict[str, Any]:
    rows = score_rows(made_up, prompts=SCORED, seeds=(0, 1, 2))
    return summary_of(rows, prompts=STRESSED, worst=worst_rows(seeds=(0, 1, 2)), seed_distances_KP=np.ones((3, 2)))


def mean(variant: str, prompt_ids: list[int]) -> float:
    return float(np.mean([made_up(variant, seed, SCORED[place]) for seed in (0, 1, 2) for place in prompt_ids]))


def test_prompts_of_every_set_are_kept_apart():
    summary = whole_summary()
    mask = summary["variants"]["aelif_mask"]
    members = {"tuning": [3], "held_out": [2, 4], "out_of_distribution": [5, 6], "class": [7]}
    assert mask["sets"].keys() == members.keys()
    for name, ids in members.items():
        own, base = mean("aelif_mask:0.3", ids), mean("baseline", ids)
        assert mask["sets"][name]["distance"]["value"] == pytest.approx(own), name
        assert mask["sets"][name]["improvement_plain"]["value"] == pytest.approx((base - own) / base), name
        assert mask["sets"][name]["clip_t"]["value"] == 0.25
    damages = [mean(variant, [2, 4]) - mean(variant, [0, 1]) for variant in ("aelif_mask:0.3", "baseline")]
    assert mask["sets"]["held_out"]["improvement_excess"]["value"] == pytest.approx(1 - damages[0] / damages[1])
    assert "improvement_excess" not in mask["sets"]["class"]
    assert summary["variants"]["baseline"]["sets"]["held_out"].keys() == {"distance", "clip_t"}
    assert mask["clean"]["value"] == pytest.approx(mean("aelif_mask:0.3", [0, 1]))
    assert mask["perturbed"]["value"] == pytest.approx(mean("aelif_mask:0.3", [2, 3, 4]))
    assert mask["leakage"]["value"] == 0.25
    assert [entry["prompt_id"] for entry in mask["prompts"]] == list(range(8)), "stress repeats the clean prompts"
    assert mask["prompts"][2]["clip_i"] == 0.25


def test_errors_of_the_class_prompt_are_a_set_of_their_own():
    wrong = prompt_row(16, 7, "a poto of a dog", "class_perturbed", "paper")
    rows = score_rows(made_up, prompts=[*SCORED, wrong], seeds=(0, 1, 2))
    mask = summary_of(rows, prompts=[*STRESSED, wrong], seed_distances_KP=np.ones((3, 2)))["variants"]["aelif_mask"]
    value = float(np.mean([made_up("aelif_mask:0.3", seed, wrong) for seed in (0, 1, 2)]))
    assert mask["sets"]["class_perturbed"]["distance"]["value"] == pytest.approx(value)
    assert mask["leakage_perturbed"]["value"] == 0.25
    without = whole_summary()["variants"]["aelif_mask"]
    assert without["leakage_perturbed"] == NULL
    for name in ("clean", "perturbed", "leakage"):
        assert mask[name]["value"] == pytest.approx(without[name]["value"]), "they count nowhere else"


def test_families_say_how_severe_their_errors_were():
    families = whole_summary()["variants"]["aelif_mask"]["families"]
    assert families.keys() == {"paper", "word_drop", "context"}
    paper = families["paper"]
    assert (paper["error_rate"], paper["tokens_changed"], paper["embedding_cosine"]) == pytest.approx((0.1, 2, 0.8))
    assert paper["damage"]["value"] == pytest.approx(mean("aelif_mask:0.3", [2, 4]) - mean("aelif_mask:0.3", [0, 1]))
    dropped = families["word_drop"]["damage"]["value"]
    assert dropped == pytest.approx(mean("aelif_mask:0.3", [3]) - mean("aelif_mask:0.3", [0])), "its own clean prompt"
    assert families["word_drop"]["tokens_changed"] is None
    assert families["word_drop"]["distance"]["low"] < families["word_drop"]["distance"]["high"], "seeds vary"


def test_the_permutation_test_compares_each_variant_with_the_baseline():
    summary = whole_summary()
    assert summary["variants"]["baseline"]["test"] is None
    test = summary["variants"]["aelif_mask"]["test"]
    assert test["statistic"] == pytest.approx(mean("aelif_mask:0.3", [2, 3, 4]) - mean("baseline", [2, 3, 4]))
    assert (test["unit"], test["num_flips"], test["p_adjusted"]) == ("seed and prompt", 64, test["p_value"])
    rows = score_rows(noisy, variants=("baseline", "aelif_mask:0.3", "cep:1"), seeds=range(6))
    summary = summary_of(rows, seed_distances_KP=np.empty((0, 2)))
    tests = [entry["test"] for name, entry in summary["variants"].items() if name != "baseline"]
    assert [test["unit"] for test in tests] == ["seed", "seed"]
    assert [test["p_value"] for test in tests] == [2 / 64, 2 / 64]
    assert [test["p_adjusted"] for test in tests] == [4 / 64, 4 / 64]


def test_skipped_prompts_and_short_curves_are_told():
    summary = whole_summary()
    assert summary["skipped"][0] == {
        "family": "tense", "severity": 0.1, "prompt": "a photo of sks dog", "reason": "it has no verb",
    }  # fmt: skip
    told = " ".join(summary["notes"])
    assert "33% of the perturbed prompts move the embeddings further than the stress curve reaches (0.40" in told
    assert "No prompt could be perturbed by tense: nothing is said of such errors." in told
    assert "Some prompts could not be perturbed and are left out: paper (1)." in told


def test_equal_scores_give_equal_summaries():
    assert json.dumps(whole_summary()) == json.dumps(whole_summary())
    assert "NaN" not in json.dumps(whole_summary())


def test_prompts_of_one_clean_prompt_are_drawn_themselves():
    rows = score_rows(noisy, seeds=[0], prompts=[PROMPTS[0], PROMPTS[2], PROMPTS[3]])
    entry = summary_of(rows, seed_distances_KP=np.empty((0, 1)))["variants"]["baseline"]
    assert entry["clean"] == {"value": 0.5, "low": None, "high": None}
    assert entry["perturbed"]["low"] < entry["perturbed"]["value"] < entry["perturbed"]["high"]
    assert entry["families"]["paper"]["distance"]["low"] is None
