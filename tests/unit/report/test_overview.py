import copy
import math
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.example import Example
from tests.unit.report.test_page import Page

from aelif.report.overview import mean_improvements, overview_rows, render_overview, write_overview


def part(gain: float | None, half_width: float = 0.1, clean: float = 0.8) -> dict[str, Any]:
    ends = (None, None) if gain is None else (gain - half_width, gain + 2 * half_width)
    return {"variants": {
        "baseline": {"clean": {"value": 0.8}, "perturbed": {"value": 1.0}},
        "aelif_mask": {"clean": {"value": clean}, "perturbed": {"value": 0.9},
                       "improvement_plain": {"value": gain, "low": ends[0], "high": ends[1]}},
    }}  # fmt: skip


def test_means_weigh_parts_the_same_and_add_half_widths_in_quadrature() -> None:
    mean = mean_improvements({"a": part(0.2, 0.03), "b": part(0.4, 0.04)})["aelif_mask"]
    assert mean["value"] == pytest.approx(0.3)
    assert mean["low"] == pytest.approx(0.3 - math.hypot(0.03, 0.04) / 2)
    assert mean["high"] == pytest.approx(0.3 + math.hypot(0.06, 0.08) / 2)
    alone = mean_improvements({"a": part(0.2, 0.03)})["aelif_mask"]
    assert alone == pytest.approx({"value": 0.2, "low": 0.17, "high": 0.26})


@pytest.mark.parametrize("other", [part(None), {"variants": {"baseline": {}}}])
def test_a_mean_needs_every_part(other: dict[str, Any]) -> None:
    mean = mean_improvements({"a": part(0.2), "b": other})["aelif_mask"]
    assert mean == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        (0.9, "more than the paper’s figure"),
        (0.6, "compatible with the paper’s figure"),
        (0.2, "direction of the claim is confirmed, its size is not"),
        (0.05, "cannot be told from none"),
        (-0.4, "not confirmed: the variant is worse"),
    ],
)
def test_the_claim_stands_beside_what_was_measured(gain: float, words: str) -> None:
    text = Page(render_overview({"a": part(gain, clean=0.84), "b": part(gain, clean=0.84)}, {"a": "a", "b": "b"})).text
    assert words in text
    assert "about 65\u202f% smaller" in text
    assert "changes by +5.0\u202f%" in text
    assert ("further from the photos" in text) == (gain < 0)
    assert ("no gain can be told from chance" in text) == (gain == 0.05)


def test_rows_hold_every_part_and_variant(example: Example) -> None:
    rows = overview_rows({"sdxl": example.summary, "sd3": example.summary})
    assert [(row.part, row.variant) for row in rows] == [
        (name, variant) for name in ("sdxl", "sd3") for variant in example.summary["variants"]
    ]
    assert rows[1].improvement_plain.value == example.summary["variants"]["aelif_mask"]["improvement_plain"]["value"]
    assert rows[0].significance is None
    assert rows[1].significance


def test_the_page_links_each_report_and_is_the_same_each_time(example: Example, tmp_path: Path) -> None:
    parts = {"sdxl": example.folder, "sd3": example.folder}
    for name in ("one.html", "two.html"):
        write_overview(tmp_path / name, parts)
    html = (tmp_path / "one.html").read_text()
    assert html == (tmp_path / "two.html").read_text()
    links = [attributes["href"] for tag, attributes in Page(html).elements if tag == "a"][1:]
    for link in links:
        assert (tmp_path / str(link)).resolve() == (example.folder / "report.html").resolve()
        assert not str(link).startswith("/")
    assert len(links) == 2
    assert "<script" not in html


def test_one_part_has_no_row_of_means(example: Example) -> None:
    assert "Mean of the parts" not in render_overview({"sdxl": example.summary}, {"sdxl": "sdxl/report.html"})


def test_hostile_names_stay_text(example: Example) -> None:
    attack = "<script>alert(1)</script>"
    summary = copy.deepcopy(example.summary)
    summary["variants"][attack] = summary["variants"].pop("aelif_mask")
    summary["notes"] = [attack]
    html = render_overview({attack: summary}, {attack: "x"})
    assert "<script" not in html


def test_a_part_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sdxl has no .*summary\.json; run this part first"):
        write_overview(tmp_path / "report.html", {"sdxl": tmp_path})
    with pytest.raises(ValueError, match="at least one run"):
        write_overview(tmp_path / "report.html", {})
