import dataclasses
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from aelif.artifacts import read_json, sha256_of, write_json
from aelif.config import GateConfig
from aelif.registry.promote import champion, rollback
from aelif.registry.publish import publish
from aelif.registry.store import TrackingError
from aelif.registry.tracking import download_model, open_parent

from .small_run import SETTINGS, TRIALS, write_results

NAME = "aelif-miniature"
BEST = TRIALS[2]


def publish_it(tracking, results, run_key="job-1"):
    settings = {**SETTINGS, "git_sha": "abc"}
    open_parent(tracking, run_key, settings=settings, trials=TRIALS, code_version="c0de")
    return publish(tracking, run_key, results=results, gate=GateConfig(model_name=NAME), code_version="c0de")


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


def test_the_best_seed_of_the_champion_is_registered_with_its_lineage(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")

    assert publish_it(tracking, results) == f"{NAME}/1"

    version = client.get_model_version_by_alias(NAME, "champion")
    weights = sha256_of(results.models[BEST] / "pytorch_lora_weights.safetensors")
    expected = {
        "kfp.run_id": "job-1",
        "candidate.key": f"job-1:{weights}",
        "weights.sha256": weights,
        "dataset.digest": "d" * 64,
        "base.digest": "b" * 64,
        "variant": "aelif_mask:0.3",
        "seed": "1",
        "git.sha": "abc",
        "code_version": "c0de",
        "gate.verdict": "passed",
        "gate.reasons": "it is better",
        "champion.replaced": "none",
    }
    assert expected.items() <= version.tags.items()
    assert len(version.tags["eval.digest"]) == 64
    assert version.run_id == parent_of(client).info.run_id


def test_the_run_holds_the_results(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "results"))
    run = parent_of(client)

    assert run.data.metrics["aelif_mask/improvement_plain/low"] == pytest.approx(0.05)
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.digest, run.data.tags["dataset.digest"]) == ("d" * 32, "d" * 64)
    assert (run.data.tags["gate.verdict"], run.data.tags["model.version"]) == ("passed", f"{NAME}/1")
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert files == {"summary.json", "verdict.json", "scores.parquet", "report.html", "model"}
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


def test_a_repetition_changes_nothing(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    publish_it(tracking, results)
    before = everything(client)
    assert publish_it(tracking, results) == f"{NAME}/1"
    assert everything(client) == before


@pytest.mark.parametrize(
    "write", ["log_inputs", "log_artifacts", "set_terminated", "create_model_version", "set_registered_model_alias"]
)
def test_a_crash_is_made_good_by_a_repetition(tracking, client, tmp_path, monkeypatch, write):
    results = write_results(tmp_path / "results")

    def crash(*_arguments, **_named):
        raise InterruptedError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, write, crash)
        with pytest.raises(TrackingError):
            publish_it(tracking, results)
    assert champion(client, NAME) is None

    assert publish_it(tracking, results) == f"{NAME}/1"

    runs, versions, alias = everything(client)
    assert (len(runs), len(versions), alias) == (4, 1, "1")


def test_a_rejected_run_registers_nothing_and_says_so(tracking, client, tmp_path):
    assert publish_it(tracking, write_results(tmp_path / "results", champion=None)) == ""
    tags = parent_of(client).data.tags
    assert (tags["gate.verdict"], tags["gate.reasons"]) == ("rejected", "nothing keeps the limits")
    assert client.search_registered_models() == []


def test_the_same_weights_from_a_later_run_change_nothing(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    publish_it(tracking, results)
    assert publish_it(tracking, results, run_key="job-2") == f"{NAME}/1"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 1
    assert parent_of(client, "job-2").data.tags["model.version"] == f"{NAME}/1"


def test_other_weights_replace_the_champion(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "first"))
    assert publish_it(tracking, write_results(tmp_path / "second", salt=0.5), run_key="job-2") == f"{NAME}/2"
    assert champion(client, NAME).tags["champion.replaced"] == "1"


def test_weights_that_a_person_rolled_back_stay_back(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "first"))
    second = write_results(tmp_path / "second", salt=0.5)
    publish_it(tracking, second, run_key="job-2")
    rollback(client, NAME, expect="2")
    assert publish_it(tracking, second, run_key="job-3") == ""
    assert str(champion(client, NAME).version) == "1"
    assert parent_of(client, "job-3").data.tags["gate.verdict"] == "rolled-back"


def test_models_without_a_card_are_taken(tracking, tmp_path):
    results = write_results(tmp_path / "results")
    for folder in results.models.values():
        (folder / "aelif.json").unlink()
    assert publish_it(tracking, results) == f"{NAME}/1"


def test_weights_that_changed_since_training_are_refused(tracking, client, tmp_path):
    results = write_results(tmp_path / "results")
    card = results.models[BEST] / "aelif.json"
    write_json(card, {**read_json(card), "weights_sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"training wrote 0000.*train again"):
        publish_it(tracking, results)
    assert champion(client, NAME) is None


def test_a_champion_that_was_not_trained_is_refused(tracking, tmp_path):
    results = write_results(tmp_path / "results")
    write_json(results.verdict, {**read_json(results.verdict), "champion": "aelif_noise_conv"})
    with pytest.raises(ValueError, match="no scored trial of that name"):
        publish_it(tracking, results)


@pytest.mark.parametrize("address", ["@champion", "/1"])
def test_a_model_comes_back_as_it_went(tracking, tmp_path, monkeypatch, address):
    results = write_results(tmp_path / "results")
    publish_it(tracking, results)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking["tracking_uri"])

    folder = download_model(f"models:/{NAME}{address}", tmp_path / "deep" / "model")

    original = results.models[BEST]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in original.iterdir()
    }
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_changed_weights_are_refused(tracking, client, tmp_path):
    publish_it(tracking, write_results(tmp_path / "results"))
    stored = next((tmp_path / "outputs" / "files").rglob("*.safetensors"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    with pytest.raises(TrackingError, match="registered was"):
        download_model(f"models:/{NAME}@champion", tmp_path / "m", tracking_uri=tracking["tracking_uri"])
    assert not (tmp_path / "m").exists()


def test_addresses_that_lead_nowhere(tracking, tmp_path):
    here = {"tracking_uri": tracking["tracking_uri"]}
    with pytest.raises(ValueError, match="write models:/NAME@ALIAS"):
        download_model("models:/x/Production", tmp_path / "m", **here)
    with pytest.raises(ValueError, match="none has been registered yet"):
        download_model("models:/x@champion", tmp_path / "m", **here)
    with pytest.raises(ValueError, match="set MLFLOW_TRACKING_URI"):
        download_model("models:/x@champion", tmp_path / "m")
    with pytest.raises(ValueError, match="no MLflow database at /nowhere"):
        download_model("models:/x@champion", tmp_path / "m", tracking_uri="sqlite:////nowhere/mlflow.db")
    publish_it(tracking, write_results(tmp_path / "results"))
    with pytest.raises(ValueError, match=f"known: models:/{NAME}@champion"):
        download_model(f"models:/{NAME}@challenger", tmp_path / "m", **here)


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
