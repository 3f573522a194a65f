"""Qualities, cross-checks, curves, worst cases and failures in words and rows."""

import copy
from typing import Any

import pytest
from tests.unit.report.example import Example

from aelif.report.curve_tables import curve_rows, split_sentence, stress_rows
from aelif.report.failures import copy_sentences, loss_sentences
from aelif.report.pictures import read_pictures
from aelif.report.qualities import agreement, check_tables, quality_table
from aelif.report.tables import prompt_distances
from aelif.report.wording import distance
from aelif.report.worst import worst_cases, worst_rows


def test_qualities_that_were_not_measured_have_no_column(example: Example) -> None:
    titles, rows = quality_table(example.summary)
    assert "Sliced W2" not in [title for title, _ in titles]
    assert ("Leakage", "likeness on the bare class; lower is better") in titles
    assert all(len(row.cells) == len(titles) for row in rows)
    variants = example.summary["variants"]
    least = min(variants, key=lambda name: variants[name]["leakage"]["value"])
    assert [row.name for row in rows if row.cells[-1].best] == [least]
    assert [title for title, _ in quality_table({"variants": {"baseline": {}}})[0]] == [
        "W2", "Prompt alignment", "Likeness to photos", "Diversity",
    ]  # fmt: skip


def checks_of(**by_variant: tuple[float, float, float]) -> dict[str, Any]:
    checks = {name: {"cmmd": {"value": cmmd}, "kid": {"value": kid}} for name, (_, cmmd, kid) in by_variant.items()}
    return {"variants": {
        name: {"perturbed": {"value": figures[0]}, "cross_checks": {"perturbed": checks[name]}}
        for name, figures in by_variant.items()
    }}  # fmt: skip


@pytest.mark.parametrize(
    ("kid", "words"),
    [
        ((3, 1, 2), "CMMD and KID rank the variants on perturbed prompts as the mean W1 does."),
        ((2, 1, 3), "KID agrees on the best, b, but not on the whole order."),
        ((3, 2, 1), "KID prefers c, where the mean W1 prefers b."),
    ],
)
def test_the_cross_checks_are_compared_with_w1(kid: tuple[float, float, float], words: str) -> None:
    summary = checks_of(a=(1.0, 300, kid[0]), b=(0.8, 100, kid[1]), c=(0.9, 200, kid[2]))
    assert words in agreement(summary)


def test_without_cross_checks_nothing_is_said() -> None:
    assert agreement({"variants": {"baseline": {"perturbed": {"value": 1.0}}}}) == ""
    assert check_tables({"variants": {"baseline": {}}}) == []


def test_curves_and_stress_have_a_row_for_each_point(example: Example) -> None:
    rows = curve_rows(example.summary, ["baseline"])
    curve = example.summary["variants"]["baseline"]["curve"]
    assert [texts[0] for texts, _ in rows] == ["clean", "0.1", "0.2"]
    assert [cells[0].text for _, cells in rows] == [distance(point["distance"]["value"]) for point in curve]
    tables = dict(stress_rows(example.summary, ["baseline", "aelif_mask"]))
    assert [texts for texts, _ in tables["aelif_noise_conv"]] == [
        ("clean", "0.000"), ("0.2", "0.280"), ("0.4", "0.560"), ("0.8", "1.120"),
    ]  # fmt: skip


def test_the_split_is_told_of_the_baseline(example: Example) -> None:
    split = example.summary["variants"]["baseline"]["split"]
    words = split_sentence(example.summary)
    assert words.startswith(f"Errors raise the distance of baseline by {distance(split['string_damage']['value'])}.")
    assert "62.0\u202f% (52.0\u202f% – 74.0\u202f%) of the damage" in words
    assert split_sentence({"variants": {"baseline": {"split": None}}}) == ""
    none = copy.deepcopy(example.summary)
    none["variants"]["baseline"]["split"]["denoiser_share"]["value"] = None
    assert "no damage that could be split" in split_sentence(none)


def test_the_worst_case_is_the_greatest_damage_over_seeds(example: Example) -> None:
    images = {trial: read_pictures(folder) for trial, folder in zip(example.trials, example.worst_folders, strict=True)}
    cases = worst_cases(example.summary, example.worst, images, ["baseline", "aelif_mask"])
    assert [clean for clean, _ in cases] == ["a photo of sks backpack", "a picture of sks backpack"]
    for _, variants in cases:
        assert [case.variant for case in variants] == ["baseline", "aelif_mask"]
        for case in variants:
            assert "+0.310 against the clean prompt on the same noise" in case.facts
            assert "worst of 40 tried" in case.facts
            assert len(case.pieces) > 1
            assert len(case.uris) == 3
    assert worst_cases(example.summary, [], {}, ["baseline"]) == []
    assert [texts for texts, _ in worst_rows(example.summary)] == [(name,) for name in example.summary["variants"]]
    assert worst_rows({"variants": {"baseline": {"worst_case": None}}}) == []


def test_losses_are_counted_and_named(example: Example) -> None:
    distances = prompt_distances(example.scores, example.summary)
    (sentence,) = loss_sentences(example.summary, distances, example.prompts)
    ids = [row["prompt_id"] for row in example.prompts if row["prompt_set"] == "perturbed"]
    worse = sum(distances["aelif_mask"][i] > distances["baseline"][i] for i in ids)
    assert (
        f"aelif_mask is further from the photos than the baseline on {worse} of {len(ids)} perturbed prompts"
        in sentence
    )
    assert "by family: spacing (−" in sentence
    same = dict.fromkeys(distances, distances["baseline"])
    summary = copy.deepcopy(example.summary)
    summary["variants"]["aelif_mask"]["families"] = {}
    assert loss_sentences(summary, same, example.prompts) == [
        f"No variant is further from the photos than the baseline on any of {len(ids)} perturbed prompts."
    ]


def test_near_copies_are_told_where_they_were_sought(example: Example) -> None:
    assert "4.2\u202f% by aelif_mask" in copy_sentences(example.summary)[0]
    assert "(cosine 0.961)" in copy_sentences(example.summary)[0]
    assert copy_sentences({"variants": {"baseline": {"near_copies": {"value": 0.0}}}})[0].startswith("No clean image")
    assert copy_sentences({"variants": {"baseline": {}}}) == []
