from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gate.example import against_champion, entry, figure, summary_of

from aelif.config import FamilyLimit, GateConfig
from aelif.gate.verdict import judge

MASK = "aelif_mask:0.3/seed=0"
CONFIG = GateConfig()


def rival(perturbed: float = 0.6, clean: float = 0.5, **champion: Any) -> dict[str, Any]:
    """A run in which aelif_mask is chosen, beside a champion at 0.5 clean and 0.8 perturbed."""
    return against_champion(summary_of(aelif_mask=entry(clean, perturbed, gain=0.25)), **champion)


def test_a_model_beyond_chance_better_replaces_the_champion():
    verdict = judge(rival(), CONFIG)
    assert (verdict.action, verdict.passed, verdict.trial, verdict.against) == ("promote", True, MASK, "3")
    assert verdict.reasons == (
        "aelif_mask:0.3/seed=0 is better than the champion, version 3, on perturbed prompts: 0.600 against 0.800, "
        "+25.0 %, interval +20.0 to +30.0 %; the lower end is above min_improvement = 0 %.",
        "aelif_mask is better than the baseline on perturbed prompts: "
        "0.600 against 0.800 (+25.0 %, interval +20.0 to +30.0 %).",
    )


def test_a_model_that_may_be_no_better_is_refused():
    verdict = judge(rival(0.78), CONFIG)
    assert (verdict.action, verdict.passed, verdict.trial, verdict.against) == ("refuse", False, MASK, "3")
    assert verdict.champion == "aelif_mask", "it is still what the run chose"
    assert verdict.reasons[0] == (
        "aelif_mask:0.3/seed=0 is not clearly better than the champion, version 3, on perturbed prompts: 0.780 against "
        "0.800, +2.5 %, interval -2.5 to +7.5 %; the lower end is not above min_improvement = 0 %."
    )


@pytest.mark.parametrize(("margin", "action"), [(-0.03, "promote"), (-0.025, "refuse"), (0.0, "refuse")])
def test_the_sign_of_the_margin_allows_a_little_worse_below_zero(margin: float, action: str):
    summary = rival(0.78)
    summary["duels"][MASK]["improvement"] |= {"low": -0.025}
    verdict = judge(summary, GateConfig(min_improvement=margin))
    assert verdict.action == action
    assert f"min_improvement = {100 * margin:g} %" in verdict.reasons[0]
    if margin == -0.03:
        assert "holds its own against the champion" in verdict.reasons[0]


@pytest.mark.parametrize(("margin", "action"), [(0.19, "promote"), (0.21, "refuse")])
def test_a_margin_above_zero_asks_for_more(margin: float, action: str):
    assert judge(rival(), GateConfig(min_improvement=margin)).action == action


def test_a_loss_on_clean_prompts_refuses():
    assert judge(rival(clean=0.52), CONFIG).action == "promote", "4 % are within 5 %"
    verdict = judge(against_champion(summary_of(aelif_mask=entry(0.52, 0.6, gain=0.25)), clean=0.48), CONFIG)
    assert verdict.action == "refuse"
    assert verdict.reasons[0] == (
        "aelif_mask:0.3/seed=0: on clean prompts it loses 8.3 % to the champion, version 3 (0.520 against 0.480), more "
        "than max_clean_loss = 5 %."
    )


def test_a_loss_on_a_family_refuses_and_a_group_limits_each():
    summary = rival()
    summary["duels"][MASK]["families"]["ocr"] = {"distance": figure(1.0), "loss": figure(0.111)}
    for family in ("ocr", "held_out"):
        limit = FamilyLimit(family=family, max_loss=0.1)
        verdict = judge(summary, GateConfig(families=(limit,)))
        assert verdict.action == "refuse"
        assert verdict.reasons[0] == (
            "aelif_mask:0.3/seed=0: on prompts of family ocr it loses 11.1 % to the champion, version 3 (1.000 against "
            f"0.900), more than max_loss = 10 % of the limit on {family}."
        )
        assert judge(summary, GateConfig(families=(replace(limit, max_loss=0.12),))).action == "promote"
    assert judge(summary, GateConfig(families=(FamilyLimit(family="paper", max_loss=0.0),))).action == "promote"


def test_every_failure_is_told():
    summary = against_champion(summary_of(aelif_mask=entry(0.5, 0.78, gain=0.25)), clean=0.4, perturbed=0.7)
    verdict = judge(summary, GateConfig(families=(FamilyLimit(family="paper", max_loss=0.05),)))
    assert verdict.action == "refuse"
    told = ("not clearly better", "on clean prompts", "of family paper", "than the baseline")
    assert all(words in reason for words, reason in zip(told, verdict.reasons, strict=True))


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_undefined_figures_refuse(nothing: float | None):
    for path in (("improvement", "low"), ("improvement", "value"), ("improvement", "high"), ("clean_loss", "value")):
        summary = rival()
        summary["duels"][MASK][path[0]] |= {path[1]: nothing}
        verdict = judge(summary, CONFIG)
        assert verdict.action == "refuse"
        assert "cannot be compared with the champion" in verdict.reasons[0]
    summary = rival()
    summary["duels"][MASK]["families"]["paper"]["loss"] = {"value": nothing, "low": None, "high": None}
    assert judge(summary, GateConfig(families=(FamilyLimit(family="paper"),))).action == "refuse"


def test_without_interval_more_templates_are_asked_for():
    verdict = judge(rival(spread=None), CONFIG)
    assert verdict.action == "refuse"
    assert "give more prompts.templates" in verdict.reasons[0]


def test_a_person_may_have_the_last_word():
    config = GateConfig(promotion="approval")
    verdict = judge(rival(), config)
    assert (verdict.action, verdict.passed) == ("challenge", True)
    assert "`aelif promote`" in verdict.reasons[1]
    assert judge(rival(0.9), config).action == "refuse"
    first = judge(summary_of(), config)
    assert (first.action, first.passed, first.against) == ("challenge", True, None)
    assert any("`aelif promote`" in reason for reason in first.reasons)


def test_absolute_limits_hold_beside_a_champion():
    verdict = judge(rival(), GateConfig(max_clean_distance=0.1))
    assert (verdict.action, verdict.champion, verdict.against) == ("refuse", None, "3")
    assert verdict.trial == MASK


# ── Properties ─────────────────────────────────────────────────────────────────────────────────

levels, shares = st.floats(0.2, 1.6), st.floats(0.0, 0.5)


@given(levels, levels, levels, st.floats(0.0, 1.0), st.floats(-0.2, 0.3), shares)
def test_a_lower_perturbed_distance_never_turns_promotion_into_refusal(
    perturbed: float, clean: float, held: float, fall: float, margin: float, max_loss: float
):
    limits = (FamilyLimit(family="paper", max_distance=1.2, max_loss=max_loss),)
    config = GateConfig(min_improvement=margin, families=limits, max_clean_loss=0.3, max_clean_distance=1.5)

    def action(own: float) -> str:
        summary = summary_of(aelif_mask=entry(clean, own, gain=(1.7 - own) / 1.7), baseline=entry(clean, 1.7))
        return judge(against_champion(summary, perturbed=held), config).action

    if action(perturbed) == "promote":
        assert action(perturbed * (1 - fall) + 1e-3 * fall) == "promote"


@st.composite
def configs(draw: st.DrawFn) -> tuple[GateConfig, GateConfig]:
    """A configuration, and one whose every limit is as wide or wider."""

    def pair(low: float, high: float) -> list[float]:
        return sorted([draw(st.floats(low, high)), draw(st.floats(low, high))])

    distance, loss, family, family_loss = pair(0.2, 1.6), pair(0, 0.5), pair(0.2, 2.0), pair(0, 0.5)
    alignment, diversity, margin = pair(0, 0.5), pair(0, 0.5), pair(-0.3, 0.3)
    strict, wide = (
        GateConfig(
            max_clean_distance=distance[place], max_clean_loss=loss[place], min_prompt_alignment=alignment[1 - place],
            min_diversity=diversity[1 - place], min_improvement=margin[1 - place],
            families=(FamilyLimit(family="held_out", max_distance=family[place], max_loss=family_loss[place]),),
        )
        for place in (0, 1)
    )  # fmt: skip
    return strict, wide


@given(configs(), st.lists(st.tuples(levels, levels, st.floats(0.0, 0.5)), min_size=1, max_size=3))
def test_wider_limits_never_refuse_what_passed_on_its_own(
    pair: tuple[GateConfig, GateConfig], rivals: list[tuple[float, float, float]]
):
    names = ("aelif_mask", "aelif_noise_conv", "neftune")
    variants = {
        name: entry(clean, perturbed, gain=(1.2 - perturbed) / 1.2, spread=spread)
        for name, (clean, perturbed, spread) in zip(names, rivals, strict=False)
    }
    summary = summary_of({"baseline": entry(0.8, 1.2), **variants})
    strict, wide = (judge(summary, config) for config in pair)
    assert wide.passed or not strict.passed


@given(configs(), levels, levels, levels, levels)
def test_wider_limits_never_refuse_what_passed_against_a_champion(
    pair: tuple[GateConfig, GateConfig], clean: float, perturbed: float, held_clean: float, held_perturbed: float
):
    summary = against_champion(
        summary_of({"baseline": entry(clean, perturbed)}), clean=held_clean, perturbed=held_perturbed
    )
    strict, wide = (judge(summary, config) for config in pair)
    assert wide.passed or not strict.passed


@given(st.sampled_from(["value", "low", "high"]), st.sampled_from([None, math.nan, math.inf]), levels)
def test_no_undefined_improvement_promotes(end: str, nothing: float | None, perturbed: float):
    summary = rival(perturbed)
    summary["duels"][MASK]["improvement"] |= {end: nothing}
    assert judge(summary, GateConfig(min_improvement=-1)).action == "refuse"
