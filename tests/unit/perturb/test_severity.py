"""Realised severity, on tiny models of the real classes, against a plain reading of its definition."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.tiny import write_tiny_sd, write_tiny_sdxl

from aelif.config import DataConfig, PromptConfig, StressConfig
from aelif.models.adapter import open_model
from aelif.perturb.plan import plan_prompts
from aelif.perturb.severity import measure, open_reader

DATA = DataConfig(
    instance_images="photos", instance_prompt="a photo of sks backpack", class_prompt="a photo of a backpack"
)
STRESS = StressConfig(magnitudes=(0.2, 0.8))


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "base")


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd(tmp_path_factory.mktemp("sd") / "base")


def planned(**settings):
    options = {"families": ("swap", "casing", "tense", "context"), "templates": ("a photo of {subject}",)}
    return plan_prompts(PromptConfig(**{**options, **settings}), data=DATA, seed=0)


@lru_cache
def stock(base: Path):
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    if (base / "text_encoder_2").exists():
        return StableDiffusionXLPipeline.from_pretrained(base)
    return StableDiffusionPipeline.from_pretrained(base, safety_checker=None, feature_extractor=None)


def encode(base: Path, prompt: str):
    """Return tokens, prompt embeddings and pooled (or end token's) embedding of the stock pipeline."""
    pipeline = stock(base)
    ids = pipeline.tokenizer(prompt).input_ids[1:-1]
    with torch.no_grad():
        if (base / "text_encoder_2").exists():
            embeds, _, pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
            return ids, embeds[0].numpy(), pooled[0].numpy()
        embeds, _ = pipeline.encode_prompt(prompt, "cpu", 1, do_classifier_free_guidance=False)
        return ids, embeds[0].numpy(), embeds[0, len(ids) + 1].numpy()


def edit_distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (x != y)))
    return row[-1]


@pytest.mark.parametrize("family", ["sdxl", "sd"])
def test_rows_are_measured_against_their_clean_prompt(family, request):
    base = request.getfixturevalue(family)
    rows = measure(open_model(base), planned(draws=2, class_errors=True), stress=StressConfig(), seed=0)
    read = {prompt: encode(base, prompt) for prompt in ("a photo of sks backpack", "a photo of a backpack")}
    seen = set()
    for row in rows:
        seen.add(row["prompt_set"])
        if row["prompt_set"] in ("perturbed", "out_of_distribution", "class_perturbed"):
            clean_ids, clean_embeds, clean_summary = read[row["clean_prompt"]]
            ids, embeds, summary = encode(base, row["prompt"])
            cosine = summary @ clean_summary / np.linalg.norm(summary) / np.linalg.norm(clean_summary)
            shift = np.linalg.norm(embeds[1:] - clean_embeds[1:]) / np.linalg.norm(clean_embeds[1:])
            assert row["tokens_changed"] == edit_distance(clean_ids, ids)
            assert row["embedding_cosine"] == pytest.approx(cosine, abs=1e-4)
            assert row["embedding_shift"] == pytest.approx(shift, abs=1e-4)
            if row["family"] == "casing":  # CLIP reads small letters alone
                assert (row["tokens_changed"], row["embedding_shift"]) == (0, pytest.approx(0, abs=1e-5))
        elif row["prompt_set"] in ("clean", "class"):
            still = (row["tokens_changed"], row["embedding_cosine"], row["embedding_shift"])
            assert still == (0, 1.0, 0.0)
        else:
            assert row["embedding_shift"] is row["tokens_changed"] is row["embedding_cosine"] is None
    assert seen == {"clean", "perturbed", "out_of_distribution", "class", "class_perturbed", "skipped"}


def test_token_ids_are_the_words_the_model_reads(sdxl: Path):
    adapter = open_model(sdxl)
    assert adapter.token_ids("a photo of sks") == encode(sdxl, "a photo of sks")[0]
    assert adapter.token_ids("") == []
    assert len(adapter.token_ids("photo " * 200)) == 75


def test_stress_is_the_mean_over_the_draws_of_the_images(sdxl: Path, monkeypatch):
    calls = []

    def shrink(condition, *, row, image_indices, config, seed):
        """Return the clean condition scaled down, more so for later images: its shift is the share taken away."""
        calls.append((row["family"], row["severity"], list(image_indices), config, seed))
        rows = condition.select(torch.zeros(len(image_indices), dtype=torch.long))
        share = torch.tensor([row["severity"] * (index + 1) / 10 for index in image_indices])
        return SimpleNamespace(prompt_embeds=rows.prompt_embeds * (1 - share)[:, None, None], pooled=-rows.pooled,
                               token_kinds=rows.token_kinds)  # fmt: skip

    monkeypatch.setitem(sys.modules, "aelif.augment.stress", SimpleNamespace(stress_condition=shrink))
    rows = measure(open_model(sdxl), planned(stress=STRESS), stress=STRESS, images_per_prompt=3, seed=7)
    stressed = [row for row in rows if row["prompt_set"] == "stress"]
    assert [row["embedding_shift"] for row in stressed] == pytest.approx([0.04, 0.16, 0.04, 0.16], abs=1e-6)
    assert [row["embedding_cosine"] for row in stressed] == pytest.approx([-1.0] * 4)
    assert {row["tokens_changed"] for row in stressed} == {0}
    assert calls[1] == ("aelif_mask", 0.8, [0, 1, 2], STRESS, 7)


def test_stress_grows_with_its_magnitude(sdxl: Path):
    rows = measure(open_reader(sdxl), planned(stress=STRESS), stress=STRESS, seed=0)
    shifts = [row["embedding_shift"] for row in rows if row["prompt_set"] == "stress"]
    assert 0 < shifts[0] < shifts[1] < 1.05
    assert 0 < shifts[2] < shifts[3]
    assert [row["embedding_cosine"] for row in rows if row["prompt_set"] == "stress"] == pytest.approx([1.0] * 4)
