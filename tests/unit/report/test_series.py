from typing import Any

import pytest
from tests.unit.report.example import SWEEP

from aelif.config import BASELINE
from aelif.report.drawing import MARKERS, NARROW
from aelif.report.plots import plot_distances
from aelif.report.series import MANY, NUM_STYLES, leading, read_series


def summary_of(perturbed: dict[str, float]) -> dict[str, Any]:
    return {"variants": {name: {"variant": name, "perturbed": {"value": value}} for name, value in perturbed.items()}}


@pytest.mark.parametrize(
    ("text", "augmentation", "parameters"),
    [
        ("baseline", "baseline", {}),
        ("aelif_mask:0.1-0.5", "aelif_mask", {"magnitude": "0.1-0.5"}),
        ("aelif_noise_conv:0.3@noise_std=0.5", "aelif_noise_conv", {"magnitude": "0.3", "noise_std": "0.5"}),
        ("aelif_mask:0.3@eligible=content+eos", "aelif_mask", {"magnitude": "0.3", "eligible": "content+eos"}),
        ("string_augmentation:0.3+aelif_mask:0.2", "string_augmentation+aelif_mask", {}),
    ],
)
def test_variants_are_read_as_trials_write_them(text: str, augmentation: str, parameters: dict[str, str]) -> None:
    (one,) = read_series(summary_of({text: 1.0})).values()
    assert (one.augmentation, one.parameters, one.name) == (augmentation, parameters, text)


def test_few_variants_have_a_style_each_and_many_share_that_of_their_augmentation() -> None:
    few = read_series(summary_of(dict.fromkeys(list(SWEEP)[:MANY], 1.0)))
    assert [one.style for one in few.values()] == list(range(MANY))
    assert all(one.short == one.name for one in few.values())
    many = read_series(summary_of(dict.fromkeys(SWEEP, 1.0)))
    assert [one.style for one in many.values()] == [0, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert many["aelif_noise_conv:0.3@noise_std=0.5"].short == "0.3, σ 0.5"
    assert many["aelif_noise_conv:0.3@noise_std=0.5"].lines == "aelif_noise_conv\n0.3, σ 0.5"


def test_no_other_variant_has_the_style_of_the_baseline() -> None:
    kinds = ["cep", "neftune", "caption_dropout", "aelif_mask", "aelif_noise_conv", "typo_shift", "typo_noise"]
    names = [BASELINE, *kinds, *(f"{kind}+string_augmentation" for kind in kinds)]
    styles = [one.style for one in read_series(summary_of(dict.fromkeys(names, 1.0))).values()]
    assert styles[:NUM_STYLES] == list(range(NUM_STYLES))
    assert len(styles) > NUM_STYLES == len(MARKERS)
    assert 0 not in styles[1:]


def test_row_labels_are_broken_where_they_are_long() -> None:
    long = {
        "aelif_noise_conv:0.3@class_prompts=false@eligible=content@pooled=true": 1.0,
        "typo_shift:0.4@class_prompts=false@timesteps=low+aelif_noise_conv:0.3@class_prompts=false": 1.0,
        "aelif_noise_conv:0.1": 1.0,
    }
    for name, one in read_series(summary_of(long)).items():
        assert max(map(len, one.lines.split("\n"))) <= 26
        assert "".join(one.lines.split()).startswith(name[:10])
    figure = plot_distances(summary_of(long), NARROW)
    assert "class_prompts" in figure


def test_the_leading_variants_are_the_baseline_and_the_best_of_each_augmentation() -> None:
    summary = summary_of({"baseline": 1.0, "aelif_mask:0.1": 0.7, "aelif_mask:0.3": 0.6, "cep": 0.9, "neftune": 0.8})
    assert leading(summary, 3) == ["baseline", "aelif_mask:0.3", "neftune"]
    assert leading(summary, 4) == ["baseline", "aelif_mask:0.3", "cep", "neftune"]
    assert leading(summary, 5) == list(summary["variants"])
