from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.unit.score.examples import unit_vectors

from aelif.artifacts import (
    Embeddings,
    ImageRecord,
    prompt_schema,
    read_table,
    score_schema,
    write_embeddings,
    write_table,
)
from aelif.config import Trial
from aelif.score import METRICS
from aelif.score.component import score_robustness
from aelif.score.copies import near_copy_cosine, near_copy_share
from aelif.score.diversity import vendi_score
from aelif.score.sliced import sliced_wasserstein
from aelif.score.trial import images_by_prompt, score_trial
from aelif.score.wasserstein import wasserstein

TRIAL = Trial.parse("aelif_mask:0.3/seed=1")
SIZE = 4


def prompt_row(prompt_id: int, clean_id: int, prompt: str, prompt_set: str, family: str) -> dict[str, Any]:
    clean_prompt = "a photo of sks dog" if prompt_set != "class" else prompt
    severity = 0.0 if prompt_set in ("clean", "class", "out_of_distribution") else 0.1
    return {"prompt_id": prompt_id, "clean_id": clean_id, "prompt": prompt, "clean_prompt": clean_prompt,
            "prompt_set": prompt_set, "family": family, "severity": severity}  # fmt: skip


PROMPTS = [
    prompt_row(0, 0, "a photo of sks dog", "clean", "clean"),
    prompt_row(1, 0, "a poto of sks dog", "perturbed", "paper"),
    prompt_row(2, 0, "a sks dog in the jungle", "out_of_distribution", "context"),
    prompt_row(3, 0, "a photo of sks dog", "stress", "aelif_mask"),
    prompt_row(4, 4, "a photo of a dog", "class", "class"),
]


def photo_embeddings(count: int = 3) -> Embeddings:
    records = [ImageRecord(file_name=f"{i}.png", text="a photo of sks dog") for i in range(count)]
    return Embeddings(images=unit_vectors(count, 2), records=records, texts={}, scorer="clip")


def trial_embeddings(images: int = SIZE, prompts: list[dict[str, Any]] = PROMPTS) -> Embeddings:
    """Embeddings of one trial, with its images in mixed order."""
    records = [
        ImageRecord(file_name=f"{p['prompt_id']}-{i}.png", text=p["prompt"], prompt_id=p["prompt_id"], image_index=i)
        for i in range(images)
        for p in prompts
    ]
    texts = {p["prompt"]: unit_vectors(1, 99, p["prompt_id"])[0] for p in prompts}
    return Embeddings(images=unit_vectors(len(records), 1), records=records, texts=texts, scorer="clip")


def scores(reference: Embeddings, generated: Embeddings, prompts: list[dict[str, Any]] = PROMPTS) -> dict[Any, float]:
    return {(r["prompt_id"], r["metric"]): r["value"] for r in score_trial(reference, generated, prompts, TRIAL)}


def test_rows_hold_every_metric_of_every_prompt():
    photos, generated = photo_embeddings(), trial_embeddings()
    rows = score_trial(photos, generated, PROMPTS, TRIAL)
    metrics = [metric for metric in METRICS if metric != "dino"]
    assert [(row["prompt_id"], row["metric"]) for row in rows] == [
        (p["prompt_id"], m) for p in PROMPTS for m in metrics
    ]
    assert set(rows[0]) == set(score_schema().names)
    assert {(row["variant"], row["seed"], row["num_images"]) for row in rows} == {("aelif_mask:0.3", 1, SIZE)}
    values = scores(photos, generated)
    for prompt_id, images in images_by_prompt(generated).items():
        own = [r for r, record in enumerate(generated.records) if record.prompt_id == prompt_id]
        np.testing.assert_array_equal(images, generated.images[own])
        expected = {
            "w1": wasserstein(images, photos.images),
            "w2": wasserstein(images, photos.images, order=2),
            "sliced_w2": sliced_wasserstein(images, photos.images),
            "clip_i": np.mean(images @ photos.images.T),
            "vendi": vendi_score(images),
            "near_copies": near_copy_share(images, photos.images, threshold=near_copy_cosine(photos.images)),
        }
        for metric, value in expected.items():
            assert values[prompt_id, metric] == pytest.approx(value, abs=1e-6), metric


def test_images_are_compared_with_the_words_that_were_meant():
    generated = trial_embeddings()
    values, images = scores(photo_embeddings(), generated), images_by_prompt(generated)
    meant = {0: "a photo of sks dog", 1: "a photo of sks dog", 2: "a sks dog in the jungle", 3: "a photo of sks dog",
             4: "a photo of a dog"}  # fmt: skip
    for prompt_id, words in meant.items():
        expected = np.mean(images[prompt_id] @ generated.texts[words])
        assert values[prompt_id, "clip_t"] == pytest.approx(expected, abs=1e-6)


def test_self_similarity_where_both_sets_carry_it():
    photos, generated = photo_embeddings(), trial_embeddings()
    photos = replace(photos, dino=unit_vectors(3, 20, width=5), dino_scorer="vit")
    generated = replace(generated, dino=unit_vectors(len(generated.records), 21, width=5), dino_scorer="vit")
    own = [row for row, record in enumerate(generated.records) if record.prompt_id == 2]
    expected = np.mean(generated.dino[own] @ photos.dino.T)
    assert scores(photos, generated)[2, "dino"] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match="dino vit for the images, none for the photos"):
        scores(photo_embeddings(), generated)


def test_images_equal_to_the_photos():
    photos, generated = photo_embeddings(SIZE), trial_embeddings(prompts=PROMPTS[:1])
    values = scores(photos, replace(generated, images=photos.images), PROMPTS[:1])
    assert (values[0, "w1"], values[0, "w2"], values[0, "sliced_w2"]) == (0, 0, 0)
    assert values[0, "near_copies"] == 1


def test_one_photo_leaves_near_copies_undefined():
    assert (0, "near_copies") not in scores(photo_embeddings(1), trial_embeddings())


def test_incomplete_trials_are_refused():
    photos, whole = photo_embeddings(), trial_embeddings()
    with pytest.raises(ValueError, match=r"prompt 4 .* has no images"):
        scores(photos, trial_embeddings(prompts=PROMPTS[:4]))
    with pytest.raises(ValueError, match=r"images per prompt = \[3, 4\]"):
        scores(photos, replace(whole, images=whole.images[1:], records=whole.records[1:]))
    with pytest.raises(ValueError, match=r"images_per_prompt = 1: .* set synthesis\.images_per_prompt"):
        scores(photos, trial_embeddings(images=1))
    texts = {text: row for text, row in whole.texts.items() if text != "a photo of sks dog"}
    with pytest.raises(ValueError, match="clean prompt 'a photo of sks dog' was not embedded"):
        scores(photos, replace(whole, texts=texts))
    with pytest.raises(ValueError, match="there are no prompts"):
        scores(photos, whole, [])
    with pytest.raises(ValueError, match="there are no training images"):
        scores(replace(photos, images=photos.images[:0], records=[]), whole)
    broken = whole.images.copy()
    broken[15, 2] = np.nan
    with pytest.raises(ValueError, match="row 3 of 4 is not finite"):
        scores(photos, replace(whole, images=broken))


def test_embeddings_of_different_models_are_refused():
    photos, whole = photo_embeddings(), trial_embeddings()
    with pytest.raises(ValueError, match="scorer clip for the images, another for the photos; embed both with one sc"):
        scores(replace(photos, scorer="another"), whole)
    with pytest.raises(ValueError, match="6 wide, the training images' 8; embed both with one scorer"):
        scores(replace(photos, images=unit_vectors(3, 5, width=8)), whole)


def test_component_writes_the_same_bytes_twice(tmp_path: Path):
    def place(name: str) -> SimpleNamespace:
        return SimpleNamespace(path=str(tmp_path / name))

    reference, generated, prompts = place("reference"), place("generated"), place("prompts")
    write_embeddings(reference.path, photo_embeddings())
    write_embeddings(generated.path, trial_embeddings())
    blank = dict.fromkeys(prompt_schema().names) | {"draw": 0, "character_error_rate": 0.0, "edits": []}
    skipped = {**PROMPTS[1], "prompt_id": 5, "prompt_set": "skipped", "reason": "too short"}
    table = [{**blank, "reason": "", **prompt} for prompt in [*PROMPTS, skipped]]
    write_table(prompts.path, table, prompt_schema())
    for name in ("a", "b"):
        score_robustness.python_func(reference, generated, prompts, str(TRIAL), place(name), "1")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert len(read_table(tmp_path / "a", score_schema())) == len(PROMPTS) * (len(METRICS) - 1)
