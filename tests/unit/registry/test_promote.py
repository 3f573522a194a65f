import pytest
from mlflow import MlflowClient

from aelif.registry.promote import champion, promote, register_once, rollback

NAME = "aelif-miniature"
WRITES = (
    "create_registered_model",
    "create_model_version",
    "set_model_version_tag",
    "set_registered_model_alias",
    "delete_model_version",
)


class CrashError(Exception):
    pass


@pytest.fixture
def registry(client):
    run = client.create_run(client.create_experiment("e"))

    def register(key):
        source = f"{run.info.artifact_uri}/model/{key}"
        tags = {"weights.sha256": key}
        return register_once(client, NAME, source, run_id=run.info.run_id, key=f"job:{key}", tags=tags)

    return register


def crown(client, version, against):
    return promote(client, NAME, version, reasons=("better",), against=against)


def crash_before(monkeypatch, number):
    """Let the writing call of that number, counted from 0, fail before it does anything."""
    done = []

    def wrap(original):
        def call(self, *arguments, **named):
            done.append(1)
            if len(done) == number + 1:
                raise CrashError
            return original(self, *arguments, **named)

        return call

    for name in WRITES:
        monkeypatch.setattr(MlflowClient, name, wrap(getattr(MlflowClient, name)))


def alias(client):
    current = champion(client, NAME)
    return current and str(current.version)


def test_there_is_no_champion_at_first(client, registry):
    assert champion(client, NAME) is None
    registry("a")
    assert champion(client, NAME) is None


def test_a_key_has_one_version(client, registry):
    assert str(registry("a").version) == str(registry("a").version) == "1"
    assert str(registry("b").version) == "2"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2


def test_of_two_racing_registrations_the_lowest_stays(client, registry, monkeypatch):
    original = MlflowClient.create_model_version

    def overtaken(self, name, source, **named):
        monkeypatch.setattr(MlflowClient, "create_model_version", original)
        original(self, name, source, **named)
        return original(self, name, source, **named)

    client.create_registered_model(NAME)
    monkeypatch.setattr(MlflowClient, "create_model_version", overtaken)
    assert str(registry("a").version) == "1"
    assert [str(v.version) for v in client.search_model_versions(f"name = '{NAME}'")] == ["1"]


def test_promotion_says_why_and_whom_it_replaced(client, registry):
    crown(client, registry("a"), None)
    crown(client, registry("b"), "1")
    tags = client.get_model_version(NAME, "2").tags
    assert alias(client) == "2"
    assert client.get_model_version_by_alias(NAME, "champion").tags["candidate.key"] == "job:b"
    assert (tags["gate.verdict"], tags["gate.reasons"], tags["champion.replaced"]) == ("passed", "better", "1")


def test_a_verdict_against_a_former_champion_is_refused(client, registry):
    crown(client, registry("a"), None)
    with pytest.raises(RuntimeError, match=r"champion is version 1, the verdict fell against None"):
        crown(client, registry("b"), None)
    assert alias(client) == "1"


def test_rollback_and_a_late_retry_that_must_not_undo_it(client, registry):
    crown(client, registry("a"), None)
    second = registry("b")
    crown(client, second, "1")
    assert str(rollback(client, NAME, expect="2").version) == "1"
    crown(client, second, "1")
    assert alias(client) == "1"


def test_rollback_names_what_it_expects(client, registry):
    with pytest.raises(RuntimeError, match="champion is version None"):
        rollback(client, NAME, expect="1")
    crown(client, registry("a"), None)
    with pytest.raises(RuntimeError, match="champion is version 1, not 7"):
        rollback(client, NAME, expect="7")
    with pytest.raises(RuntimeError, match="first champion"):
        rollback(client, NAME, expect="1")


def test_deleting_the_champion_leaves_none(client, registry):
    crown(client, registry("a"), None)
    client.delete_model_version(NAME, "1")
    assert champion(client, NAME) is None
    crown(client, registry("a"), None)
    assert alias(client) == "2"


@pytest.mark.parametrize("number", range(6))
def test_a_crash_before_any_write_of_a_promotion_is_made_good(client, registry, monkeypatch, number):
    crown(client, registry("a"), None)
    with monkeypatch.context() as patch:
        crash_before(patch, number)  # create_registered_model, version, three tags, alias
        with pytest.raises(CrashError):
            crown(client, registry("b"), "1")
        assert alias(client) == "1"

    crown(client, registry("b"), "1")

    assert alias(client) == "2"
    assert client.get_model_version(NAME, "2").tags["champion.replaced"] == "1"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2


@pytest.mark.parametrize("number", range(2))
def test_a_crash_before_any_write_of_a_rollback_is_made_good(client, registry, monkeypatch, number):
    crown(client, registry("a"), None)
    second = registry("b")
    crown(client, second, "1")
    with monkeypatch.context() as patch:
        crash_before(patch, number)
        with pytest.raises(CrashError):
            rollback(client, NAME, expect="2")
        assert alias(client) == "2"

    rollback(client, NAME, expect="2")
    crown(client, second, "1")

    assert alias(client) == "1"
