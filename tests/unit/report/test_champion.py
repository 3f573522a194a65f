from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from tests.unit.report.example import Example, make_example
from tests.unit.report.test_page import Page, render

from aelif.config import CHAMPION, FamilyLimit, GateConfig
from aelif.report.champion import champion_distances, champion_leakage, champion_sentences, champion_series, read_duel
from aelif.report.drawing import WIDE
from aelif.report.grids import build_grids
from aelif.report.pictures import read_pictures
from aelif.report.plots import plot_duel
from aelif.report.series import read_series
from aelif.report.wording import percent


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A run whose model is better than the champion."""
    return make_example(tmp_path_factory.mktemp("rival"), champion=(0.86, 1.4), gate=GateConfig(max_clean_loss=0.2))


def text_of(example: Example, **changes: Any) -> str:
    """What the page says, without its images."""
    verdict = {**example.verdict, **changes}
    return Page(render(example, verdict=verdict, images={}, photos=[], worst=[], worst_images=None)).text


def test_without_champion_there_is_no_section(example: Example) -> None:
    first = {**example.summary, "champion": None, "duels": {}}
    for summary in (example.summary, first):
        assert read_duel(summary, example.verdict) is None
        assert champion_sentences(summary, example.verdict) is None
    assert "champion" not in text_of(example).lower()


def test_the_table_has_the_figures_of_both(rival: Example) -> None:
    duel = read_duel(rival.summary, rival.verdict)
    assert duel is not None
    held, own = rival.summary["champion"], rival.summary["duels"][rival.verdict["trial"]]
    perturbed, clean, alignment, diversity, *families = duel.rows
    assert (perturbed.champion.text, perturbed.model.text) == (
        f"{held['perturbed']['value']:.3f}",
        f"{own['perturbed']['value']:.3f}",
    )
    assert perturbed.gain.value == own["improvement"]["value"]
    assert clean.gain.value == -own["clean_loss"]["value"]
    assert (clean.gain.low, clean.gain.high) == (-own["clean_loss"]["high"], -own["clean_loss"]["low"])
    assert alignment.change.text == diversity.change.text == "–"
    assert {row.title for row in families} == set(own["families"])
    assert duel.model.name.startswith("aelif_mask (seed ")
    assert duel.model.style == read_series(rival.summary)["aelif_mask"].style


def test_the_plot_says_its_numbers(rival: Example) -> None:
    duel = read_duel(rival.summary, rival.verdict)
    assert duel is not None
    svg = plot_duel(duel, WIDE)
    assert percent(duel.rows[0].gain.value) in svg.partition(">")[0]
    assert "Prompt alignment" not in svg, "what is no distance has no improvement"


def test_the_champion_paints_in_the_last_column(rival: Example) -> None:
    images = {trial: read_pictures(folder) for trial, folder in zip(rival.trials, rival.image_folders, strict=True)}
    asked = [row for row in rival.prompts if row["prompt_set"] not in ("skipped", "stress")]
    grids = build_grids(
        prompts=asked, scores=rival.scores, summary=rival.summary, images=images, best="aelif_mask",
        shown=list(rival.summary["variants"]), champion=read_pictures(rival.champion_folder),
    )  # fmt: skip
    distances = champion_distances(rival.scores)
    for grid in grids:
        for row in grid.rows:
            last = row.strips[-1]
            assert last.variant == CHAMPION
            assert last.uris
            value = champion_leakage(rival.scores) if grid.kind == "class" else distances[row.prompt["prompt_id"]]
            assert last.figure == f"{value:.3f}"
    assert any(grid.kind == "class" for grid in grids)


def test_the_champion_has_a_colour_that_no_variant_has(rival: Example) -> None:
    one = champion_series(rival.summary)
    assert one.name == "champion, version 3"
    assert one.style not in {series.style for series in read_series(rival.summary).values()}


def test_promotion_refusal_waiting_and_failure_are_told_apart(rival: Example) -> None:
    summary, verdict = rival.summary, rival.verdict
    assert verdict["action"] == "promote"
    name, held = read_duel(summary, verdict).model.name, "champion, version 3"  # type: ignore[union-attr]
    gain = percent(summary["duels"][verdict["trial"]]["improvement"]["value"], signed=False)

    def headline(figures: dict[str, Any] = summary, **changes: Any) -> str:
        sentences = champion_sentences(figures, {**verdict, **changes})
        assert sentences is not None
        return sentences[0]

    size = f"with errors in the prompt its images are {gain} closer to the photos."
    assert headline() == f"{name} takes the place of the {held}: {size}"
    waiting = headline(action="challenge")
    assert waiting == f"{name} may take the place of the {held}, once a person approves: {size}"
    refused = {"action": "refuse", "passed": False}
    assert headline(**refused) == f"The {held}, stays: {name} resists errors better, but breaks a limit."
    assert headline(**refused, champion=None) == f"No model of this run keeps the limits, so the {held}, stays."
    uncertain = copy.deepcopy(summary)
    uncertain["duels"][verdict["trial"]]["improvement"]["low"] = -0.01
    assert headline(uncertain, **refused) == f"The {held}, stays: {name} does not resist errors measurably better."


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "Gate passed"),
        ({"action": "challenge"}, "Waits for approval"),
        ({"action": "refuse", "passed": False}, "Gate not passed"),
    ],
)
def test_the_page_says_what_became_of_it(rival: Example, changes: dict[str, Any], state: str) -> None:
    text = text_of(rival, **changes)
    assert state in text
    assert "Against the champion (version 3)" in text
    for reason in rival.verdict["reasons"]:
        assert reason in text


def test_a_first_run_that_waits_says_so(example: Example) -> None:
    text = text_of(example, action="challenge")
    assert "Waits for approval" in text
    assert "It waits for a person’s approval." in text


def test_a_limit_on_a_family_is_explained_on_the_page(tmp_path: Path) -> None:
    gate = GateConfig(max_clean_loss=0.2, families=(FamilyLimit(family="spacing", max_loss=0.01),))
    refused = make_example(tmp_path, champion=(0.86, 1.4), gate=gate, seeds=(0,))
    text = text_of(refused)
    assert "of the limit on spacing" in text
    assert "stays: aelif_mask (seed 0) resists errors better, but breaks a limit." in text
