from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.unit.score.examples import SCORED, STRESSED, made_up, score_rows, worst_rows

from aelif.config import ScoreConfig
from aelif.score.comparison import Comparison
from aelif.score.curves import severity_curve, stress_curves
from aelif.score.grid import read_grid
from aelif.score.split import read_scale, split_damage
from aelif.score.worst import describe_worst

CONFIG = ScoreConfig(resamples=300)
MASK = "aelif_mask:0.3"


def comparison_of(value: Any = made_up, table: list[dict[str, Any]] = STRESSED) -> Comparison:
    scored = [row for row in table if row["prompt_set"] != "skipped"]
    return Comparison(read_grid(score_rows(value, prompts=scored), table), CONFIG)


def mean(prompt_ids: list[int], variant: str = "baseline", seeds: tuple[int, ...] = (0, 1)) -> float:
    return float(np.mean([made_up(variant, seed, SCORED[place]) for seed in seeds for place in prompt_ids]))


def test_severity_curve_starts_at_the_clean_prompts():
    curve = severity_curve(comparison_of(), MASK)
    assert [(point["severity"], point["num_prompts"]) for point in curve] == [(0.0, 2), (0.1, 2), (0.2, 1)]
    assert [point["error_rate"] for point in curve] == pytest.approx([0, 0.1, 0.2])
    assert [point["embedding_shift"] for point in curve] == pytest.approx([0, 0.35, 0.3])
    expected = [mean([0, 1], MASK), mean([2, 4], MASK), mean([3], MASK)]
    assert [point["distance"]["value"] for point in curve] == pytest.approx(expected)


def test_stress_curves_by_magnitude():
    curves = stress_curves(comparison_of(), MASK)
    assert list(curves) == ["aelif_mask", "aelif_noise_conv"]
    noise = curves["aelif_noise_conv"]
    assert [(point["severity"], point["embedding_shift"]) for point in noise] == [(0.0, 0.0), (0.1, 0.2), (0.3, 0.4)]
    expected = [mean([0, 1], MASK), mean([10, 11], MASK), mean([12, 13], MASK)]
    assert [point["distance"]["value"] for point in noise] == pytest.approx(expected)
    assert all(point["distance"]["low"] < point["distance"]["high"] for point in noise)


def test_split_by_hand():
    """Clean 0.5; noise does 0.1 at a shift of 0.2 and 0.3 at 0.4; errors at 0.1, 0.3 and 0.6 do 0.6 each.

    Read from the curve: 0.05, (0.1 + 0.3) / 2 = 0.2, and 0.3 beyond its end; mean 0.55 / 3.
    """
    values = {"clean": 0.5, "perturbed": 1.1}
    stress = {0.1: 0.6, 0.3: 0.8, 0.5: 2.0}
    comparison = comparison_of(
        lambda variant, seed, prompt: values.get(prompt["prompt_set"], stress.get(prompt["severity"], 0))
    )
    scale = read_scale(comparison)
    assert scale is not None
    assert scale.reach == 0.4
    assert scale.beyond == pytest.approx(1 / 3)
    np.testing.assert_allclose(scale.places, [[0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 1]])
    split = split_damage(comparison, "baseline", scale)
    parts = {name: figure["value"] for name, figure in split.items()}
    assert parts == pytest.approx({
        "string_damage": 0.6, "denoiser_damage": 0.55 / 3, "text_encoder_damage": 0.6 - 0.55 / 3,
        "denoiser_share": 0.55 / 1.8,
    })  # fmt: skip


def test_parts_of_the_split_add_up_and_have_intervals():
    comparison = comparison_of()
    split = split_damage(comparison, MASK, read_scale(comparison))
    whole, parts = split["string_damage"], (split["denoiser_damage"], split["text_encoder_damage"])
    assert whole["value"] == pytest.approx(sum(part["value"] for part in parts))
    assert whole["value"] == pytest.approx(mean([2, 3, 4], MASK) - mean([0, 1], MASK))
    assert all(part["low"] < part["value"] < part["high"] for part in (whole, *parts))


def test_no_split_without_measured_shifts_and_no_share_without_damage():
    unmeasured = [row | {"embedding_shift": None} for row in STRESSED]
    assert read_scale(comparison_of(table=unmeasured)) is None
    assert read_scale(comparison_of(table=[row for row in STRESSED if row["prompt_set"] != "stress"])) is None
    comparison = comparison_of(lambda variant, seed, prompt: 0.5)
    share = split_damage(comparison, "baseline", read_scale(comparison))["denoiser_share"]
    assert share == {"value": None, "low": None, "high": None}


def test_masking_is_read_where_there_is_no_noise():
    table = [row for row in STRESSED if row["family"] != "aelif_noise_conv"]
    scale = read_scale(comparison_of(table=table))
    assert scale.reach == 0.7
    assert scale.beyond == 0


def test_worst_case_is_measured_on_fresh_noise():
    comparison = comparison_of()
    worst = describe_worst(comparison, MASK, worst_rows())
    assert worst["distance"]["value"] == pytest.approx(1.15)
    assert worst["damage"]["value"] == pytest.approx(1.15 - 0.45)
    assert worst["mean_perturbed"]["value"] == pytest.approx(mean([2, 3, 4], MASK))
    assert (worst["tried"], worst["max_edits"]) == (21, 2)
    assert worst["distance"]["low"] < 1.15 < worst["distance"]["high"]
    one = describe_worst(comparison, MASK, worst_rows(clean_ids=[1]))
    assert one["mean_perturbed"]["value"] == pytest.approx(mean([4], MASK))
    assert one["max_edits"] == 2
    assert describe_worst(comparison, MASK, []) is None


def test_incomplete_attacks_are_refused():
    comparison, rows = comparison_of(), worst_rows()
    with pytest.raises(ValueError, match=r"aelif_mask:0\.3 with seed 1 lacks the attack on 'a picture of sks dog'"):
        describe_worst(comparison, MASK, rows[:-1])
    with pytest.raises(ValueError, match=r"clean_id = \[2\] is no clean prompt"):
        describe_worst(comparison, MASK, [*rows, rows[0] | {"clean_id": 2}])


def test_rows_of_the_grid_are_not_changed_by_order():
    grid = read_grid(score_rows(made_up, prompts=SCORED), STRESSED)
    mixed = read_grid(score_rows(made_up, prompts=SCORED[::-1]), STRESSED[::-1])
    np.testing.assert_array_equal(grid.values["w1"], mixed.values["w1"])
    assert replace(grid, values={}) == replace(mixed, values={})
