from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aelif.artifacts import read_json, write_json
from aelif.config import GateConfig, to_dict
from aelif.gate.component import judge_variants
from aelif.gate.verdict import Verdict, judge


def figure(value: float | None, spread: float = 0.02) -> dict[str, float | None]:
    return {"value": value, "low": value and value - spread, "high": value and value + spread}


def entry(clean: float, perturbed: float, *, gain: float | None = None, spread: float = 0.05, **figures: Any) -> dict:
    qualities = {"clip_t": figure(0.3), "diversity": figure(0.4)}
    improvement = {} if gain is None else {"improvement_plain": figure(gain, spread)}
    return {"clean": figure(clean), "perturbed": figure(perturbed), **qualities, **improvement, **figures}


def summary_of(**variants: dict) -> dict[str, Any]:
    return {"variants": {"baseline": entry(0.5, 0.8), **variants}}


CONFIG = GateConfig()


def test_the_best_variant_wins_if_its_whole_interval_is_above_zero():
    verdict = judge(
        summary_of(aelif_mask=entry(0.51, 0.6, gain=0.25), aelif_noise_conv=entry(0.5, 0.7, gain=0.125)), CONFIG
    )
    assert (verdict.champion, verdict.passed) == ("aelif_mask", True)
    assert verdict.reasons == (
        "aelif_mask is better than the baseline on perturbed prompts: "
        "0.600 against 0.800 (+25.0 %, interval +20.0 to +30.0 %).",
    )


@pytest.mark.parametrize("gain", [0.05, 0.04, -0.2])
def test_the_baseline_stays_where_the_gain_may_be_chance(gain: float):
    verdict = judge(summary_of(aelif_mask=entry(0.5, 0.8 * (1 - gain), gain=gain)), CONFIG)
    assert (verdict.champion, verdict.passed) == ("baseline", True)
    assert "aelif_mask is not clearly better" in verdict.reasons[0]
    assert "The baseline keeps every limit, so it is the champion." in verdict.reasons[0]


def test_a_variant_that_costs_too_much_on_clean_prompts_is_passed_over():
    variants = {"aelif_mask": entry(0.53, 0.5, gain=0.375), "aelif_noise_conv": entry(0.52, 0.7, gain=0.125)}
    verdict = judge(summary_of(**variants), CONFIG)
    assert verdict.champion == "aelif_noise_conv"
    assert verdict.reasons[1] == (
        "aelif_mask: on clean prompts it loses 6.0 % to the baseline (0.530 against 0.500), "
        "more than max_clean_loss = 5 %."
    )
    assert judge(summary_of(**variants), GateConfig(max_clean_loss=0.1)).champion == "aelif_mask"


@pytest.mark.parametrize(
    ("limits", "broken", "sentence"),
    [
        (
            {"max_clean_distance": 0.45},
            {"clean": figure(0.5)},
            "clean distance 0.500 is above max_clean_distance = 0.45",
        ),
        ({"min_prompt_alignment": 0.2}, {"clip_t": figure(0.1)}, "alignment 0.100 is below min_prompt_alignment = 0.2"),
        ({"min_diversity": 0.2}, {"diversity": figure(0.1)}, "the diversity 0.100 is below min_diversity = 0.2"),
        ({"min_diversity": 0.2}, {"diversity": figure(None)}, "generate at least 2 images per prompt"),
    ],
)
def test_absolute_limits(limits: dict[str, float], broken: dict, sentence: str):
    variants = {"baseline": entry(0.44, 0.8), "aelif_mask": {**entry(0.44, 0.6, gain=0.25), **broken}}
    config = GateConfig(**{"max_clean_loss": 1.0, **limits})
    verdict = judge({"variants": variants}, config)
    assert verdict.champion == "baseline"
    assert verdict.reasons[0].startswith("No variant other than the baseline keeps every limit.")
    assert sentence in verdict.reasons[1]
    nobody = judge({"variants": {**variants, "baseline": {**variants["baseline"], **broken}}}, config)
    assert (nobody.champion, nobody.passed) == (None, False)
    assert len(nobody.reasons) == 3
    only_variant = {"baseline": {**variants["baseline"], **broken}, "aelif_mask": entry(0.44, 0.6, gain=0.25)}
    assert judge({"variants": only_variant}, config).champion == "aelif_mask", "the baseline need not pass for it"


def test_a_limit_on_the_edge_is_kept():
    edge = summary_of(aelif_mask=entry(0.5, 0.6, gain=0.25))
    assert judge(edge, GateConfig(max_clean_distance=0.5, max_clean_loss=0.0)).champion == "aelif_mask"


def test_figures_that_are_not_numbers_never_pass():
    nan = summary_of(aelif_mask={**entry(0.5, 0.6, gain=0.25), "clip_t": figure(math.nan)})
    assert judge(nan, CONFIG).champion == "baseline"
    unknown = summary_of(aelif_mask={**entry(0.5, 0.6), "improvement_plain": figure(None)})
    assert "cannot be compared" in judge(unknown, CONFIG).reasons[0]


def test_the_baseline_alone():
    assert judge(summary_of(), CONFIG) == Verdict(
        champion="baseline",
        passed=True,
        reasons=("Only the baseline was measured. The baseline keeps every limit, so it is the champion.",),
    )


def test_component_writes_json(tmp_path: Path):
    summary, verdict = (SimpleNamespace(path=str(tmp_path / name)) for name in ("summary", "verdict"))
    write_json(summary.path, summary_of(aelif_mask=entry(0.5, 0.6, gain=0.25)))
    judge_variants.python_func(summary, to_dict(CONFIG), verdict, "1")
    written = read_json(verdict.path)
    assert (written["champion"], written["passed"], len(written["reasons"])) == ("aelif_mask", True, 1)
