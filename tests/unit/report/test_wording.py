import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aelif.report.wording import (
    Interval,
    distance,
    distance_range,
    p_value,
    percent,
    percent_range,
    read_interval,
    share,
    share_range,
    significant,
    summary_key,
)


def interval(value: float | None, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


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


def test_summary_key_reads_the_variant_that_an_entry_names() -> None:
    summary = {"variants": {"mask": {"variant": "aelif_mask:0.3"}, "aelif_mask:0.3": {"variant": "aelif_mask:0.1"}}}
    assert summary_key("aelif_mask:0.3", summary) == "mask"
    assert summary_key("aelif_mask:0.1", summary) == "aelif_mask:0.3"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0002, "< 0.001"), (0.00611, "0.0061"), (0.0122, "0.012"), (0.412, "0.41"), (1.0, "1.00"),
                        (None, "–")]
)  # fmt: skip
def test_p_values_have_two_digits(value: float | None, text: str) -> None:
    assert p_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.002134, "0.00213"), (12.41, "12.4"), (-812.4, "−812"), (4213.7, "4214"), (None, "–")]
)
def test_figures_of_any_size_have_three_digits(value: float | None, text: str) -> None:
    assert significant(value) == text


def test_parts_of_a_whole_bear_a_sign_below_zero_alone() -> None:
    assert share(0.124) == "12.4\u202f%"
    assert share(-0.03) == "−3.0\u202f%"
    assert share_range(Interval(value=0.5, low=-0.1, high=0.6)) == "−10.0\u202f% – 60.0\u202f%"
