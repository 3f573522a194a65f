"""The study's numbers, on tables whose answers are known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "study"))

import measures

from aelif.config import BASELINE, Variant
from aelif_pipelines.study_plan import CHOSEN, GRID

CLEAN, DAMAGE = 0.8, 0.2
SUBJECTS = {"ocr": "sk {}", "homoglyph": "sks {}x"}
"""Family → what it makes of the subject, where not all is left."""
RESULTS = Path(measures.__file__).parent / "results"


def rows_of(
    gains: dict[str, float], *, clean: dict[str, float] | None = None, noise: float = 0.0
) -> list[dict[str, Any]]:
    """Return scores in which each variant undoes a share of the errors' damage."""
    generator, rows = np.random.default_rng(0), []
    for variant, gain in gains.items():
        for part in ("dog", "car"):
            for seed in range(5):
                for clean_id in range(4):
                    level = CLEAN + 0.05 * clean_id
                    for family, value in (
                        ("clean", 0.0),
                        ("paper", 1 - gain),
                        ("ocr", 1 - gain),
                        ("homoglyph", 1 - gain),
                        ("synonym", 1.0),
                    ):
                        distance = level * (clean or {}).get(variant, 1.0) + DAMAGE * value
                        rows.append({
                            "variant": variant, "part": part, "seed": seed, "clean_id": clean_id, "metric": "w1",
                            "prompt_set": "clean" if family == "clean" else "perturbed", "family": family,
                            "prompt": f"a photo of {SUBJECTS.get(family, 'sks {}').format(part)}",
                            "value": distance + noise * generator.standard_normal(),
                        })  # fmt: skip
    return rows


def test_known_gains_are_found_with_intervals_around_them():
    described = measures.describe(measures.measure(rows_of({BASELINE: 0, "typo_shift:0.8": 0.65}, noise=0.01)))
    ours = described["typo_shift:0.8"]
    assert ours["excess"]["value"] == pytest.approx(0.65, abs=0.05)
    assert ours["excess"]["low"] < 0.65 < ours["excess"]["high"]
    mean = CLEAN + 0.075 + DAMAGE
    assert ours["plain"]["value"] == pytest.approx(0.65 * DAMAGE / mean, abs=0.01)
    assert ours["plain"]["low"] > 0
    assert ours["p"] <= 2 / 2**10
    assert ours["clean_ratio"]["value"] == pytest.approx(1, abs=0.01)
    assert described[BASELINE]["damage"]["value"] == pytest.approx(DAMAGE, abs=0.01)
    assert described[BASELINE]["p"] is None


def test_rewordings_are_no_errors():
    measured = measures.measure(rows_of({BASELINE: 0, "a": 0.5}))
    assert measures.describe(measured, on="rewordings")["a"]["plain"]["value"] == pytest.approx(0)
    assert measures.describe(measured)["a"]["plain"]["value"] > 0


def test_a_prompt_that_some_cell_lacks_is_left_out_for_all():
    lacking = {"part": "dog", "clean_id": 3}
    rows = [row for row in rows_of({BASELINE: 0, "a": 0.5})
            if row["family"] in ("clean", "synonym") or not lacking.items() <= row.items()]  # fmt: skip
    described = measures.describe(measures.measure(rows))
    assert described[BASELINE]["perturbed"]["value"] == pytest.approx(CLEAN + 0.05 + DAMAGE)


def test_duels_are_paired_and_signed():
    duels = measures.duels(measures.measure(rows_of({BASELINE: 0, "a": 0.3, "b": 0.6})), "b")
    assert set(duels) == {BASELINE, "a"}
    assert duels["a"]["difference"]["value"] == pytest.approx(-0.3 * DAMAGE)
    assert duels["a"]["difference"]["high"] < 0


def test_the_rule_takes_the_best_setting_that_keeps_clean_fidelity():
    gains = {
        BASELINE: 0,
        "aelif_mask:0.1": 0.1,
        "aelif_mask:0.3": 0.2,
        "aelif_mask:0.5": 0.9,
        "cep:1": 0.1,
        "cep:4": 0.4,
    }
    clean = {"aelif_mask:0.5": 1.06, "cep:1": 1.1, "cep:4": 1.2}
    table = measures.measure(rows_of(gains, clean=clean))
    assert measures.choose([table, table]) == {"aelif_mask": "aelif_mask:0.3", "cep": "cep:1"}


def described_by(gains: dict[str, float], **settings) -> dict[str, dict]:
    return {model: measures.describe(measures.measure(rows_of(gains, **settings))) for model in ("sdxl", "sd3")}


def test_a_variant_helps_only_at_equal_clean_fidelity_and_if_both_scorers_say_so():
    better = described_by({BASELINE: 0, "a": 0.5})
    worse = described_by({BASELINE: 0, "a": -0.5})
    unclean = described_by({BASELINE: 0, "a": 0.9}, clean={"a": 1.06})
    assert measures.helps("a", better, better)
    assert not measures.helps("a", better, worse), "the second scorer sees the opposite"
    assert not measures.helps("a", worse, better)
    assert not measures.helps("a", unclean, better)
    assert not measures.helps("a", {**better, "sd3": worse["sd3"]}, better), "one family of models is not enough"


def test_the_winner_beats_what_it_is_clearly_ahead_of():
    gains = {BASELINE: 0, "a": 0.3, "b": 0.6, "c": 0.6}
    described = described_by(gains)
    duels = {model: measures.duels(measures.measure(rows_of(gains)), "b") for model in ("sdxl", "sd3")}
    verdicts = {
        loser: measures.beats("b", loser, described=described, first=duels, second=duels)
        for loser in (BASELINE, "a", "c")
    }
    assert verdicts == {BASELINE: True, "a": True, "c": False}
    lost = {model: measures.duels(measures.measure(rows_of(gains)), "a") for model in ("sdxl", "sd3")}
    assert not measures.beats("a", "b", described=described, first=lost, second=lost)
    unclean = described_by(gains, clean={"b": 1.2})
    assert not measures.beats("b", "a", described=unclean, first=duels, second=duels)


def test_errors_are_parted_by_which_of_the_subjects_words_is_hit():
    values = measures.measure(rows_of({BASELINE: 0, "a": 0.5})).values
    for name, family in zip(measures.BY_WORD, ("paper", "ocr", "homoglyph"), strict=True):
        np.testing.assert_allclose(values[name], values[family])
        assert np.isfinite(values[name]).all()


def test_the_second_stage_judges_what_the_rule_chose_from_the_first():
    import pyarrow.parquet as pq

    rows = pq.read_table(RESULTS / "tuning.parquet").to_pylist()
    tables = [
        measures.measure([row for row in rows
                          if (row["model"], row["part"], row["scorer"]) == (model, "tuning", "clip")])
        for model in ("sdxl", "sd3")
    ]  # fmt: skip
    assert set(measures.choose(tables).values()) == {str(Variant.parse(text)) for text in CHOSEN}
    assert set(tables[0].variants) == {BASELINE, *(str(Variant.parse(text)) for text in GRID)}


def test_a_reading_is_set_against_what_differs_in_it_alone():
    import readings

    gains = {BASELINE: 0, "aelif_mask:0.1": 0.2, "aelif_mask:0.1@class_prompts=false": 0.5, "cep:1": 0.9}
    measured = measures.measure(rows_of(gains, clean={"aelif_mask:0.1@class_prompts=false": 1.1}))
    (found,) = readings.compare_readings(measured)
    assert (found["change"], found["against"]) == ("one half of the batch", "aelif_mask:0.1")
    clean = 0.1 * (CLEAN + 0.075)
    assert found["clean"]["difference"]["value"] == pytest.approx(clean)
    assert found["errors"]["difference"]["value"] == pytest.approx(clean - 0.3 * DAMAGE)
    assert found["errors"]["p"] < 0.05


def test_every_reading_is_run_and_differs_from_its_counterpart_by_one_change():
    import readings

    from aelif_pipelines.study_plan import READINGS

    run = {str(Variant.parse(name)) for name in (*GRID, *READINGS)}
    pairs = [tuple(Variant.parse(name) for name in pair) for pairs in readings.CHANGES.values() for pair in pairs]
    assert {str(variant) for pair in pairs for variant in pair} <= run
    for reading, plain in pairs:
        (own,), (other,) = reading.terms, plain.terms
        assert (own.augmentation, own.magnitude) == (other.augmentation, other.magnitude)
        assert set(own.options) > set(other.options)


def test_one_seed_and_prompt_are_described_without_intervals(tmp_path: Path):
    """As `--smoke` leaves them."""
    import analyse
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    import readings

    rows = pq.read_table(RESULTS / "tuning.parquet")
    few = rows.filter((pc.field("seed") == 0) & (pc.field("clean_id") == 0))
    pq.write_table(few, tmp_path / "tuning.parquet")
    analyse.main(tmp_path, tmp_path)
    text = (tmp_path / "tables.md").read_text()
    _, found = text.split("### What a reading of AELIF changes, miniature SDXL\n\n")
    assert len(found.split("\n\n")[0].splitlines()) == 2 + sum(map(len, readings.CHANGES.values()))
    assert (tmp_path / "tuning.png").is_file()
