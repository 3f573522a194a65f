"""When a scheduled retraining has something to do."""

import json

import pytest

from aelif.registry.due import look_up, retrain_key
from aelif.registry.promote import champion, promote, register_once, rollback
from aelif.registry.runs import log_params, parent_run
from aelif.registry.store import run_with_store

NAME = "aelif-test"
INPUTS = {"photos": "p" * 64, "reference": "", "base": "b" * 64}
SETTINGS = {
    "gate": {"model_name": NAME, "max_clean_distance": 1.0},
    "train": {"steps": 300},
    "data": {"instance_images": "/somewhere", "image_size": 64},
    "command": "aelif run retrain",
}


def look(tracking, run_key, *, inputs=INPUTS, settings=SETTINGS, force=False):
    return look_up(tracking, run_key, inputs=inputs, settings=settings, force=force, patience_s=2)


def finish(tracking, run_key, *, verdict="promoted", version="1"):
    """Do what the register step writes at the end of a complete run."""

    def action(client, config):
        run = parent_run(client, config, run_key)
        tags = {"champion.after": version, "model.version": f"{NAME}/{version}", "gate.reasons": "it is better"}
        log_params(client, run.info.run_id, {}, tags={**tags, "gate.verdict": verdict})
        client.set_terminated(run.info.run_id)
        return run

    return run_with_store(tracking, action, patience_s=2)


def crown(client, run, *, key, clean=0.5):
    held = champion(client, NAME)
    figures = {
        "clean": {"value": clean, "low": None, "high": None},
        "clip_t": {"value": 0.3},
        "diversity": {"value": 0.4},
    }
    version = register_once(client, NAME, str(run.info.artifact_uri), run_id=run.info.run_id, key=key,
                            tags={"gate.figures": json.dumps(figures), "weights.sha256": key})  # fmt: skip
    promote(client, NAME, version, reasons=["better"], against=str(held.version) if held else None)
    return str(version.version)


@pytest.fixture
def first(tracking, client):
    """A store in which one run has made version 1 champion."""
    look(tracking, "run-1")
    crown(client, finish(tracking, "run-1"), key="one")
    return tracking


def test_the_first_run_is_due(tracking):
    found = look(tracking, "run-1")
    assert (found.due, found.champion) == (True, "")


def test_the_same_again_has_nothing_to_do_and_says_so(first, client):
    found = look(first, "run-2")
    assert (found.due, found.champion) == (False, "1")
    assert "run run-1" in found.reason
    assert "version 1 is champion" in found.reason
    run = run_with_store(first, lambda client, config: parent_run(client, config, "run-2"), patience_s=2)
    assert run.data.tags["gate.verdict"] == "unchanged"
    assert run.data.tags["champion.after"] == "1"


def test_an_unchanged_run_is_no_evidence_of_its_own(first):
    look(first, "run-2")
    finish(first, "run-2", verdict="unchanged")
    assert "run-1" in look(first, "run-3").reason


@pytest.mark.parametrize(
    ("inputs", "settings"),
    [
        ({**INPUTS, "photos": "q" * 64}, SETTINGS),
        ({**INPUTS, "reference": "r"}, SETTINGS),
        (INPUTS, {**SETTINGS, "train": {"steps": 301}}),
    ],
)
def test_news_is_due(first, inputs, settings):
    assert look(first, "run-2", inputs=inputs, settings=settings).due


def test_places_and_commands_are_no_news(first):
    moved = {**SETTINGS, "command": "other", "data": {"instance_images": "s3://else", "image_size": 64.0}}
    assert not look(first, "run-2", settings=moved).due
    assert retrain_key(INPUTS, moved) == retrain_key(INPUTS, SETTINGS)


def test_it_can_be_asked_for(first):
    assert look(first, "run-2", force=True).due


def test_a_champion_that_breaks_a_limit_is_due(tracking, client):
    look(tracking, "run-1")
    crown(client, finish(tracking, "run-1"), key="one", clean=1.2)
    assert look(tracking, "run-2").due


def test_refused_photos_are_not_tried_again(first):
    bad = {**INPUTS, "photos": "x" * 64}
    assert look(first, "run-2", inputs=bad).due
    finish(first, "run-2", verdict="rejected", version="1")
    found = look(first, "run-3", inputs=bad)
    assert not found.due
    assert "rejected" in found.reason


def test_a_failed_run_is_tried_again(first):
    bad = {**INPUTS, "photos": "x" * 64}
    look(first, "run-2", inputs=bad)
    assert look(first, "run-3", inputs=bad).due


def test_another_champion_since_is_due(first, client):
    crown(client, finish(first, "else"), key="two")
    assert look(first, "run-2").due


def test_what_a_person_rolled_back_is_not_trained_again(first, client):
    other = {**INPUTS, "photos": "x" * 64}
    look(first, "run-2", inputs=other)
    crown(client, finish(first, "run-2", version="2"), key="two")
    rollback(client, NAME, expect="2")
    found = look(first, "run-3", inputs=other)
    assert not found.due
    assert "rolled back" in found.reason
