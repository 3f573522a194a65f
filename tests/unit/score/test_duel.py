from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t
from tests.unit.score.examples import PROMPTS, SCORED, made_up, prompt_row, score_rows

from aelif.config import BASELINE, ScoreConfig
from aelif.score.duel import duels, split_champion, trial_means
from aelif.score.grid import read_grid

CONFIG = ScoreConfig(resamples=200)
TRIAL = "aelif_mask:0.3/seed=1"
CHAMPION = "champion@3"
Row = dict[str, Any]


def champion_rows(value: Callable[[str, int, Row], float] = made_up, prompts: list[Row] = PROMPTS) -> list[Row]:
    return score_rows(value, variants=(CHAMPION,), seeds=(0,), prompts=prompts)


def mean(variant: str, seed: int, accept: Callable[[Row], bool], prompts: list[Row] = PROMPTS) -> float:
    return float(np.mean([made_up(variant, seed, prompt) for prompt in prompts if accept(prompt)]))


def in_set(name: str) -> Callable[[Row], bool]:
    return lambda prompt: prompt["prompt_set"] == name


def test_without_champion_there_are_no_duels():
    assert duels(score_rows(made_up), [], config=CONFIG) == (None, {})


def test_values_are_plain_means_and_their_ratios():
    champion, fought = duels(score_rows(made_up), champion_rows(), config=CONFIG)
    assert champion is not None
    assert list(fought) == [f"{name}/seed={seed}" for seed in (0, 1) for name in ("baseline", "aelif_mask:0.3")]
    duel = fought[TRIAL]
    own, held = (
        {name: mean(variant, seed, in_set(name)) for name in ("clean", "perturbed")}
        for variant, seed in (("aelif_mask:0.3", 1), (CHAMPION, 0))
    )
    for name in ("clean", "perturbed"):
        assert champion[name]["value"] == pytest.approx(held[name])
        assert duel[name]["value"] == pytest.approx(own[name])
    assert duel["improvement"]["value"] == pytest.approx(1 - own["perturbed"] / held["perturbed"])
    assert duel["clean_loss"]["value"] == pytest.approx(own["clean"] / held["clean"] - 1)
    assert champion["version"] == "3"
    assert champion["clip_t"]["value"] == duel["diversity"]["value"] == 0.25
    assert champion["families"].keys() == duel["families"].keys() == {"paper", "word_drop"}
    for family in champion["families"]:
        one, other = (
            mean(variant, seed, lambda prompt, family=family: prompt["family"] == family)
            for variant, seed in (("aelif_mask:0.3", 1), (CHAMPION, 0))
        )
        assert champion["families"][family]["value"] == pytest.approx(other)
        assert duel["families"][family]["distance"]["value"] == pytest.approx(one)
        assert duel["families"][family]["loss"]["value"] == pytest.approx(one / other - 1)


def test_the_interval_is_that_of_paired_clean_prompts():
    """Where the champion is at 1 everywhere, the improvement is a mean over prompts, and Student's t bounds it."""
    prompts = [row for clean in range(6) for row in (
        prompt_row(2 * clean, 2 * clean, f"photo {clean} of sks dog", "clean", "clean"),
        prompt_row(2 * clean + 1, 2 * clean, f"poto {clean} of sks dog", "perturbed", "paper"),
    )]  # fmt: skip
    generator = np.random.default_rng(5)
    gains = dict(zip([row["prompt_id"] for row in prompts], generator.normal(0.1, 0.05, len(prompts)), strict=True))
    rows = score_rows(lambda _v, _s, prompt: 1 - gains[prompt["prompt_id"]], seeds=(1,), prompts=prompts)
    _, fought = duels(rows, champion_rows(lambda *_: 1.0, prompts), config=ScoreConfig(resamples=4000))
    found = fought[TRIAL]["improvement"]
    sample = np.array([gain for prompt_id, gain in gains.items() if prompt_id % 2])
    half = t.ppf(0.975, 5) * sample.std(ddof=1) / np.sqrt(6)
    assert found["value"] == pytest.approx(sample.mean())
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half, rel=1e-6)
    # an ordinary bootstrap of pairs has its middle at the same place, and is narrower, as it is known to be
    drawn = sample[generator.integers(0, 6, (4000, 6))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found["low"] < low < high < found["high"]


def test_a_trial_that_is_the_champion_improves_nothing_for_certain():
    def same(_variant: str, _seed: int, prompt: Row) -> float:
        return made_up("same", 0, prompt)

    _, fought = duels(score_rows(same), champion_rows(same), config=CONFIG)
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0}
    for duel in fought.values():
        assert duel["improvement"] == duel["clean_loss"] == nothing
        assert {figures["loss"]["value"] for figures in duel["families"].values()} == {0.0}


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.2, 0.95))
def test_a_trial_that_is_nearer_everywhere_improves_by_just_that_share(factor: float):
    rows = score_rows(lambda _v, _s, prompt: factor * made_up("same", 0, prompt), seeds=(0,))
    _, fought = duels(rows, champion_rows(lambda _v, _s, prompt: made_up("same", 0, prompt)), config=CONFIG)
    for duel in fought.values():
        for end in ("value", "low", "high"):
            assert duel["improvement"][end] == pytest.approx(1 - factor)
            assert duel["clean_loss"][end] == pytest.approx(factor - 1)


def test_stress_changes_nothing_and_contexts_count_as_a_family():
    asked = [prompt for prompt in SCORED if prompt["prompt_set"] != "stress"]
    with_stress = duels(score_rows(made_up, prompts=SCORED), champion_rows(prompts=asked), config=CONFIG)
    without = duels(score_rows(made_up, prompts=asked), champion_rows(prompts=asked), config=CONFIG)
    assert with_stress == without
    assert with_stress[1][TRIAL]["families"].keys() == {"paper", "word_drop", "context"}


def test_one_clean_prompt_with_one_error_gives_no_interval():
    prompts = [PROMPTS[0], PROMPTS[2]]
    _, fought = duels(score_rows(made_up, prompts=prompts), champion_rows(prompts=prompts), config=CONFIG)
    assert fought[TRIAL]["improvement"]["value"] is not None
    assert fought[TRIAL]["improvement"]["low"] is None


def test_a_champion_measured_otherwise_is_not_compared():
    rows = score_rows(made_up)
    other_text = [{**row, "prompt": row["prompt"].replace("dog", "cat")} for row in champion_rows()]
    fewer = champion_rows(prompts=PROMPTS[:-1])
    more_images = [{**row, "num_images": 8} for row in champion_rows()]
    for given_rows, words in (
        (other_text, "prompt 0 is 'a photo of sks cat'"), (fewer, "prompt 4 is missing for the champion"),
        (more_images, "clean, 8 images"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            duels(rows, given_rows, config=CONFIG)
    with pytest.raises(ValueError, match="give those of one champion@VERSION"):
        duels(rows, rows, config=CONFIG)
    with pytest.raises(ValueError, match="champion@3/seed=0, champion@4/seed=0"):
        duels(rows, [*champion_rows(), *({**row, "variant": "champion@4"} for row in champion_rows())], config=CONFIG)


def test_champion_and_trials_are_told_apart():
    rows, held = score_rows(made_up), champion_rows()
    assert split_champion([*held, *rows]) == (rows, held)
    assert split_champion([]) == ([], [])


def test_every_trial_has_its_means():
    rows = score_rows(made_up)
    means = trial_means(read_grid(rows))
    assert list(means) == [f"{name}/seed={seed}" for seed in (0, 1) for name in (BASELINE, "aelif_mask:0.3")]
    assert means[TRIAL] == {
        "clean": pytest.approx(mean("aelif_mask:0.3", 1, in_set("clean"))),
        "perturbed": pytest.approx(mean("aelif_mask:0.3", 1, in_set("perturbed"))), "clip_t": 0.25, "diversity": 0.25,
    }  # fmt: skip
    undefined = [{**row, "value": np.nan if row["metric"] == "diversity" else row["value"]} for row in rows]
    assert trial_means(read_grid(undefined))[TRIAL]["diversity"] is None
