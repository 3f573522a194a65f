import dataclasses
import json
import shutil
from pathlib import Path

import mlflow.pyfunc
import pytest
from mlflow import MlflowClient
from PIL import Image

from aelif.artifacts import read_json, sha256_of, write_json
from aelif.config import GateConfig
from aelif.registry.by_hand import promote_by_hand
from aelif.registry.promote import CHALLENGER, aliased, champion, number, rollback
from aelif.registry.publish import publish
from aelif.registry.store import TrackingError
from aelif.registry.tracking import open_parent

from .small_run import BEST, SETTINGS, TRIALS, write_results

NAME = "aelif-miniature"
KEY = "k" * 64


def publish_it(tracking, results, run_key="job-1", keep=10):
    settings = {**SETTINGS, "git_sha": "abc"}
    open_parent(tracking, run_key, settings=settings, trials=TRIALS, code_version="c0de")
    return publish(
        tracking, run_key, results=results, gate=GateConfig(model_name=NAME, keep_versions=keep),
        settings=settings, key=KEY, code_version="c0de",
    )  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    """Leave out the results and the servable folder, which have tests of their own; the registry stays real."""
    from aelif.registry import publish as module

    def copy(output, *, trained, **_named):
        shutil.copytree(trained, output)

    monkeypatch.setattr(module, "log_results", lambda *_arguments: None)
    monkeypatch.setattr(module, "log_trial", lambda *_arguments: None)
    monkeypatch.setattr(module, "write_servable", copy)


def tags_of(client, version):
    return client.get_model_version(NAME, version).tags


def everything(client):
    """Return all that a repetition could double: runs with metric histories and files, versions, the alias."""
    runs = {}
    for run in client.search_runs(["1"], max_results=100):
        names = sorted(run.data.metrics)
        history = {
            name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] for name in names
        }
        files = sorted(file.path for file in client.list_artifacts(run.info.run_id))
        inputs = [entry.dataset.digest for entry in run.inputs.dataset_inputs]
        runs[run.info.run_id] = (run.data.params, history, files, inputs)
    versions = [(str(v.version), v.tags) for v in client.search_model_versions(f"name = '{NAME}'")]
    current = champion(client, NAME)
    return runs, versions, current and str(current.version)


def parent_of(client, key="job-1"):
    return client.search_runs(["1"], f"tags.`kfp.run_id` = '{key}' and tags.`kfp.step` = 'pipeline'")[0]


def test_the_verdicts_trial_is_registered_with_its_whole_lineage(tracking, client, tmp_path, monkeypatch):
    monkeypatch.setenv("AELIF_IMAGE_DIGEST", "sha256:i")
    results = write_results(tmp_path / "results")

    done = publish_it(tracking, results)

    assert (done.model, done.version, done.outcome) == (NAME, "1", "promoted")
    version = client.get_model_version_by_alias(NAME, "champion")
    weights = sha256_of(results.models[BEST] / "pytorch_lora_weights.safetensors")
    expected = {
        "kfp.run_id": "job-1",
        "candidate.key": f"job-1:{weights}",
        "weights.sha256": weights,
        "dataset.digest": "d" * 64,
        "base.uri": "builtin:miniature-sdxl",
        "base.digest": "b" * 64,
        "recipe.digest": KEY,
        "image.digest": "sha256:i",
        "trial": BEST,
        "variant": "aelif_mask:0.3",
        "seed": "1",
        "git.sha": "abc",
        "code_version": "c0de",
        "gate.verdict": "passed",
        "gate.reasons": "it is better",
        "gate.against": "none",
        "champion.replaced": "none",
    }
    assert expected.items() <= version.tags.items()
    assert len(version.tags["eval.digest"]) == 64
    assert version.tags["champion.since"].endswith("+00:00")
    figures = json.loads(version.tags["gate.figures"])
    assert figures["perturbed"] == {"value": pytest.approx(0.65), "low": None, "high": None}
    assert version.run_id == parent_of(client).info.run_id
    assert version.description.startswith(f"# {NAME}")


@pytest.mark.usefixtures("quick")
def test_figures_come_from_the_duel_where_there_was_one(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    clean = {"value": 0.5, "low": 0.4, "high": 0.6}
    duel = {"clean": clean, "perturbed": clean, "clip_t": clean, "diversity": clean, "improvement": clean,
            "clean_loss": clean, "families": {}}  # fmt: skip
    write_json(results.summary, {**read_json(results.summary), "duels": {BEST: duel}})
    publish_it(tracking, results)
    assert json.loads(tags_of(client, "1")["gate.figures"]) == dict.fromkeys(
        ("clean", "perturbed", "clip_t", "diversity"), clean
    )


def test_mlflow_knows_the_champion_as_a_model(tracking, tmp_path, monkeypatch):
    """Loading needs the real base model (see the tests of serving); its description does not."""
    results = write_results(tmp_path / "results")
    publish_it(tracking, results)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking["tracking_uri"])
    info = mlflow.models.get_model_info(f"models:/{NAME}@champion")
    assert [column.name for column in info.signature.inputs] == ["prompt", "negative_prompt"]
    assert "python_function" in info.flavors


def test_the_run_holds_the_results_and_the_lineage(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "results"))
    run = parent_of(client)

    assert run.data.metrics["aelif_mask/improvement_plain/low"] == pytest.approx(0.05)
    expected = {
        "gate.verdict": "promoted",
        "model.version": f"{NAME}/1",
        "champion.after": "1",
        "retrain.key": KEY,
        "dataset.digest": "d" * 64,
        "weights.sha256": tags_of(client, "1")["weights.sha256"],
        "trial": BEST,
    }
    assert expected.items() <= run.data.tags.items()
    assert "it is better" in run.data.tags["gate.reasons"]
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"summary.json", "verdict.json", "scores.parquet", "report.html", "model"} <= files
    page = client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))
    assert "Bericht – 🐕" in Path(page).read_text()


def test_every_trial_holds_its_scores_and_losses(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "results"))
    child = client.search_runs(["1"], f"tags.`kfp.step` = 'trial {BEST}'")[0]
    assert child.info.status == "FINISHED"
    assert child.data.metrics["perturbed/w1"] == pytest.approx(0.65)
    assert [(m.step, m.value) for m in client.get_metric_history(child.info.run_id, "train/loss")] == [
        (10, 2.5),
        (20, 0.25),
    ]


@pytest.mark.parametrize("action", ["promote", "challenge", "refuse"])
def test_a_repetition_changes_nothing(tracking, client, tmp_path, action):
    results = write_results(tmp_path / "results", action=action)
    done = publish_it(tracking, results)
    before = everything(client)
    assert publish_it(tracking, results) == done
    assert everything(client) == before


REGISTRY_WRITES = (
    "create_registered_model",
    "create_model_version",
    "set_model_version_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "delete_model_version",
    "log_batch",
)


def crash_before(monkeypatch, number_):
    """Let the writing call of that number, counted from 0, fail before it does anything; return the list of calls."""
    done = []

    def wrap(name, original):
        def call(self, *arguments, **named):
            done.append(name)
            if len(done) - 1 == number_:
                raise InterruptedError("killed")
            return original(self, *arguments, **named)

        return call

    for name in REGISTRY_WRITES:
        monkeypatch.setattr(MlflowClient, name, wrap(name, getattr(MlflowClient, name)))
    return done


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("action", "number_"),
    [*(("promote", number_) for number_ in range(11)), ("challenge", 4), ("challenge", 5), ("refuse", 4)],
)
def test_a_crash_before_any_write_is_made_good(tracking, client, tmp_path, monkeypatch, action, number_):
    publish_it(tracking, write_results(tmp_path / "first"))
    second = write_results(tmp_path / "second", salt=0.5, action=action, against="1")
    open_parent(tracking, "job-2", settings={**SETTINGS, "git_sha": "abc"}, trials=TRIALS, code_version="c0de")
    arguments = {"results": second, "gate": GateConfig(model_name=NAME), "settings": SETTINGS, "key": KEY}
    with monkeypatch.context() as patch:
        writes = crash_before(patch, number_)
        try:
            publish(tracking, "job-2", **arguments, code_version="c0de")
        except TrackingError:
            assert "gate.verdict" not in parent_of(client, "job-2").data.tags
            assert number(champion(client, NAME)) == ("2" if "set_registered_model_alias" in writes[:-1] else "1") or (
                action == "challenge"
            )
        else:
            assert len(writes) <= number_, "it swallowed a failure"

    done = publish(tracking, "job-2", **arguments, code_version="c0de")

    outcome = {"promote": "promoted", "challenge": "waiting", "refuse": "rejected"}[action]
    assert (done.version, done.outcome) == ("2", outcome)
    aliases = {alias: str(version) for alias, version in client.get_registered_model(NAME).aliases.items()}
    expected = {"champion": "2"} if action == "promote" else {"champion": "1"}
    assert aliases == (expected | {"challenger": "2"} if action == "challenge" else expected)
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2
    assert parent_of(client, "job-2").data.tags["gate.verdict"] == outcome
    assert tags_of(client, "2").get("champion.replaced") == ("1" if action == "promote" else None)


@pytest.mark.usefixtures("quick")
def test_a_refused_model_is_registered_to_be_looked_at(tracking, client, tmp_path):
    done = publish_it(tracking, write_results(tmp_path / "results", champion=None))
    assert (done.version, done.outcome) == ("1", "rejected")
    assert "nothing keeps the limits" in done.reason
    assert champion(client, NAME) is None
    assert aliased(client, NAME, CHALLENGER) is None
    assert tags_of(client, "1")["gate.verdict"] == "rejected"
    assert parent_of(client).data.tags["champion.after"] == "none"


@pytest.mark.usefixtures("quick")
def test_the_same_weights_from_a_later_run_change_nothing(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    publish_it(tracking, results)
    done = publish_it(tracking, results, run_key="job-2")
    assert (done.version, done.outcome) == ("1", "kept")
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
    assert parent_of(client, "job-2").data.tags["model.version"] == f"{NAME}/1"


@pytest.mark.usefixtures("quick")
def test_who_was_measured_against_the_champion_replaces_it(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "first"))
    done = publish_it(tracking, write_results(tmp_path / "second", salt=0.5, against="1"), run_key="job-2")
    assert (done.version, done.outcome) == ("2", "promoted")
    assert champion(client, NAME).tags["champion.replaced"] == "1"


@pytest.mark.usefixtures("quick")
def test_who_was_not_measured_against_the_champion_waits_and_says_how_to_go_on(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "first"))
    done = publish_it(tracking, write_results(tmp_path / "second", salt=0.5), run_key="job-2")
    assert (done.version, done.outcome) == ("2", "registered")
    for command in ("aelif run retrain", f"aelif compare {NAME}", f"aelif promote {NAME} 2 --force"):
        assert command in done.reason
    assert number(champion(client, NAME)) == "1"
    assert number(aliased(client, NAME, CHALLENGER)) == "2"
    assert tags_of(client, "2")["gate.verdict"] == "waiting"


@pytest.mark.usefixtures("quick")
def test_approval_waits_and_a_late_retry_does_not_undo_it(tracking, client, tmp_path):
    results = write_results(tmp_path / "results", action="challenge")
    assert publish_it(tracking, results).outcome == "waiting"
    assert champion(client, NAME) is None
    promote_by_hand(client, NAME, "challenger", by="ada")
    publish_it(tracking, results)
    assert number(champion(client, NAME)) == "1"
    assert aliased(client, NAME, CHALLENGER) is None
    assert tags_of(client, "1")["gate.verdict"] == "passed"
    assert tags_of(client, "1")["approved.by"] == "ada"


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("against", ["1", "7"])
def test_a_champion_that_changed_meanwhile_stops_everything(tracking, client, tmp_path, against):
    publish_it(tracking, write_results(tmp_path / "first"))
    publish_it(tracking, write_results(tmp_path / "second", salt=0.5, against="1"), run_key="job-2")
    late = write_results(tmp_path / "late", salt=0.25, against=against)
    with pytest.raises(
        RuntimeError, match=rf"version 2 is champion, the verdict fell against version {against}.*run again"
    ):
        publish_it(tracking, late, run_key="job-3")
    assert number(champion(client, NAME)) == "2"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2
    assert "gate.verdict" not in parent_of(client, "job-3").data.tags


@pytest.mark.usefixtures("quick")
def test_a_deleted_champion_is_no_champion(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "first"))
    client.delete_model_version(NAME, "1")
    done = publish_it(tracking, write_results(tmp_path / "second", salt=0.5), run_key="job-2")
    assert (done.version, done.outcome) == ("2", "promoted")


@pytest.mark.usefixtures("quick")
def test_weights_that_a_person_rolled_back_stay_back(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "first"))
    second = write_results(tmp_path / "second", salt=0.5, against="1")
    publish_it(tracking, second, run_key="job-2")
    rollback(client, NAME, expect="2")
    for run_key in ("job-2", "job-3"):  # a late retry, and another run
        done = publish_it(tracking, second, run_key=run_key)
        assert (done.version, done.outcome) == ("2", "rolled-back")
    assert number(champion(client, NAME)) == "1"
    assert parent_of(client, "job-3").data.tags["gate.verdict"] == "rolled-back"


@pytest.mark.usefixtures("quick")
def test_old_versions_go(tracking, client, tmp_path):
    for number_ in range(4):
        against = str(number_) if number_ else None
        run_key = f"job-{number_}"
        publish_it(tracking, write_results(tmp_path / run_key, salt=0.1 * number_, champion=None), run_key, keep=2)
        client.set_terminated(parent_of(client, run_key).info.run_id)
        assert against is None or champion(client, NAME) is None
    assert sorted(str(v.version) for v in client.search_model_versions(f"name = '{NAME}'")) == ["3", "4"]


def test_weights_that_changed_since_training_are_refused(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    card = results.models[BEST] / "aelif.json"
    write_json(card, {**read_json(card), "weights_sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"training wrote 0000.*train again"):
        publish_it(tracking, results)
    assert champion(client, NAME) is None


def test_a_trial_that_was_not_trained_is_refused(tracking, tmp_path):
    results = write_results(tmp_path / "results", trial="cep:1/seed=0")
    with pytest.raises(ValueError, match="'cep:1/seed=0' is none of this run's: baseline/seed=0"):
        publish_it(tracking, results)


def test_results_cannot_be_changed_by_accident(tmp_path):
    with pytest.raises(dataclasses.FrozenInstanceError):
        write_results(tmp_path / "results").summary = tmp_path


def test_validation_images_become_a_chart_once(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    for step in (10, 20):
        folder = results.models[BEST] / "validation" / f"step-{step:06d}"
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (step, 0, 0)).save(folder / "00.png")

    publish_it(tracking, results)
    publish_it(tracking, results)

    run = client.search_runs(["1"], f"tags.`kfp.step` = 'trial {BEST}'")[0]
    names = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    assert [name.partition("+timestamp+")[0] for name in sorted(names)] == [
        "images/validation~00+step+10", "images/validation~00+step+20",
    ]  # fmt: skip
