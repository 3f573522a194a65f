"""`aelif promote | rollback | history | compare` on a real store."""

import json
from pathlib import Path

import pytest
import typer
from mlflow import MlflowClient
from typer.testing import CliRunner

from aelif.artifacts import score_schema, write_table
from aelif.config import TrackingConfig
from aelif.registry.promote import challenge, champion, number, promote, register_once, reject
from aelif.registry.store import create_database
from aelif_pipelines.commands import registry

NAME = "aelif-miniature"
TRIALS = ("baseline/seed=0", "aelif_mask:0.3/seed=0")

app = typer.Typer()
for command in (registry.promote, registry.rollback, registry.history, registry.compare):
    app.command()(command)


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    create_database(path, artifact_root="")
    return path


def rows(distance):
    """Return scores of two clean prompts with one error each."""
    made = []
    for trial, factor in zip(TRIALS, (1.0, distance), strict=True):
        variant, _, seed = trial.partition("/seed=")
        for prompt_id, (clean_id, prompt_set, value) in enumerate(
            [(0, "clean", 0.5), (0, "perturbed", 0.8), (2, "clean", 0.6), (2, "perturbed", 1.0)]
        ):
            base = {"variant": variant, "seed": int(seed), "prompt_id": prompt_id, "clean_id": clean_id,
                    "prompt_set": prompt_set, "family": "clean" if prompt_set == "clean" else "paper",
                    "severity": 0.1, "prompt": f"prompt {prompt_id}", "num_images": 4}  # fmt: skip
            made.append({**base, "metric": "w1", "value": value * (factor if prompt_set == "perturbed" else 1.0)})
    return made


@pytest.fixture
def store(tmp_path, empty_database, monkeypatch) -> Path:
    """A folder with a store: version 1 champion, 2 waits, 3 was refused."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_database.read_bytes())
    client = client_of(folder)
    experiment = client.create_experiment("aelif", artifact_location=(folder / "files").as_uri())
    write_table(tmp_path / "scores.parquet", rows(0.75), score_schema())
    versions = []
    for index, (trial, dataset) in enumerate([(TRIALS[0], "d"), (TRIALS[1], "d"), (TRIALS[1], "c")]):
        run = client.create_run(experiment, tags={"dataset.digest": dataset * 64})
        client.log_artifact(run.info.run_id, str(tmp_path / "scores.parquet"))
        figures = {
            "clean": {"value": 0.5, "low": 0.4, "high": 0.6},
            "perturbed": {"value": 0.9, "low": None, "high": None},
        }
        tags = {"trial": trial, "dataset.digest": dataset * 64, "eval.digest": "e" * 64,
                "gate.figures": json.dumps(figures), "base.uri": "builtin:miniature-sdxl"}  # fmt: skip
        versions.append(register_once(client, NAME, run.info.artifact_uri, run_id=run.info.run_id, key=str(index),
                                      tags=tags))  # fmt: skip
    promote(client, NAME, versions[0], reasons=["The first one keeps every limit."], against=None)
    challenge(client, NAME, versions[1], reasons=["It is better by 25 %."], against="1")
    reject(client, NAME, versions[2], reasons=["It is worse."], against="1")
    return folder


def client_of(folder: Path) -> MlflowClient:
    uri = TrackingConfig.local(folder).tracking_uri
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def call(store: Path | None, *arguments: str):
    """Run a command; what it raises is the test's to see, as `main` would report it."""
    where = ["--store", str(store)] if store else []
    return CliRunner().invoke(app, [*arguments, *where], catch_exceptions=False)


def alias(store):
    return number(champion(client_of(store), NAME))


def test_the_challenger_becomes_champion_and_goes_back(store):
    done = call(store, "promote", NAME, "challenger", "--by", "bob")
    assert "version 2 is champion, in place of version 1" in done.stdout
    assert f"aelif rollback {NAME} --expect 2" in done.stdout
    assert client_of(store).get_model_version(NAME, "2").tags["approved.by"] == "bob"
    for _ in range(2):
        done = call(store, "rollback", NAME, "--expect", "2")
        assert "version 2 is rolled back, version 1 is champion" in done.stdout
    assert alias(store) == "1"
    assert client_of(store).get_model_version(NAME, "2").tags["rolled-back.by"] == "ada"


def test_force_needs_a_reason(store):
    with pytest.raises(ValueError, match=r"version = '3': .*rejected \(It is worse\.\).*--force --reason"):
        call(store, "promote", NAME, "3")
    with pytest.raises(ValueError, match="reason = ''"):
        call(store, "promote", NAME, "3", "--force")
    assert alias(store) == "1"
    call(store, "promote", NAME, "3", "--force", "--reason", "a demo")
    assert alias(store) == "3"
    tags = client_of(store).get_model_version(NAME, "3").tags
    assert (tags["forced.by"], tags["forced.reason"]) == ("ada", "a demo")


def test_history_fits_eighty_columns(store):
    shown = call(store, "history", NAME).stdout
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("champion", "challenger", "passed", "waiting", "rejected", "aelif_mask:0.3", "0.900", "dddddddd",
                 "It is better by 25 %."):  # fmt: skip
        assert word in shown
    plain = json.loads(call(store, "history", NAME, "--json").stdout)
    assert [(entry["version"], entry["verdict"]) for entry in plain] == [
        ("3", "rejected"), ("2", "waiting"), ("1", "passed"),
    ]  # fmt: skip


def test_compare_measures_the_pair_on_the_same_prompts(store):
    """Every perturbed distance is a quarter lower: the improvement is 25 %, whatever is resampled."""
    shown = call(store, "compare", NAME, "champion", "challenger").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "version 2 against version 1" in shown
    assert "improvement +25.0 %" in " ".join(shown.replace("%", " %").replace("  ", " ").split())
    plain = json.loads(call(store, "compare", NAME, "1", "2", "--json").stdout)
    assert plain["duel"]["improvement"]["value"] == pytest.approx(0.25)
    assert plain["duel"]["clean_loss"]["value"] == pytest.approx(0.0)
    assert plain["differences"] == {"trial": list(TRIALS)}
    back = json.loads(call(store, "compare", NAME, "2", "1", "--json").stdout)
    assert back["duel"]["improvement"]["value"] == pytest.approx(1 - 1 / 0.75)


def test_compare_says_why_it_cannot(store):
    shown = " ".join(call(store, "compare", NAME, "1", "3").stdout.split())
    assert "their distance to different photos" in shown
    assert "aelif run retrain" in shown
    plain = json.loads(call(store, "compare", NAME, "1", "3", "--json").stdout)
    assert plain["duel"] is None
    assert "different photos" in plain["obstacle"]


def test_a_pair_may_be_the_same_version(store):
    plain = json.loads(call(store, "compare", NAME, "1", "champion", "--json").stdout)
    assert plain["duel"]["improvement"]["value"] == 0
    assert "Their origin is the same" in call(store, "compare", NAME, "1", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("history", "aelif-mini"), "name = 'aelif-mini': no such model; did you mean 'aelif-miniature'"),
        (("history", "a/b"), "without '/'"),
        (("compare", NAME, "1", "9"), "version = '9': .* known: 3, 2, 1"),
        (("compare", NAME, "best", "1"), "version = 'best': .* known: challenger .version 2., champion .version 1."),
        (("promote", NAME, "v2"), "MLflow reserves that word"),
        (("rollback", NAME, "--expect", "champion"), "expect = 'champion': give the number"),
        (("rollback", NAME, "--expect", "3"), "expect = '3': version 1 is champion of aelif-miniature; look at"),
        (("rollback", "x'y", "--expect", "3"), "without '/'"),
    ],
)
def test_bad_input_is_told_with_the_remedy(store, arguments, told):
    with pytest.raises(ValueError, match=told):
        call(store, *arguments)
    assert alias(store) == "1"


def test_a_deleted_champion_is_told(store):
    client_of(store).delete_model_version(NAME, "1")
    with pytest.raises(ValueError, match="there is no champion of aelif-miniature"):
        call(store, "rollback", NAME, "--expect", "1")
    with pytest.raises(ValueError, match="no such alias; its version may have been deleted"):
        call(store, "compare", NAME, "champion", "2")
    with pytest.raises(ValueError, match="measured against version 1, which is champion no more"):
        call(store, "promote", NAME, "2")


def test_a_folder_without_a_store_is_told_and_stays_empty(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match=r"mlflow.db: no MLflow store there; name its folder by --store"):
        call(tmp_path, "history", NAME)
    with pytest.raises(ValueError, match="no MLflow store there"):
        call(None, "history", NAME, "--tracking-uri", f"sqlite:///{tmp_path}/other.db")
    assert list(tmp_path.iterdir()) == []


def test_nobody_at_the_keyboard_is_told(store, monkeypatch):
    import getpass

    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    with pytest.raises(ValueError, match="give --by NAME"):
        call(store, "promote", NAME, "2")


@pytest.mark.parametrize("name", ["promote", "rollback", "history", "compare"])
def test_help_teaches_by_example(name):
    shown = call(None, name, "--help").stdout
    assert f"aelif {name} aelif-miniature" in shown
