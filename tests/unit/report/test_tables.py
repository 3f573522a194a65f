from statistics import mean

import pytest
from tests.unit.report.example import Example

from aelif.report.tables import QUALITIES, damage, family_names, flatten, prompt_distances, result_rows
from aelif.report.wording import distance


def test_the_best_of_each_column_is_marked(example: Example) -> None:
    rows = {row.name: row for row in result_rows(example.summary, "aelif_mask")}
    variants = example.summary["variants"]
    assert [name for name, row in rows.items() if row.is_champion] == ["aelif_mask"]
    for column, name in enumerate(("clean", "perturbed")):
        best = min(variants, key=lambda key, name=name: variants[key][name]["value"])
        assert [key for key, row in rows.items() if row.cells[column].best] == [best]
    qualities = result_rows(example.summary, None, QUALITIES)
    highest = max(variants, key=lambda key: variants[key]["clip_t"]["value"])
    assert [row.name for row in qualities if row.cells[1].best] == [highest]


def test_nothing_is_best_of_one() -> None:
    rows = result_rows({"variants": {"baseline": {"clean": {"value": 0.8, "low": 0.7, "high": 0.9}}}}, "baseline")
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


def test_flatten_writes_settings_as_a_person_does() -> None:
    nested = {"train": {"steps": 300.0, "rate": 5e-4, "prior": True, "gamma": None}, "seeds": [0.0, 1.0],
              "files": [{"name": "a"}, {"name": "b"}]}  # fmt: skip
    assert dict(flatten(nested)) == {
        "train.steps": "300", "train.rate": "0.0005", "train.prior": "yes", "train.gamma": "none", "seeds": "0, 1",
        "files[0].name": "a", "files[1].name": "b",
    }  # fmt: skip
