from typing import Any

import pytest
from tests.unit.report.example import Example

from aelif.report.headline import best_shown, clean_price, heading, verdict_sentences
from aelif.report.series import best_variant


def interval(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


def summary_of(gain: float, low: float, clean: float = 0.82) -> dict[str, Any]:
    perturbed = 1 - gain
    return {
        "confidence": 0.95,
        "variants": {
            "baseline": {"clean": interval(0.8), "perturbed": interval(1.0)},
            "aelif_mask": {
                "clean": interval(clean),
                "perturbed": interval(perturbed),
                "improvement_plain": interval(gain, low, gain + 0.05),
            },
        },
    }


def test_clean_price_and_best_variant() -> None:
    summary = summary_of(0.1, 0.05)
    assert clean_price("aelif_mask", summary) == pytest.approx(0.025)
    assert best_variant(summary) == "aelif_mask"
    summary["variants"].pop("aelif_mask")
    assert best_variant(summary) is None


def test_a_champion_is_named_with_its_gain_and_its_price() -> None:
    headline, lead = verdict_sentences(summary_of(0.124, 0.04), {"champion": "aelif_mask:0.3", "passed": True})
    assert headline == (
        "With errors in the prompt, images by aelif_mask are 12.4\u202f% closer to the photos than the baseline’s."
    )
    assert "+12.4\u202f% (95\u202f% interval +4.0\u202f% – +17.4\u202f%), 0.876 against 1.000" in lead
    assert "2.5\u202f% further from the photos, 0.820 against 0.800: that is its price." in lead


def test_no_price_is_claimed_where_the_clean_distance_falls() -> None:
    _, lead = verdict_sentences(summary_of(0.1, 0.04, clean=0.76), {"champion": "aelif_mask", "passed": True})
    assert "5.0\u202f% closer to the photos" in lead
    assert "price" not in lead


@pytest.mark.parametrize(("low", "words"), [(-0.03, "measurably better"), (0.02, "does not pass every limit")])
def test_a_staying_baseline_is_explained(low: float, words: str) -> None:
    headline, lead = verdict_sentences(summary_of(0.05, low), {"champion": "baseline", "passed": True})
    assert words in headline
    assert lead.startswith("The best was aelif_mask.")


def test_a_rejected_run_never_praises_a_champion() -> None:
    for verdict in ({"champion": None, "passed": False}, {"champion": "aelif_mask", "passed": False}):
        assert verdict_sentences(summary_of(0.1, 0.05), verdict)[0].startswith("No model passed the gate")


def test_undefined_figures_give_sentences_without_numbers() -> None:
    summary = summary_of(0.1, 0.05)
    summary["variants"]["aelif_mask"] = {}
    headline, lead = verdict_sentences(summary, {"champion": "aelif_mask", "passed": True})
    assert headline == "aelif_mask is chosen."
    assert "–" in lead


def test_the_row_of_figures_tells_held_out_gain_and_chance(example: Example) -> None:
    facts = heading(example.summary, example.verdict, example.settings, example.prompts)["facts"]
    meanings = [meaning for _, meaning, _ in facts]
    assert meanings[0] == "improvement of aelif_mask on perturbed prompts; p\u202f=\u202f0.012"
    assert "no training saw" in meanings[1]
    assert len(facts) == 4
    older = heading(summary_of(0.1, 0.05), {"champion": "aelif_mask"}, {}, [])["facts"]
    assert older[0][1] == "improvement of aelif_mask on perturbed prompts"
    assert len(older) == 3


def test_a_baseline_that_stays_is_compared_with_the_best() -> None:
    assert best_shown(summary_of(0.1, 0.05), "baseline") == "aelif_mask"
    assert best_shown({"variants": {"baseline": {}}}, "baseline") is None
