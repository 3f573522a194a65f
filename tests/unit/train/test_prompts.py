from __future__ import annotations

from pathlib import Path

import pytest
import torch

from aelif.augment.apply import augment
from aelif.config import AugmentationConfig, Subject, Variant
from aelif.config.variants import MISSPELLING
from aelif.models.adapter import open_model
from aelif.progress import step_work
from aelif.randomness import torch_generator
from aelif.train.prompts import RowPool, misspell, open_book, report_idle

PROMPTS = ["a photo of sks backpack", "a photo of a backpack", "a photo of sks backpack"]
SUBJECT = Subject(instance_images="photos", instance_prompt=PROMPTS[0], class_prompt=PROMPTS[1])
CONFIG = AugmentationConfig(string_draws=6)


def book(adapter, variant: str, *, trains_text: bool = False):
    return open_book(adapter, PROMPTS, variant=Variant.parse(variant), augmentation=CONFIG, seed=0,
                     device=torch.device("cpu"), trains_text=trains_text, subjects=[SUBJECT])  # fmt: skip


def test_distinct_prompts_are_encoded_once(base: Path):
    adapter = open_model(base)
    opened = book(adapter, "aelif_mask:0.3")
    assert opened.texts == tuple(sorted(set(PROMPTS)))
    condition = opened.conditions([opened.row_of(prompt) for prompt in PROMPTS])
    for index, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(condition.prompt_embeds[index], adapter.encode_text([prompt]).prompt_embeds[0])
        torch.testing.assert_close(condition.pooled[index], adapter.encode_text([prompt]).pooled[0])


@pytest.mark.parametrize("trains_text", [False, True])
def test_misspelt_versions_are_those_of_the_rows_own_prompt(base: Path, trains_text):
    opened = book(open_model(base), "string_augmentation:0.5+aelif_mask:0.1", trains_text=trains_text)
    assert [len(rows) for rows in opened.versions["prompt"]] == [6, 6]
    rows = [opened.row_of(prompt) for prompt in PROMPTS]
    pool = RowPool(book=opened, rows=rows)
    seen = set()
    for step in range(20):
        chosen = pool.misspelt([torch_generator(0, "x", step, slot) for slot in range(3)], "prompt")
        for embeds, row in zip(chosen.prompt_embeds, rows, strict=True):
            own = opened.conditions(opened.versions["prompt"][row]).prompt_embeds
            match = [index for index, version in enumerate(own) if torch.allclose(version, embeds, atol=1e-5)]
            assert match
            seen.add((row, match[0]))
    assert len(seen) > 8, "all versions have their turn"
    assert torch.equal(pool.null().prompt_embeds, torch.zeros(3, 77, 48))


def test_misspelt_versions_are_made_for_the_augmentations_that_read_them(base: Path):
    adapter = open_model(base)
    for name in MISSPELLING:
        assert [len(rows) for rows in book(adapter, f"aelif_mask:0.3+{name}").versions["prompt"]] == [6, 6]
    assert book(adapter, "aelif_mask:0.3+caption_dropout").versions == {}


def test_errors_fall_where_the_terms_want_them(base: Path):
    variant = "string_augmentation@string_scope=identifier+typo_shift@string_scope=subject+typo_noise"
    opened = book(open_model(base), variant)
    assert list(opened.versions) == ["identifier", "subject", "prompt"]
    named, bare = (opened.row_of(prompt) for prompt in PROMPTS[:2])
    texts = {scope: [[opened.texts[row] for row in rows] for rows in rows_of] for scope, rows_of in
             opened.versions.items()}  # fmt: skip
    assert texts["identifier"][bare] == [], "the class prompt has no identifier"
    for text in texts["identifier"][named]:
        assert text.startswith("a photo of ")
        assert text.endswith("backpack")
        assert text != PROMPTS[0]
    assert any(not text.endswith("backpack") for text in texts["subject"][named])
    assert all(text.startswith("a photo of a ") for text in texts["subject"][bare]), "its class word alone is hit"
    assert any(not text.startswith("a photo of ") for text in texts["prompt"][named])
    pool = RowPool(book=opened, rows=[named, bare])
    chosen = pool.misspelt([torch_generator(0, "x", 0, slot) for slot in range(2)], "identifier")
    clean = opened.conditions([named, bare])
    assert [torch.equal(a, b) for a, b in zip(chosen.prompt_embeds, clean.prompt_embeds, strict=True)] == [False, True]


@pytest.mark.parametrize("trains_text", [False, True])
def test_the_identifier_is_told_from_other_words(base: Path, trains_text):
    opened = open_book(open_model(base), PROMPTS, variant=Variant(), augmentation=CONFIG, seed=0,
                       device=torch.device("cpu"), trains_text=trains_text, subjects=[SUBJECT])  # fmt: skip
    condition = opened.conditions([opened.row_of(prompt) for prompt in PROMPTS[:2]])
    ids = [opened.adapter.token_ids(text) for text in ("a photo of", "sks", PROMPTS[0])]
    spared = ~condition.eligible_positions("not_identifier")
    assert spared[0].nonzero()[:, 0].tolist() == [1 + len(ids[0]) + place for place in range(len(ids[1]))]
    assert not spared[1].any(), "the class prompt has no identifier"
    assert condition.eligible_positions("content")[0].sum() == len(ids[2]), "it is a word all the same"


def test_misspelling_is_seeded_varied_and_bounded():
    versions = misspell(PROMPTS[0], CONFIG, seed=3)
    assert versions == misspell(PROMPTS[0], CONFIG, seed=3) != misspell(PROMPTS[0], CONFIG, seed=4)
    assert len(set(versions)) == len(versions) == 6
    assert PROMPTS[0] not in versions
    with pytest.raises(ValueError, match="string_families = 'word_swap': none of them can change 'x'"):
        misspell("x", AugmentationConfig(string_families=("word_swap",)), seed=0)


@pytest.mark.parametrize(
    ("variant", "idle"),
    [
        ("aelif_mask:0.1@eligible=content", True),
        ("aelif_noise_conv:0.05to0.1@eligible=content", True),
        ("aelif_mask:0.5@eligible=content", False),
        ("aelif_noise_conv:0.1to0.5@eligible=content", False),
        ("aelif_mask:0.1@eligible=content@pooled=true", False),
        ("aelif_mask:0.1", False),
        ("cep:0.01@eligible=content", False),
    ],
)
def test_a_share_of_less_than_one_token_is_reported(base: Path, variant, idle, capsys):
    opened, terms = book(open_model(base), variant), Variant.parse(variant)
    with step_work("train") as progress:
        report_idle(opened, PROMPTS[:1], variant=terms, augmentation=CONFIG, progress=progress)
    assert (f"{variant} augments nothing: 0.1 of" in capsys.readouterr().out) == idle
    condition = opened.conditions([opened.row_of(PROMPTS[0])])
    touched = augment(condition, variant=terms, config=CONFIG, seed=0, step=9, slots=[0], instance=[True],
                      times=torch.zeros(1), done=0.999, pool=RowPool(book=opened))  # fmt: skip
    assert torch.equal(touched.prompt_embeds, condition.prompt_embeds) == (idle or "pooled" in variant)
