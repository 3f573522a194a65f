import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.report.example import Example

from aelif.report.plots import NARROW, WIDE, Size, error_rate_groups, plot_distances, plot_error_rate, plot_families


def drawings(example: Example, size: Size) -> list[str]:
    return [
        plot_distances(example.summary, size),
        plot_families(example.summary, size),
        plot_error_rate(example.summary, example.scores, example.prompts, size),
    ]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=lambda size: size.name)
def test_plots_are_inline_svg_that_the_page_colours(example: Example, size: Size) -> None:
    for svg in drawings(example, size):
        root = ElementTree.fromstring(svg)
        assert root.attrib["role"] == "img"
        assert root.attrib["aria-label"]
        assert not re.search(r"#[0-9a-f]{6}", re.sub(r'href="#\w+"|url\(#\w+\)', "", svg)), "a fixed colour is left"
        assert "http" not in svg
        assert "font-family" not in svg
        assert svg == svg.strip()


def test_two_drawings_share_no_id(example: Example) -> None:
    ids = [
        name for size in (WIDE, NARROW) for svg in drawings(example, size) for name in re.findall(r' id="(\w+)"', svg)
    ]
    assert len(ids) == len(set(ids)) > 0


def test_drawings_are_the_same_each_time(example: Example) -> None:
    assert drawings(example, WIDE) == drawings(example, WIDE)


def test_references_inside_a_drawing_are_met(example: Example) -> None:
    for svg in drawings(example, NARROW):
        wanted = set(re.findall(r'(?:href="#|url\(#)(\w+)', svg))
        assert wanted <= set(re.findall(r' id="(\w+)"', svg))


def test_undefined_figures_leave_gaps_not_errors() -> None:
    nothing = {"value": None, "low": None, "high": None}
    summary = {"variants": {"baseline": {"clean": nothing, "perturbed": nothing}}, "noise_floor": nothing}
    assert "–" in plot_distances(summary, WIDE)
    assert plot_families(summary, NARROW)
    assert plot_error_rate(summary, [], [], WIDE)


def test_groups_are_means_of_bands_with_standard_errors() -> None:
    points = [(0.0, 0.8), (0.0, 0.9), (3.0, 1.0), (4.0, 1.2), (7.0, 1.1), (8.0, 1.3), (30.0, 1.5), (35.0, 1.6)]
    groups = error_rate_groups(points)
    assert [group[0] for group in groups] == pytest.approx([0.0, 3.5, 7.5, 32.5])
    assert [group[2] for group in groups] == pytest.approx([0.85, 1.1, 1.2, 1.55])
    error = np.std([1.0, 1.2], ddof=1) / np.sqrt(2)
    assert groups[1][1] == pytest.approx(1.1 - error)
    assert groups[1][3] == pytest.approx(1.1 + error)


def test_a_lone_prompt_joins_its_neighbours() -> None:
    assert [group[0] for group in error_rate_groups([(0, 0.8), (3, 1.0), (8, 1.2), (30, 1.5)])] == pytest.approx(
        [0, 41 / 3]
    )
    assert [group[0] for group in error_rate_groups([(0, 0.8), (30, 1.5)])] == [0, 30]
    assert error_rate_groups([]) == []


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 2)), max_size=40))
def test_groups_keep_the_order_and_lie_within_the_points(points: list[tuple[float, float]]) -> None:
    groups = error_rate_groups(sorted(points))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    for _, low, mid, high in groups:
        assert low <= mid <= high
        assert min(y for _, y in points) - 1e-9 <= mid <= max(y for _, y in points) + 1e-9
