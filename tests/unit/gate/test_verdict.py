from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.gate.example import entry, figure, summary_of

from aelif.artifacts import read_json, write_json
from aelif.config import FamilyLimit, GateConfig, to_dict
from aelif.gate.component import judge_variants
from aelif.gate.verdict import Verdict, judge

CONFIG = GateConfig()
FIRST = "No champion was measured: the absolute limits alone decide."


def test_the_best_variant_wins_if_its_whole_interval_is_above_zero():
    verdict = judge(
        summary_of(aelif_mask=entry(0.51, 0.6, gain=0.25), aelif_noise_conv=entry(0.5, 0.7, gain=0.125)), CONFIG
    )
    assert verdict == Verdict(
        champion="aelif_mask", passed=True, trial="aelif_mask:0.3/seed=0", action="promote", against=None,
        reasons=(
            "aelif_mask is better than the baseline on perturbed prompts: "
            "0.600 against 0.800 (+25.0 %, interval +20.0 to +30.0 %).",
            FIRST,
        ),
    )  # fmt: skip


def test_the_best_of_those_clearly_better_is_chosen():
    summary = summary_of(
        aelif_mask=entry(0.5, 0.6, gain=0.25, spread=0.3), aelif_noise_conv=entry(0.5, 0.7, gain=0.125)
    )
    assert judge(summary, CONFIG).champion == "aelif_noise_conv"


@pytest.mark.parametrize("gain", [0.05, 0.04, -0.2])
def test_the_baseline_stays_where_the_gain_may_be_chance(gain: float):
    verdict = judge(summary_of(aelif_mask=entry(0.5, 0.8 * (1 - gain), gain=gain)), CONFIG)
    assert (verdict.champion, verdict.passed, verdict.trial) == ("baseline", True, "baseline/seed=0")
    assert "aelif_mask is not clearly better" in verdict.reasons[0]
    assert "The baseline keeps every limit, so it is chosen." in verdict.reasons[0]


def test_a_variant_that_costs_too_much_on_clean_prompts_is_passed_over():
    variants = {"aelif_mask": entry(0.53, 0.5, gain=0.375), "aelif_noise_conv": entry(0.52, 0.7, gain=0.125)}
    verdict = judge(summary_of(variants), CONFIG)
    assert verdict.champion == "aelif_noise_conv"
    assert verdict.reasons[2] == (
        "aelif_mask: on clean prompts it loses 6.0 % to the baseline (0.530 against 0.500), "
        "more than max_clean_loss = 5 %."
    )
    assert judge(summary_of(variants), GateConfig(max_clean_loss=0.1)).champion == "aelif_mask"


ABSOLUTE = [
    ({"max_clean_distance": 0.45}, {"clean": figure(0.5)}, "clean distance 0.500 is above max_clean_distance = 0.45"),
    ({"max_clean_distance": 0.45}, {"clean": figure(None)}, "the clean distance is undefined"),
    ({"min_prompt_alignment": 0.2}, {"clip_t": figure(0.1)}, "alignment 0.100 is below min_prompt_alignment = 0.2"),
    ({"min_prompt_alignment": 0.2}, {"clip_t": figure(None)}, "the prompt alignment is undefined"),
    ({"min_diversity": 0.2}, {"diversity": figure(0.1)}, "the diversity 0.100 is below min_diversity = 0.2"),
    ({"min_diversity": 0.2}, {"diversity": figure(None)}, "generate at least 2 images per prompt"),
    (
        {"families": (FamilyLimit(family="paper", max_distance=0.85),)},
        {"families": {"paper": {"distance": figure(0.9)}}},
        "the distance 0.900 on prompts of family paper is above max_distance = 0.85 of the limit on paper.",
    ),
    (
        {"families": (FamilyLimit(family="held_out", max_distance=0.95),)},
        {"families": {"paper": {"distance": figure(0.9)}, "ocr": {"distance": figure(0.99)}}},
        "the distance 0.990 on prompts of family ocr is above max_distance = 0.95 of the limit on held_out.",
    ),
    (
        {"families": (FamilyLimit(family="paper"),)},
        {"families": {"ocr": {"distance": figure(0.9)}}},
        "a limit on the family paper, which was not measured; add it to prompts.families.",
    ),
    (
        {"families": (FamilyLimit(family="paper"),)},
        {"families": {"paper": {"distance": figure(None)}}},
        "the distance undefined on prompts of family paper",
    ),
]


@pytest.mark.parametrize(("limits", "broken", "sentence"), ABSOLUTE)
def test_absolute_limits(limits: dict, broken: dict, sentence: str):
    variants = {"baseline": entry(0.44, 0.8), "aelif_mask": {**entry(0.44, 0.6, gain=0.25), **broken}}
    config = GateConfig(**{"max_clean_loss": 1.0, **limits})
    verdict = judge(summary_of(variants), config)
    assert verdict.champion == "baseline"
    assert verdict.reasons[0].startswith("No variant other than the baseline keeps every limit.")
    assert sentence in verdict.reasons[2]
    nobody = judge(summary_of({**variants, "baseline": {**variants["baseline"], **broken}}), config)
    assert (nobody.champion, nobody.passed, nobody.action) == (None, False, "refuse")
    assert nobody.trial == "aelif_mask:0.3/seed=0", "the best of all is registered as what was refused"
    assert len(nobody.reasons) == 3
    only_variant = {"baseline": {**variants["baseline"], **broken}, "aelif_mask": entry(0.44, 0.6, gain=0.25)}
    assert judge(summary_of(only_variant), config).champion == "aelif_mask", "the baseline need not pass for it"


def test_a_group_stands_for_its_measured_families_alone():
    tuning = GateConfig(families=(FamilyLimit(family="tuning", max_distance=0.1),))
    assert "the family tuning, which was not measured" in judge(summary_of(), tuning).reasons[1]
    measured = summary_of({"baseline": entry(0.5, 0.8, families={"swap": {"distance": figure(0.1)},
                                                                 "ocr": {"distance": figure(0.9)}})})  # fmt: skip
    assert judge(measured, tuning).passed


def test_a_limit_on_the_edge_is_kept():
    edge = summary_of(aelif_mask=entry(0.5, 0.6, gain=0.25))
    assert judge(edge, GateConfig(max_clean_distance=0.5, max_clean_loss=0.0)).champion == "aelif_mask"


def test_figures_that_are_not_numbers_never_pass():
    nan = summary_of(aelif_mask={**entry(0.5, 0.6, gain=0.25), "clip_t": figure(math.nan)})
    assert judge(nan, CONFIG).champion == "baseline"
    unknown = summary_of(aelif_mask={**entry(0.5, 0.6), "improvement_plain": figure(None)})
    assert "cannot be compared" in judge(unknown, CONFIG).reasons[0]
    nothing = summary_of(aelif_mask={**entry(0.5, 0.6, gain=0.25), "perturbed": figure(math.nan)})
    assert judge(nothing, CONFIG).champion == "baseline"


def test_the_model_is_the_best_of_the_variant_and_of_the_lower_seed():
    summary = summary_of(seeds=(3, 1, 2), aelif_mask=entry(0.5, 0.6, gain=0.25))
    assert judge(summary, CONFIG).trial == "aelif_mask:0.3/seed=1"
    summary["trials"]["aelif_mask:0.3/seed=3"]["perturbed"] = 0.59
    assert judge(summary, CONFIG).trial == "aelif_mask:0.3/seed=3"
    summary["trials"]["baseline/seed=1"]["perturbed"] = 0.1
    assert judge(summary, CONFIG).trial == "aelif_mask:0.3/seed=3", "it is no model of the variant chosen"
    summary["trials"]["aelif_mask:0.3/seed=3"]["perturbed"] = None
    assert judge(summary, CONFIG).trial == "aelif_mask:0.3/seed=1"


def test_a_model_that_breaks_a_limit_by_itself_is_not_taken():
    summary, config = summary_of(seeds=(0, 1), aelif_mask=entry(0.5, 0.6, gain=0.25)), GateConfig(max_clean_distance=1)
    summary["trials"]["aelif_mask:0.3/seed=0"] |= {"clean": 1.1, "perturbed": 0.3}
    assert judge(summary, config).trial == "aelif_mask:0.3/seed=1"
    summary["trials"]["aelif_mask:0.3/seed=1"]["diversity"] = 0.0
    verdict = judge(summary, GateConfig(min_diversity=0.1))
    assert verdict.trial == "baseline/seed=0"
    assert "none of its models does by itself" in verdict.reasons[2]


def test_variants_with_the_same_augmentation_are_told_apart():
    variants = {"aelif_mask:0.3": entry(0.5, 0.7, gain=0.125), "aelif_mask:0.5": entry(0.5, 0.6, gain=0.25)}
    assert judge(summary_of(variants), CONFIG).trial == "aelif_mask:0.5/seed=0"


def test_the_baseline_alone():
    assert judge(summary_of(), CONFIG) == Verdict(
        champion="baseline", passed=True, trial="baseline/seed=0", action="promote", against=None,
        reasons=("Only the baseline was measured. The baseline keeps every limit, so it is chosen.", FIRST),
    )  # fmt: skip
    refused = judge(summary_of(), GateConfig(max_clean_distance=0.1))
    assert refused.reasons[0] == (
        "Only the baseline was measured. The baseline does not keep every limit, so no model is."
    )


def test_component_writes_json(tmp_path: Path):
    summary, verdict = (SimpleNamespace(path=str(tmp_path / name)) for name in ("summary", "verdict"))
    write_json(summary.path, summary_of(aelif_mask=entry(0.5, 0.6, gain=0.25)))
    judge_variants.python_func(summary, to_dict(CONFIG), verdict, "1")
    written = read_json(verdict.path)
    assert list(written) == ["champion", "passed", "reasons", "trial", "action", "against"]
    assert (written["champion"], written["passed"], len(written["reasons"])) == ("aelif_mask", True, 2)
