import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelif.report.wording import (
    Interval,
    best_variant,
    clean_price,
    distance,
    distance_range,
    percent,
    percent_range,
    read_interval,
    summary_key,
    verdict_sentences,
)


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


@pytest.mark.parametrize(
    ("value", "text"), [(0.85149, "0.851"), (1.0, "1.000"), (-0.02, "−0.020"), (None, "–"), (0.0, "0.000")]
)
def test_distances_have_three_decimals(value: float | None, text: str) -> None:
    assert distance(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1236, "+12.4\u202f%"), (-0.031, "−3.1\u202f%"), (0.0, "0.0\u202f%"), (-0.0001, "0.0\u202f%"), (None, "–")],
)
def test_shares_are_signed_percentages(value: float | None, text: str) -> None:
    assert percent(value) == text


@given(st.floats(-10, 10))
def test_percent_reads_back_as_the_value_rounded(value: float) -> None:
    read = float(percent(value).removesuffix("\u202f%").replace("−", "-"))
    assert read == pytest.approx(100 * value, abs=0.0501)


def test_intervals_use_an_en_dash_and_vanish_where_undefined() -> None:
    whole = Interval(value=0.5, low=0.4, high=0.6)
    assert distance_range(whole) == "0.400 – 0.600"
    assert percent_range(whole) == "+40.0\u202f% – +60.0\u202f%"
    assert distance_range(Interval(value=0.5, low=None, high=0.6)) == percent_range(read_interval(None)) == ""


def test_read_interval_takes_numbers_and_treats_nan_as_undefined() -> None:
    assert read_interval(3) == Interval(value=3.0, low=None, high=None)
    assert read_interval(interval(math.nan, -math.inf, 1)) == Interval(value=None, low=None, high=1.0)


def test_summary_key_finds_a_variant_with_and_without_its_magnitude() -> None:
    summary = {"variants": {"baseline": {}, "aelif_mask": {}, "aelif_noise_conv:0.1": {}}}
    assert summary_key("aelif_mask:0.3", summary) == "aelif_mask"
    assert summary_key("aelif_noise_conv:0.1", summary) == "aelif_noise_conv:0.1"
    assert summary_key("aelif_noise_conv:0.5", summary) is None
    assert summary_key(None, summary) is None


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
    assert headline == "aelif_mask is the champion."
    assert "–" in lead
