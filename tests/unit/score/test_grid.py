from __future__ import annotations

import numpy as np
import pytest
from tests.unit.score.examples import PROMPTS, SCORED, STRESSED, made_up, score_rows

from aelif.score.grid import read_grid


def test_groups_of_prompts():
    grid = read_grid(score_rows(made_up, prompts=SCORED), STRESSED)
    assert grid.sets == {
        "clean": (0, 1), "perturbed": (2, 3, 4), "tuning": (3,), "held_out": (2, 4), "out_of_distribution": (5, 6),
        "class": (7,),
    }  # fmt: skip
    assert grid.families == {"paper": (2, 4), "word_drop": (3,), "context": (5, 6)}
    assert grid.severities == {0.1: (2, 4), 0.2: (3,)}
    assert grid.stress == {"aelif_mask": {0.5: (8, 9)}, "aelif_noise_conv": {0.1: (10, 11), 0.3: (12, 13)}}
    assert grid.units == (0, 1, 0, 0, 1, 2, 3, 4, 0, 1, 0, 1, 0, 1)
    assert grid.num_clean == 2
    assert grid.mean_of("tokens_changed", (2, 3, 4)) == 2
    assert grid.mean_of("tokens_changed", (3,)) is None
    assert np.isnan(grid.values["dino"]).all()
    value = made_up("aelif_mask:0.3", 1, SCORED[4])
    assert grid.values["w1"][1, 1, 4] == value


def test_errors_in_the_only_clean_prompt_are_units():
    grid = read_grid(score_rows(made_up, prompts=[PROMPTS[0], PROMPTS[2], PROMPTS[3]]))
    assert grid.units == (0, 1, 2)
    assert grid.num_clean == 1


def test_a_clean_prompt_that_was_not_scored_is_named():
    rows = [row for row in score_rows(made_up) if row["prompt_id"] != 1]
    with pytest.raises(ValueError, match=r"the clean prompt 1 of prompt 4 \('a pictur of sks dog'\) is missing"):
        read_grid(rows)
