from statistics import mean

import pytest
from tests.unit.report.example import Example

from aelif.report.tables import (
    RESULTS,
    damage,
    family_names,
    family_rows,
    figure_rows,
    prompt_distances,
    set_tables,
    significance_cells,
)
from aelif.report.wording import distance, share


def test_the_best_of_each_column_is_marked(example: Example) -> None:
    rows = {row.name: row for row in figure_rows(example.summary["variants"], RESULTS, "aelif_mask")}
    variants = example.summary["variants"]
    assert [name for name, row in rows.items() if row.is_chosen] == ["aelif_mask"]
    for column, name in enumerate(("clean", "perturbed")):
        best = min(variants, key=lambda key, name=name: variants[key][name]["value"])
        assert [key for key, row in rows.items() if row.cells[column].best] == [best]


def test_nothing_is_best_of_one() -> None:
    rows = figure_rows({"baseline": {"clean": {"value": 0.8, "low": 0.7, "high": 0.9}}}, RESULTS, "baseline")
    assert not any(cell.best for cell in rows[0].cells)
    assert [cell.text for cell in rows[0].cells] == ["0.800", "–", "–", "–", "–"]


def test_damage_falls_back_to_the_difference() -> None:
    assert damage({"clean": 0.8, "perturbed": 1.0}).value == pytest.approx(0.2)
    assert damage({"clean": 0.8, "perturbed": 1.0, "excess_damage": 0.3}).value == 0.3
    assert damage({"clean": None, "perturbed": 1.0}).value is None


def test_families_are_ordered_by_what_they_do_to_the_baseline(example: Example) -> None:
    figures = example.summary["variants"]["baseline"]["families"]
    hurt = [figures[name]["distance"]["value"] for name in family_names(example.summary)]
    assert hurt == sorted(hurt, reverse=True)
    assert len(hurt) == len(figures)


def test_prompt_distances_are_means_over_seeds(example: Example) -> None:
    rows = [row["value"] for row in example.scores
            if row["variant"] == "aelif_mask:0.3" and row["prompt_id"] == 4 and row["metric"] == "w1"]  # fmt: skip
    assert len(rows) == 2
    assert prompt_distances(example.scores, example.summary)["aelif_mask"][4] == pytest.approx(mean(rows))


def test_prompt_distances_leave_out_what_was_not_measured(example: Example) -> None:
    scores = [{**row, "value": float("nan")} if row["prompt_id"] == 3 else row for row in example.scores]
    by_prompt = prompt_distances(scores, example.summary)["baseline"]
    assert 3 not in by_prompt
    assert distance(by_prompt.get(3)) == "–"


def test_p_values_are_of_tested_variants_alone(example: Example) -> None:
    cells = significance_cells(example.summary)
    assert list(cells) == ["aelif_mask", "aelif_noise_conv"]
    assert (cells["aelif_mask"].text, cells["aelif_mask"].ends) == ("0.012", "alone 0.0061")


def test_prompt_sets_come_with_the_held_out_errors_first(example: Example) -> None:
    tables = set_tables(example.summary)
    assert [table.name for table in tables] == ["held_out", "tuning", "out_of_distribution", "class"]
    variants = example.summary["variants"]
    for table in tables:
        for row in table.rows:
            assert row.cells[0].text == distance(variants[row.name]["sets"][table.name]["distance"]["value"])
    best = min(variants, key=lambda name: variants[name]["sets"]["held_out"]["distance"]["value"])
    assert [row.name for row in tables[0].rows if row.cells[0].best] == [best]
    assert not any(cell.best for row in tables[3].rows for cell in row.cells), "near the photos is no merit here"
    assert set_tables({"variants": {"baseline": {}}}) == []


def test_families_say_their_kind_and_what_they_really_did(example: Example) -> None:
    rows = {family: (kind, severities) for family, kind, severities, _ in family_rows(example.summary, ["baseline"])}
    assert {family: kind for family, (kind, _) in rows.items()} == {
        family: "held out" if family in ("paper", "ocr") else "context" if family == "context" else "tuning"
        for family in rows
    }
    figures = example.summary["variants"]["baseline"]["families"]["swap"]
    assert rows["swap"][1] == (share(figures["error_rate"]), "1.0", "0.900", "2")
