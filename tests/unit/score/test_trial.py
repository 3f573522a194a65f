from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.spatial
from tests.unit.score.examples import PROMPTS, photo_embeddings, trial_embeddings, unit_vectors

from aelif.artifacts import prompt_schema, read_json, read_table, score_schema, write_embeddings, write_table
from aelif.config import ScoreConfig, Trial, to_dict
from aelif.score import METRICS
from aelif.score.component import compare_variants, score_robustness
from aelif.score.diversity import mean_cosine, mean_pairwise_distance
from aelif.score.trial import images_by_prompt, score_trial
from aelif.score.wasserstein import wasserstein

TRIAL = Trial.parse("aelif_mask:0.3/seed=1")


def test_cosine_and_diversity_against_loops():
    x, y = unit_vectors(5, 0), unit_vectors(3, 1)
    assert mean_cosine(x, y) == pytest.approx(np.mean(1 - scipy.spatial.distance.cdist(x, y, "cosine")))
    assert mean_pairwise_distance(x) == pytest.approx(np.mean([np.linalg.norm(a - b) for a, b in combinations(x, 2)]))
    assert mean_pairwise_distance(np.eye(4)) == pytest.approx(np.sqrt(2))
    assert mean_pairwise_distance(np.ones((3, 2))) == 0
    assert np.isnan(mean_pairwise_distance(x[:1]))


def test_rows_hold_every_metric_of_every_prompt():
    photos, generated = photo_embeddings(), trial_embeddings(1)
    rows = score_trial(photos, generated, PROMPTS, TRIAL)
    assert [(row["prompt_id"], row["metric"]) for row in rows] == [
        (p["prompt_id"], m) for p in PROMPTS for m in METRICS
    ]
    assert set(rows[0]) == set(score_schema().names)
    assert {(row["variant"], row["seed"], row["num_images"]) for row in rows} == {("aelif_mask:0.3", 1, 4)}
    images = images_by_prompt(generated)[2]
    own = [r for r, record in enumerate(generated.records) if record.prompt_id == 2]
    np.testing.assert_array_equal(images, generated.images[own])
    values = {row["metric"]: row["value"] for row in rows if row["prompt_id"] == 2}
    assert values["w1"] == wasserstein(images, photos.images)
    assert values["clip_t"] == pytest.approx(np.mean(images @ generated.texts["a photo of sks dog"])), (
        "the clean prompt"
    )
    assert values["clip_i"] == pytest.approx(np.mean(images @ photos.images.T))


def test_images_equal_to_the_photos_score_zero():
    photos = photo_embeddings(4)
    generated = trial_embeddings(0, prompts=PROMPTS[:1])
    values = {
        row["metric"]: row["value"]
        for row in score_trial(photos, replace(generated, images=photos.images), PROMPTS[:1], TRIAL)
    }
    assert values["w1"] == pytest.approx(0, abs=1e-6)
    assert values["w2"] == pytest.approx(0, abs=1e-3)


def test_one_image_per_prompt_has_no_diversity():
    rows = score_trial(photo_embeddings(), trial_embeddings(0, images=1), PROMPTS, TRIAL)
    assert {row["metric"] for row in rows} == set(METRICS) - {"diversity"}


def test_incomplete_trials_are_refused():
    photos, whole = photo_embeddings(), trial_embeddings(0)
    with pytest.raises(ValueError, match=r"prompt 4 .* has no images"):
        score_trial(photos, trial_embeddings(0, prompts=PROMPTS[:4]), PROMPTS, TRIAL)
    with pytest.raises(ValueError, match=r"images per prompt = \[3, 4\]"):
        score_trial(photos, replace(whole, images=whole.images[1:], records=whole.records[1:]), PROMPTS, TRIAL)
    texts = {text: row for text, row in whole.texts.items() if text != "a picture of sks dog"}
    with pytest.raises(ValueError, match="clean prompt 'a picture of sks dog' was not embedded"):
        score_trial(photos, replace(whole, texts=texts), PROMPTS, TRIAL)
    with pytest.raises(ValueError, match="embed both with one scorer"):
        score_trial(replace(photos, images=unit_vectors(3, 5, width=8)), whole, PROMPTS, TRIAL)


def test_components_hand_files_on(tmp_path: Path):
    def place(name: str) -> SimpleNamespace:
        return SimpleNamespace(path=str(tmp_path / name))

    reference, prompts = place("reference"), place("prompts")
    write_embeddings(reference.path, photo_embeddings())
    extra = {"draw": 0, "character_error_rate": 0.0, "edits": []}
    write_table(prompts.path, [{**prompt, **extra} for prompt in PROMPTS], prompt_schema())
    trials = [f"{variant}/seed={seed}" for seed in (0, 1) for variant in ("baseline", "aelif_mask:0.3")]
    embedded, scored = [place(f"embeddings-{i}") for i in range(4)], [place(f"scores-{i}") for i in range(4)]
    for index, trial in enumerate(trials):
        write_embeddings(embedded[index].path, trial_embeddings(index))
        score_robustness.python_func(reference, embedded[index], prompts, trial, scored[index], "1")
    config = to_dict(ScoreConfig(resamples=200))
    for name in ("a", "b"):
        compare_variants.python_func(scored, embedded, reference, config, place(f"t-{name}"), place(f"s-{name}"), "1")
    assert (tmp_path / "t-a").read_bytes() == (tmp_path / "t-b").read_bytes()
    assert (tmp_path / "s-a").read_bytes() == (tmp_path / "s-b").read_bytes()
    assert len(read_table(tmp_path / "t-a", score_schema())) == 4 * len(PROMPTS) * len(METRICS)
    summary = read_json(tmp_path / "s-a")
    assert list(summary["variants"]) == ["baseline", "aelif_mask"]
    one, two = (images_by_prompt(trial_embeddings(index)) for index in (0, 2))
    expected = np.mean([wasserstein(one[prompt], two[prompt]) for prompt in (0, 1)])
    assert summary["seed_floor"]["value"] == pytest.approx(expected)
    with pytest.raises(AssertionError, match="scores of other images"):
        compare_variants.python_func(scored, embedded[::-1], reference, config, place("t"), place("s"), "1")
    with pytest.raises(ValueError, match="give both for every trial"):
        compare_variants.python_func(scored, embedded[:3], reference, config, place("t"), place("s"), "1")
