from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from aelif.registry.promote import champion, number, promote, register_once, rollback
from aelif.registry.retention import disposable, retain

NAME = "aelif-miniature"


@pytest.fixture
def register(client, tmp_path):
    """Register a version whose files lie below its run; return it."""
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "files").as_uri())

    def make(key, *, name=NAME, weights=None, running=False, **tags):
        run = client.create_run(experiment)
        path = f"model/{(weights or key) * 16}"[: len("model/") + 16]
        (tmp_path / "weights").write_text(key)
        client.log_artifact(run.info.run_id, str(tmp_path / "weights"), path)
        if not running:
            client.set_terminated(run.info.run_id)
        source = f"{run.info.artifact_uri}/{path}"
        return register_once(client, name, source, run_id=run.info.run_id, key=key, tags=tags)

    return make


def numbers(client):
    return sorted(int(version.version) for version in client.search_model_versions(f"name = '{NAME}'"))


def files_of(version) -> Path:
    return Path(version.source.removeprefix("file://"))


def test_the_newest_stay_and_the_files_of_the_others_go(client, register):
    versions = [register(key) for key in "abcd"]
    assert retain(client, NAME, keep=2).deleted == ("1", "2")
    assert numbers(client) == [3, 4]
    assert [files_of(version).exists() for version in versions] == [False, False, True, True]
    assert retain(client, NAME, keep=2).deleted == ()


def test_the_champion_and_all_before_it_stay(client, register):
    held = None
    for key in "abcd":
        version = register(key)
        promote(client, NAME, version, reasons=["better"], against=held)
        held = str(version.version)
    for key in "ef":
        register(key)
    assert retain(client, NAME, keep=1).deleted == ("5",)
    assert numbers(client) == [1, 2, 3, 4, 6]
    for expect, target in (("4", "3"), ("3", "2"), ("2", "1")):
        assert number(rollback(client, NAME, expect=expect)) == target


def test_who_waits_has_another_alias_or_is_a_base_stays(client, register):
    register("a")
    client.set_registered_model_alias(NAME, "shop-window", "1")
    register("b", **{"gate.verdict": "waiting"})
    register("c")
    register("d")
    register("e", name="other", **{"base.uri": f"models:/{NAME}/3"})
    client.create_model_version(NAME, "s3://someone/else")  # not ours
    register("f", running=True)
    register("0")
    assert retain(client, NAME, keep=1).deleted == ("4",)
    assert numbers(client) == [1, 2, 3, 5, 6, 7]


def test_shared_files_stay_as_long_as_anyone_has_them(client, register):
    first = register("a")
    source, run_id = first.source, first.run_id
    register_once(client, NAME, source, run_id=run_id, key="again", tags={})
    register("c")
    assert retain(client, NAME, keep=2).deleted == ("1",)
    assert files_of(first).exists()
    assert retain(client, NAME, keep=1).deleted == ("2",)
    assert not files_of(first).exists()


def test_what_lies_elsewhere_is_not_touched(client, register, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    run = client.create_run("1")
    client.set_terminated(run.info.run_id)
    register_once(client, NAME, mine.as_uri(), run_id=run.info.run_id, key="k", tags={})
    register("b")
    assert retain(client, NAME, keep=1).deleted == ("1",)
    assert mine.is_dir()


def test_another_process_may_delete_first(client, register, monkeypatch):
    for key in "abc":
        register(key)
    original = MlflowClient.delete_model_version

    def overtaken(self, name, version):
        original(self, name, version)
        return original(self, name, version)

    monkeypatch.setattr(MlflowClient, "delete_model_version", overtaken)
    assert retain(client, NAME, keep=1).deleted == ()
    assert numbers(client) == [3]


def test_an_alias_set_in_the_meantime_protects(client, register, monkeypatch):
    for key in "abc":
        register(key)
    original = MlflowClient.get_run

    def promote_first(self, run_id):
        monkeypatch.setattr(MlflowClient, "get_run", original)
        client.set_registered_model_alias(NAME, "champion", "2")
        return original(self, run_id)

    monkeypatch.setattr(MlflowClient, "get_run", promote_first)
    assert retain(client, NAME, keep=1).deleted == ("1",)
    assert number(champion(client, NAME)) == "2"


def test_files_that_cannot_be_deleted_are_told(client, register, monkeypatch):
    from aelif.registry import retention

    def refuse(*_arguments, **_named):
        raise MlflowException("the store says no\nand more")

    for key in "ab":
        register(key)
    monkeypatch.setattr(retention, "get_artifact_repository", refuse)
    done = retain(client, NAME, keep=1)
    assert done.deleted == ("1",)
    assert len(done.leftovers) == 1
    assert "version 1 was deleted, but not its files in" in done.leftovers[0]
    assert done.leftovers[0].endswith("the store says no")


def made_up(version: int, tags: dict[str, str]) -> ModelVersion:
    made = ModelVersion(NAME, version, 0, status="READY")
    for key, value in {"candidate.key": "k", **tags}.items():
        made.tags[key] = value
    return made


@given(
    waiting=st.sets(st.integers(1, 20)),
    aliased=st.dictionaries(st.sampled_from(["champion", "challenger", "x"]), st.integers(1, 20).map(str)),
    before=st.lists(st.integers(1, 20).map(str), unique=True, max_size=10),
    keep=st.integers(1, 25),
)
def test_nothing_that_is_needed_is_disposable(waiting, aliased, before, keep):
    held = aliased.get("champion", "0")
    versions = [
        made_up(version, ({"gate.verdict": "waiting"} if version in waiting else {})
                | ({"champion.before": ", ".join(before)} if str(version) == held and before else {}))
        for version in range(20, 0, -1)
    ]  # fmt: skip
    gone = {int(version.version) for version in disposable(versions, aliases=aliased, keep=keep)}
    needed = set(range(21 - keep, 21)) | waiting | {int(version) for version in aliased.values()}
    needed |= {int(version) for version in before} if "champion" in aliased else set()
    assert gone == set(range(1, 21)) - needed
