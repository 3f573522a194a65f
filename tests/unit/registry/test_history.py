import json

import pytest

from aelif.artifacts import score_schema, write_table
from aelif.registry.by_hand import promote_by_hand
from aelif.registry.compare import compare
from aelif.registry.history import history
from aelif.registry.promote import champion, number, promote, register_once, reject, rollback

from .small_run import score_rows

NAME = "aelif-miniature"
FIGURES = {"clean": {"value": 0.5, "low": 0.4, "high": 0.6}}
TRIALS = ("baseline/seed=0", "aelif_mask:0.3/seed=0", "aelif_mask:0.3/seed=1")


@pytest.fixture
def register(client, tmp_path):
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "files").as_uri())

    def make(trial=TRIALS[0], *, scores=True, params=(), dataset="d" * 64, evaluation="e" * 64):
        run = client.create_run(experiment, tags={"dataset.digest": dataset})
        for name, value in {"synthesis.steps": "20", **dict(params)}.items():
            client.log_param(run.info.run_id, name, value)
        if scores:
            write_table(tmp_path / "scores.parquet", score_rows(), score_schema())
            client.log_artifact(run.info.run_id, str(tmp_path / "scores.parquet"))
        tags = {"trial": trial, "dataset.digest": dataset, "eval.digest": evaluation, "git.sha": trial[:8],
                "gate.figures": json.dumps(FIGURES)}  # fmt: skip
        return register_once(client, NAME, run.info.artifact_uri, run_id=run.info.run_id, key=run.info.run_id,
                             tags=tags)  # fmt: skip

    return make


def test_history_tells_every_career_newest_first(client, register):
    promote(client, NAME, register(), reasons=["the first"], against=None)
    promote(client, NAME, register(TRIALS[1]), reasons=["better"], against="1")
    rollback(client, NAME, expect="2", by="ada")
    reject(client, NAME, register(TRIALS[2]), reasons=["too far off"], against="1")
    promote_by_hand(client, NAME, "3", by="bob", force=True, reason="I like it")
    register()

    fourth, third, second, first = history(client, NAME)

    assert (fourth.version, fourth.verdict, fourth.aliases, fourth.since) == ("4", "", (), "")
    assert (third.verdict, third.aliases, third.replaced, third.by) == ("forced", ("champion",), "1", "forced by bob")
    assert third.reasons == "forced: I like it; too far off"
    assert (second.verdict, second.by, second.replaced) == ("rolled-back", "rolled back by ada", "1")
    assert (first.verdict, first.replaced, first.reasons, first.trial) == ("passed", "", "the first", TRIALS[0])
    assert first.figures == FIGURES
    assert first.dataset_digest == "d" * 64
    assert first.created.endswith("+00:00")


def test_history_of_nothing(client, register):
    with pytest.raises(ValueError, match="no model is registered"):
        history(client, NAME)
    register()
    with pytest.raises(ValueError, match="did you mean 'aelif-miniature'"):
        history(client, "aelif-mini")


def test_two_versions_that_were_measured_alike_are_comparable(client, register):
    promote(client, NAME, register(), reasons=["the first"], against=None)
    register(TRIALS[1], params={"score.resamples": "77"})
    pair = compare(client, NAME, "champion", "2")
    assert (pair.a.version, pair.b.version, pair.obstacle) == ("1", "2", "")
    assert pair.differences == {"trial": (TRIALS[0], TRIALS[1]), "git.sha": ("baseline", "aelif_ma")}
    assert {row["variant"] for row in pair.rows_a} == {"baseline"}
    assert {(row["variant"], row["seed"]) for row in pair.rows_b} == {("aelif_mask:0.3", 0)}
    assert number(champion(client, NAME)) == "1"


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"scores": False}, "the run of version 2 has no scores of it"),
        ({"evaluation": "f" * 64}, "different prompts"),
        ({"evaluation": ""}, "different prompts"),
        ({"dataset": "c" * 64}, "distance to different photos"),
        ({"params": {"score.scorer": "ViT-L-14"}}, "different settings: score.scorer"),
        ({"params": {"synthesis.steps": "30"}}, "different settings: synthesis.steps"),
        ({"trial": "cep:1/seed=0"}, "no scores of it"),
    ],
)
def test_what_was_measured_differently_is_not_compared(client, register, other, told):
    register()
    register(**other)
    pair = compare(client, NAME, "1", "2")
    assert told in pair.obstacle
    assert pair.rows_a == pair.rows_b == ()


def test_the_run_of_a_version_may_be_gone(client, register):
    register()
    client.create_model_version(NAME, "s3://someone/else")
    assert compare(client, NAME, "1", "2").obstacle == "the run of version 2 is gone"
