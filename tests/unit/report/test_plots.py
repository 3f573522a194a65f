import copy
import re
from xml.etree import ElementTree

import pytest
from tests.unit.report.example import Example

from aelif.report.claim import mean_improvements
from aelif.report.curves import plot_error_curve, plot_split, plot_stress
from aelif.report.drawing import NARROW, WIDE, Size
from aelif.report.overview import plot_overview
from aelif.report.plots import plot_distances, plot_families
from aelif.report.tradeoff import plot_tradeoff
from aelif.report.wording import distance, percent


def drawings(example: Example, size: Size) -> list[str]:
    shown = list(example.summary["variants"])
    return [
        plot_distances(example.summary, size),
        plot_families(example.summary, shown, size),
        plot_error_curve(example.summary, example.scores, example.prompts, shown, size),
        plot_stress(example.summary, shown, size),
        plot_split(example.summary, size),
        plot_tradeoff(example.summary, size),
        plot_overview({"one": example.summary, "two": example.summary}, size),
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
    assert plot_families(summary, ["baseline"], NARROW)
    assert plot_error_curve(summary, [], [], ["baseline"], WIDE)


def test_alternatives_say_the_key_numbers(example: Example) -> None:
    said = [ElementTree.fromstring(svg).attrib["aria-label"] for svg in drawings(example, WIDE)]
    mask = example.summary["variants"]["aelif_mask"]
    figures = [
        [distance(mask[name]["value"]) for name in ("clean", "perturbed")],
        [distance(mask["families"][family]["distance"]["value"]) for family in mask["families"]],
        [distance(point["distance"]["value"]) for point in mask["curve"]],
        [distance(points[-1]["distance"]["value"]) for points in mask["stress"].values()],
        [distance(mask["split"][f"{part}_damage"]["value"]) for part in ("string", "denoiser", "text_encoder")],
        [distance(mask[name]["value"]) for name in ("clean", "perturbed")],
        [percent(mean_improvements({"one": example.summary})["aelif_mask"]["value"])],
    ]
    for text, numbers in zip(said, figures, strict=True):
        assert all(number in text for number in numbers), text


def test_parts_of_unlike_sign_grow_apart_from_zero(example: Example) -> None:
    summary = copy.deepcopy(example.summary)
    for entry in summary["variants"].values():
        entry["split"]["text_encoder_damage"] = {"value": -0.05, "low": None, "high": None}
    assert "text encoder −0.050" in plot_split(summary, WIDE)
