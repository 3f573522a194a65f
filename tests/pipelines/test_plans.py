"""Plans and experiment recipes: what they compare, how they run one after another, what is printed."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from aelif.artifacts import read_json, write_json
from aelif.config import (
    AUGMENTATIONS,
    BASELINE,
    FAMILIES,
    HELD_OUT,
    TUNING,
    RunConfig,
    TrackingConfig,
    Variant,
    expand_families,
    from_dict,
    to_dict,
)
from aelif.config.variants import MISSPELLING
from aelif_pipelines import parts as running
from aelif_pipelines.arguments import pipeline_arguments
from aelif_pipelines.local import RunError, Workplace
from aelif_pipelines.outcome import print_outcome
from aelif_pipelines.plans import PLANS
from aelif_pipelines.recipes import RECIPES, recipe, shrink
from aelif_pipelines.settings import load_config, load_runs
from aelif_pipelines.study_plan import ONE_SETTING

EVERY_RUN = {
    **{name: make() for name, make in RECIPES.items()},
    **{f"{name}/{part}": config for name, make in PLANS.items() for part, config in make().items()},
}
EVERY = pytest.mark.parametrize("config", EVERY_RUN.values(), ids=EVERY_RUN)


@EVERY
def test_every_run_survives_its_own_text(config: RunConfig):
    assert from_dict(RunConfig, to_dict(config)) == config


@EVERY
def test_every_run_shrinks_to_seconds_and_meets_the_same_steps(config: RunConfig):
    small = shrink(config)
    assert small.variants == config.variants
    assert small.base_model == config.base_model
    assert len(small.seeds) == len(small.prompts.templates) == 1
    assert small.train.steps * small.synthesis.steps * small.synthesis.images_per_prompt <= 32
    assert set(small.prompts.families) <= set(expand_families(config.prompts.families))
    for group in (TUNING, HELD_OUT):
        assert bool(set(small.prompts.families) & set(group)) == bool(
            set(expand_families(config.prompts.families)) & set(group)
        )
    assert bool(small.attack.budget) == bool(config.attack.budget)
    assert bool(small.prompts.stress.magnitudes) == bool(config.prompts.stress.magnitudes)
    assert shrink(small) == small


@EVERY
def test_no_family_is_trained_on_and_scored(config: RunConfig):
    if any(term.augmentation in MISSPELLING for variant in config.variants for term in variant.terms):
        seen = set(expand_families(config.train.augmentation.string_families))
        assert not seen & set(expand_families(config.prompts.families))


@EVERY
def test_every_run_is_scored_on_held_out_errors(config: RunConfig):
    families = set(expand_families(config.prompts.families))
    assert families <= set(FAMILIES)
    assert families & set(HELD_OUT) or config.gate.model_name.startswith("aelif-study"), "settings are chosen by others"


@pytest.mark.parametrize("name", ["paper", "paper-full"])
def test_a_plan_asks_the_same_of_each_of_its_models(name: str):
    parts = PLANS[name]()
    assert len({config.base_model for config in parts.values()}) == len(parts) == 2
    assert len({config.gate.model_name for config in parts.values()}) == 2
    assert all((config.variants, config.seeds, config.prompts, config.attack) == (
        next(iter(parts.values())).variants, (0, 1, 2), next(iter(parts.values())).prompts,
        next(iter(parts.values())).attack,
    ) for config in parts.values())  # fmt: skip


def test_the_paper_has_both_augmentations_its_own_typos_stress_and_an_attack():
    config = PLANS["paper"]()["miniature-sdxl"]
    assert Counter(variant.augmentation for variant in config.variants) == {
        BASELINE: 1, "aelif_mask": 2, "aelif_noise_conv": 2,
    }  # fmt: skip
    assert {"paper", "misspelling"} <= set(config.prompts.families)
    assert config.prompts.stress.magnitudes
    assert config.attack.budget
    assert len(config.prompts.templates) == 4


def test_the_study_chooses_by_other_errors_subjects_and_seeds_than_it_judges_by():
    chosen, judged = (list(PLANS[name]().values()) for name in ("study-tuning", "study"))
    for tuned, confirmed in product(chosen, judged):
        assert tuned.data.instance_images != confirmed.data.instance_images
        assert not set(tuned.seeds) & set(confirmed.seeds)
        assert set(tuned.prompts.families) <= set(TUNING)
        assert set(confirmed.prompts.families) <= set(HELD_OUT)
    assert all(len(config.seeds) >= 5 for config in judged)
    assert len({(config.variants, config.prompts) for config in judged}) == 1
    assert len({(config.base_model, config.train) for config in judged}) == 2, "trained alike whatever the subject"
    assert {(config.base_model, config.train) for config in judged} <= {
        (config.base_model, config.train) for config in chosen
    }


def test_the_study_judges_every_kind_of_augmentation_by_a_setting_of_its_grid():
    grid = {str(variant) for variant in PLANS["study-tuning"]()["tuning-sdxl"].variants}
    judged = PLANS["study"]()["dog-sdxl"].variants
    assert {str(variant) for variant in judged} <= grid | set(ONE_SETTING)
    assert {variant.augmentation for variant in judged} >= {BASELINE, *AUGMENTATIONS}


def test_the_ablation_has_every_augmentation_and_a_composition():
    variants = recipe("ablation").variants
    assert {variant.augmentation for variant in variants} >= {BASELINE, *AUGMENTATIONS}
    assert any(len(variant.terms) > 1 for variant in variants)


def test_the_sweep_is_a_grid_of_share_and_deviation():
    grid = {(str(term.magnitude), dict(term.options)["noise_std"])
            for variant in recipe("sweep").variants for term in variant.terms if term.options}  # fmt: skip
    assert grid == {(share, std) for share in ("0.1", "0.3", "0.5") for std in ("0.5", "1")}
    assert sum(variant.augmentation == "aelif_mask" for variant in recipe("sweep").variants) == 3


# ── Time on two cores ──────────────────────────────────────────────────────────────────────────

SECONDS_PER_STEP = 0.14
"""Of training a miniature by LoRA, batch 2 + 2, on one thread of two that train at once."""
SECONDS_PER_IMAGE = {"builtin:miniature-sdxl": 0.15, "builtin:miniature-sd3": 0.17}
"""At 10 steps with guidance, on one thread."""
SECONDS_BESIDE = 4.0
"""Of a trial: starting its steps, embedding, scoring."""
SECONDS_PER_RUN = 35.0
"""Class images, preparation, comparison, report."""


def images_of_a_trial(config: RunConfig) -> int:
    """Return how many images a trial paints, if every family can change every prompt."""
    prompts, attack = config.prompts, config.attack
    per_template = 1 + len(expand_families(prompts.families)) * len(prompts.severities) * prompts.draws
    per_template += len(prompts.stress.augmentations) * len(prompts.stress.magnitudes)
    asked = len(prompts.templates) * per_template + prompts.contexts + prompts.ask_class
    tried = attack.budget * attack.images + 2 * config.synthesis.images_per_prompt if attack.budget else 0
    return asked * config.synthesis.images_per_prompt + tried * attack.prompts


def minutes(config: RunConfig) -> float:
    """Return the expected wall-clock minutes with two trials at a time."""
    trial = (
        config.train.steps * SECONDS_PER_STEP
        + images_of_a_trial(config) * SECONDS_PER_IMAGE[config.base_model] * config.synthesis.steps / 10
        + SECONDS_BESIDE
    )
    return (SECONDS_PER_RUN + len(config.trials) * trial / 2) / 60


@pytest.mark.parametrize(
    ("runs", "limit"),
    [
        ([recipe("quickstart")], 6), ([recipe("quickstart-sd3")], 6),
        ([recipe("ablation")], 25), ([recipe("sweep")], 20),
        (list(PLANS["paper"]().values()), 36),
    ],
    ids=["quickstart", "quickstart-sd3", "ablation", "sweep", "paper"],
)  # fmt: skip
def test_experiments_keep_to_their_minutes(runs: list[RunConfig], limit: float):
    assert sum(map(minutes, runs)) <= limit


# ── Settings ───────────────────────────────────────────────────────────────────────────────────


def test_changes_apply_to_every_part_and_win_over_the_smoke_test():
    parts = load_runs("paper", changes={"train.steps": 7, "variants": ["baseline", "cep:2"]}, smoke=True)
    assert list(parts) == list(PLANS["paper"]())
    for config in parts.values():
        assert (config.train.steps, config.synthesis.steps, len(config.seeds)) == (7, 4, 1)
        assert config.variants == (Variant(), Variant.parse("cep:2"))
    assert [part.base_model for part in parts.values()] == ["builtin:miniature-sdxl", "builtin:miniature-sd3"]


def test_parts_are_chosen_by_name_in_the_order_of_the_plan():
    assert list(load_runs("paper", only=["miniature-sd3"])) == ["miniature-sd3"]
    assert list(load_runs("paper", only=["miniature-sd3", "miniature-sdxl"])) == ["miniature-sdxl", "miniature-sd3"]
    own = load_runs("paper", only=["miniature-sd3"], changes={"base_model": "models:/mine@champion"})
    assert own["miniature-sd3"].base_model == "models:/mine@champion"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("papre", {}, "no such recipe; did you mean 'paper'"),
        ("paper", {"only": ["sd3"]}, "paper has no such part"),
        ("paper", {"only": ["miniature-sd"]}, "did you mean 'miniature-sd3'"),
        ("quickstart", {"only": ["sdxl"]}, "quickstart is one run; these have parts: paper, paper-full"),
        ("paper", {"changes": {"base_model": "x"}}, "each part of paper has its own; choose one with --only"),
        ("paper", {"changes": {"train.stps": 3}}, "train.stps: no such setting; did you mean 'steps'"),
    ],
)
def test_wrong_plans_are_named(name: str, options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        load_runs(name, **options)


def test_a_plan_is_no_single_configuration():
    with pytest.raises(ValueError, match=r"several runs \(miniature-sdxl, miniature-sd3\)"):
        load_config("paper")


def test_a_plan_is_not_retrained():
    with pytest.raises(ValueError, match="pipeline = 'retrain'"):
        load_runs("paper", changes={"pipeline": "retrain"})


def test_parts_share_the_store_beside_the_plan(tmp_path: Path):
    config = recipe("smoke")
    store = Workplace(output=tmp_path / "other").store
    arguments = pipeline_arguments(config, tmp_path / "paper" / "part", tracking=store, command="")
    assert arguments["tracking"] == to_dict(TrackingConfig.local(tmp_path))


# ── Running and printing ───────────────────────────────────────────────────────────────────────


def interval(value: float | None) -> dict[str, float | None]:
    return {
        "value": value,
        "low": None if value is None else value - 0.1,
        "high": None if value is None else value + 0.1,
    }


def summary_of(config: RunConfig) -> dict[str, Any]:
    variants: dict[str, Any] = {}
    for variant in config.variants:
        scores: dict[str, Any] = {"variant": str(variant), "clean": interval(0.8), "perturbed": interval(0.9)}
        scores["sets"] = {"held_out": {"distance": interval(0.9)}, "tuning": {"distance": interval(0.95)}}
        scores["worst_case"] = {"distance": interval(1.1), "damage": interval(0.3), "mean_perturbed": interval(0.9)}
        if variant.terms:
            scores |= {"improvement_plain": interval(0.05), "improvement_excess": interval(1.25)}
            scores["test"] = {"p_value": 0.01, "p_adjusted": 0.0213}
            for part in scores["sets"].values():
                part["improvement_plain"] = interval(0.04)
        variants[str(variant)] = scores
    return {
        "schema": 2, "variants": variants, "noise_floor": interval(0.6), "notes": ["A note."],
        "verdict": {"champion": BASELINE, "reasons": ["The baseline keeps every limit."]},
        "timings": {"total_s": 10.0, "orchestration_s": 1.0},
    }  # fmt: skip


def printed(summary: dict[str, Any], output: Path) -> str:
    stream = io.StringIO()
    print_outcome(Console(file=stream, width=80), summary, output)
    return stream.getvalue()


def test_the_tables_fit_80_columns():
    text = printed(summary_of(recipe("sweep")), Path("outputs/sweep"))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for words in ("aelif_noise_conv:0.3", "@noise_std=0.5", "0.900", "0.800–1.000", "+5.0%", "-5.0…+15.0", "0.021",
                  "+125.0%", "+115…+135", "held-out", "+4.0%", "worst", "1.100", "baseline is the best", "A note.",
                  "outputs/sweep/report.html", "aelif ui outputs"):  # fmt: skip
        assert words in text


def test_what_was_not_asked_is_not_shown():
    summary = summary_of(recipe("quickstart"))
    for scores in summary["variants"].values():
        del scores["sets"]
        scores["worst_case"], scores["test"] = None, None
    text = printed(summary, Path("outputs/quickstart"))
    assert "held-out" not in text
    assert "worst" not in text


def test_parts_run_in_order_into_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from aelif.report import overview

    places, pages = [], []

    def run(config: RunConfig, place: Any, **_: Any) -> dict[str, Any]:
        places.append((place.output, place.tracking))
        summary = summary_of(config)
        place.output.mkdir(parents=True)
        write_json(place.summary, summary)
        return summary

    monkeypatch.setattr(running, "run_locally", run)
    monkeypatch.setattr(running, "check_inputs", lambda config: None)
    monkeypatch.setattr(overview, "write_overview", lambda path, parts: pages.append((path, dict(parts))))
    output = tmp_path / "paper"
    stream = io.StringIO()
    console, store = Console(file=stream, width=80), TrackingConfig.local(tmp_path)
    summary = running.run_parts(load_runs("paper"), output, tracking=store, console=console, command="aelif x")
    names = ["miniature-sdxl", "miniature-sd3"]
    assert places == [(output / name, store) for name in names]
    assert pages == [(output / "report.html", {name: output / name for name in names})]
    assert read_json(output / "summary.json") == summary
    assert summary["schema"] == 2
    assert summary["parts"] == {name: f"{name}/summary.json" for name in names}
    assert summary["command"] == "aelif x"
    assert set(summary["mean_improvements"]) == {str(variant) for variant in PLANS["paper"]()[names[0]].variants[1:]}
    means = summary["mean_improvements"]["aelif_mask:0.3"]
    assert {kind: mean["value"] for kind, mean in means.items()} == {
        "improvement_plain": pytest.approx(0.05), "improvement_excess": pytest.approx(1.25),
    }  # fmt: skip
    text = printed(summary, output)
    assert max(map(len, text.splitlines())) <= 80
    assert all(name in text for name in [*names, "mean over parts", "aelif_mask:0.3"])


def test_a_part_that_cannot_work_stops_the_plan_before_anything_runs(tmp_path: Path):
    parts = load_runs("paper", smoke=True)
    parts["miniature-sd3"] = replace(parts["miniature-sd3"], base_model="builtin:miniature-sd4")
    with pytest.raises(ValueError, match="miniature-sd3"):
        running.run_parts(
            parts, tmp_path / "paper", tracking=TrackingConfig.local(tmp_path), console=Console(file=io.StringIO())
        )
    assert list(tmp_path.iterdir()) == []


def test_a_failed_part_leaves_the_finished_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(config: RunConfig, place: Any, **_: Any) -> dict[str, Any]:
        if place.output.name == "miniature-sd3":
            raise RunError("train: no memory")
        place.output.mkdir(parents=True)
        write_json(place.summary, summary_of(config))
        return summary_of(config)

    monkeypatch.setattr(running, "run_locally", run)
    with pytest.raises(RunError, match="no memory"):
        running.run_parts(
            load_runs("paper"), tmp_path / "paper", tracking=TrackingConfig.local(tmp_path),
            console=Console(file=io.StringIO()),
        )  # fmt: skip
    assert (tmp_path / "paper" / "miniature-sdxl" / "summary.json").is_file()
    assert not (tmp_path / "paper" / "summary.json").exists()
