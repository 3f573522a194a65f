from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.score.examples import SCORED, STRESSED, photo_embeddings, trial_embeddings, worst_rows

from aelif.artifacts import (
    prompt_schema,
    read_json,
    read_table,
    score_schema,
    worst_schema,
    write_embeddings,
    write_table,
)
from aelif.config import ScoreConfig, Trial
from aelif.score.component import compare_variants, score_robustness
from aelif.score.copies import near_copy_cosine
from aelif.score.duel import split_champion
from aelif.score.summary import compare_trials, distances_between_seeds
from aelif.score.trial import images_by_prompt, score_trial
from aelif.score.wasserstein import wasserstein

TRIALS = [f"{variant}/seed={seed}" for seed in (0, 1) for variant in ("baseline", "aelif_mask:0.3")]


def place(path: Path) -> Any:
    return SimpleNamespace(path=str(path))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Artifacts of four trials."""
    folder = tmp_path_factory.mktemp("run")
    write_table(folder / "prompts", STRESSED, prompt_schema())
    write_embeddings(folder / "reference", photo_embeddings())
    for number, trial in enumerate(TRIALS):
        write_embeddings(folder / f"e{number}", trial_embeddings(number, prompts=SCORED))
        rows = [row for row in worst_rows() if f"{row['variant']}/seed={row['seed']}" == trial]
        write_table(folder / f"w{number}", rows, worst_schema())
        score_robustness.python_func(
            place(folder / "reference"), place(folder / f"e{number}"), place(folder / "prompts"), trial,
            place(folder / f"s{number}"), "1",
        )  # fmt: skip
    write_table(folder / "nobody", [], score_schema())
    parts = {kind: [place(folder / f"{kind}{number}") for number in range(len(TRIALS))] for kind in "esw"}
    return SimpleNamespace(folder=folder, **parts)


def compare(run: SimpleNamespace, name: str, **changes: Any) -> Any:
    given = {
        "scores": run.s, "embeddings": run.e, "worst": run.w, "reference": place(run.folder / "reference"),
        "champion_scores": place(run.folder / "nobody"),
        "prompts": place(run.folder / "prompts"), "score": {"resamples": 200.0}, "code_version": "1",
        **{output: place(run.folder / f"{name}-{output}") for output in ("table", "worst_table", "summary")},
    }  # fmt: skip
    compare_variants.python_func(**{**given, **changes})
    return read_json(run.folder / f"{name}-summary")


def test_scores_of_all_trials_become_one_summary(run):
    summary = compare(run, "first")
    assert summary["schema"] == 2
    assert summary["near_copy_cosine"] == pytest.approx(near_copy_cosine(photo_embeddings().images))
    mask = summary["variants"]["aelif_mask"]
    assert mask["cross_checks"]["perturbed"]["cmmd"]["low"] is not None
    assert mask["worst_case"]["distance"]["value"] == pytest.approx(1.15)
    assert mask["split"]["string_damage"] == mask["excess_damage"]
    assert len(summary["skipped"]) == 2
    rows = read_table(run.folder / "first-table", score_schema())
    assert {(row["variant"], row["seed"]) for row in rows} == {
        (str(trial.variant), trial.seed) for trial in map(Trial.parse, TRIALS)
    }
    assert read_table(run.folder / "first-worst_table", worst_schema())[0]["edits"][0]["kind"] == "delete"
    images = [images_by_prompt(trial_embeddings(number, prompts=SCORED)) for number in (0, 2)]
    floor = np.mean([wasserstein(images[0][prompt], images[1][prompt]) for prompt in (0, 1)])
    assert summary["seed_floor"]["value"] == pytest.approx(floor)
    assert distances_between_seeds(images, [0, 1]).mean() == pytest.approx(floor)


def test_the_champion_is_measured_beside_the_trials_but_is_no_variant(run):
    folder = run.folder
    score_robustness.python_func(
        place(folder / "reference"), place(folder / "e1"), place(folder / "prompts"), "champion@3/seed=0",
        place(folder / "champion"), "1",
    )  # fmt: skip
    alone, beside = compare(run, "alone"), compare(run, "beside", champion_scores=place(folder / "champion"))
    assert (alone["champion"], alone["duels"]) == (None, {})
    assert {**beside, "champion": None, "duels": {}} == alone, "it changes no figure of the trials"
    assert beside["champion"]["version"] == "3"
    assert list(beside["duels"]) == list(beside["trials"]) == TRIALS
    assert beside["duels"][TRIALS[1]]["improvement"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    rows = read_table(folder / "beside-table", score_schema())
    assert split_champion(rows) == (read_table(folder / "alone-table", score_schema()),
                                    read_table(folder / "champion", score_schema()))  # fmt: skip


def test_equal_inputs_give_equal_bytes(run):
    compare(run, "one")
    compare(run, "two")
    for output in ("table", "worst_table", "summary"):
        assert (run.folder / f"one-{output}").read_bytes() == (run.folder / f"two-{output}").read_bytes()


def test_scores_of_other_images_are_noticed(run):
    with pytest.raises(AssertionError, match="scores of other images"):
        compare(run, "mixed", embeddings=run.e[::-1])
    with pytest.raises(ValueError, match="scores = 4 trials, embeddings = 3"):
        compare(run, "short", embeddings=run.e[:3])


def test_without_attack_there_is_no_worst_case():
    photos, config = photo_embeddings(), ScoreConfig(resamples=200)
    generated = [trial_embeddings(number, prompts=SCORED) for number in range(4)]
    tables = [
        score_trial(photos, embeddings, SCORED, Trial.parse(trial))
        for embeddings, trial in zip(generated, TRIALS, strict=True)
    ]
    summary = compare_trials(tables, generated, [[]] * 4, photos, STRESSED, config=config)
    assert [entry["worst_case"] for entry in summary["variants"].values()] == [None, None]
    assert dataclasses.asdict(config)["resamples"] == summary["num_resamples"]
