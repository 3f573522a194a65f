import pytest
from mlflow import MlflowClient

from aelif.registry.by_hand import promote_by_hand
from aelif.registry.promote import (
    CHALLENGER,
    aliased,
    challenge,
    champion,
    number,
    promote,
    register_once,
    reject,
    rollback,
)

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


def crash_before(monkeypatch, count):
    """Let the writing call of that number, counted from 0, fail before it does anything."""
    done = []

    def wrap(original):
        def call(self, *arguments, **named):
            done.append(1)
            if len(done) == count + 1:
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
    with pytest.raises(RuntimeError, match=r"version 1 is champion, the verdict fell against no champion.*run again"):
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
    with pytest.raises(ValueError, match="expect = '1': there is no champion"):
        rollback(client, NAME, expect="1")
    crown(client, registry("a"), None)
    with pytest.raises(ValueError, match="expect = '7': version 1 is champion"):
        rollback(client, NAME, expect="7")
    with pytest.raises(ValueError, match="first champion"):
        rollback(client, NAME, expect="1")


def test_a_rollback_that_is_repeated_says_who_is_champion(client, registry):
    crown(client, registry("a"), None)
    crown(client, registry("b"), "1")
    for _ in range(2):
        assert number(rollback(client, NAME, expect="2", by="ada")) == "1"
    assert client.get_model_version(NAME, "2").tags["rolled-back.by"] == "ada"
    crown(client, registry("c"), "1")
    with pytest.raises(ValueError, match="expect = '2': version 3 is champion"):
        rollback(client, NAME, expect="2")


def test_rollback_goes_past_the_deleted_and_the_rolled_back(client, registry):
    crown(client, registry("a"), None)
    crown(client, registry("b"), "1")
    crown(client, registry("c"), "2")
    rollback(client, NAME, expect="3")
    crown(client, registry("d"), "2")
    client.delete_model_version(NAME, "2")
    assert number(rollback(client, NAME, expect="4")) == "1"
    with pytest.raises(ValueError, match="first champion"):
        rollback(client, NAME, expect="1")


def test_two_versions_that_replaced_each_other_are_no_circle(client, registry):
    crown(client, registry("a"), None)
    crown(client, registry("b"), "1")
    promote_by_hand(client, NAME, "1", by="ada", force=True, reason="2 is ugly")
    assert number(rollback(client, NAME, expect="1")) == "2"
    with pytest.raises(ValueError, match="all before it are gone or rolled back"):
        rollback(client, NAME, expect="2")


def test_whoever_comes_between_is_noticed(client, registry, monkeypatch):
    """MLflow cannot compare and swap: the champion is read again just before the alias moves."""
    crown(client, registry("a"), None)
    second, third = registry("b"), registry("c")
    original = MlflowClient.set_model_version_tag

    def overtaken(self, *arguments):
        monkeypatch.setattr(MlflowClient, "set_model_version_tag", original)
        client.set_registered_model_alias(NAME, "champion", str(third.version))
        return original(self, *arguments)

    monkeypatch.setattr(MlflowClient, "set_model_version_tag", overtaken)
    with pytest.raises(RuntimeError, match="version 3 is champion, the verdict fell against version 1"):
        crown(client, second, "1")
    assert alias(client) == "3"


def test_whoever_comes_after_is_noticed(client, registry, monkeypatch):
    first, second = registry("a"), registry("b")
    original = MlflowClient.set_registered_model_alias

    def overtaken(self, *arguments):
        original(self, *arguments)
        original(self, NAME, "champion", str(second.version))

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", overtaken)
    with pytest.raises(RuntimeError, match="at the same moment 2; look at both"):
        crown(client, first, None)


def test_a_person_accepts_the_challenger(client, registry):
    crown(client, registry("a"), None)
    challenge(client, NAME, registry("b"), reasons=["better"], against="1")
    assert number(aliased(client, NAME, CHALLENGER)) == "2"
    for _ in range(2):
        assert number(promote_by_hand(client, NAME, CHALLENGER if _ == 0 else "2", by="ada")) == "2"
    tags = client.get_model_version(NAME, "2").tags
    assert (tags["gate.verdict"], tags["approved.by"], tags["champion.replaced"]) == ("passed", "ada", "1")
    assert aliased(client, NAME, CHALLENGER) is None


def test_what_may_not_be_promoted_without_force(client, registry):
    crown(client, registry("a"), None)
    challenge(client, NAME, registry("b"), reasons=["better"], against=None)
    reject(client, NAME, registry("c"), reasons=["too far off"], against="1")
    challenge(client, NAME, registry("d"), reasons=["better"], against="1")
    registry("e")
    cases = {
        "2": "never measured against the champion, version 1",
        "3": r"version 3 of aelif-miniature was rejected \(too far off\)",
        "5": "the gate never judged version 5",
    }
    for version, told in cases.items():
        with pytest.raises(ValueError, match=f"version = '{version}': .*{told}.*--force --reason.*aelif run retrain"):
            promote_by_hand(client, NAME, version, by="ada")
    promote_by_hand(client, NAME, "3", by="ada", force=True, reason="I like it")
    with pytest.raises(ValueError, match="measured against version 1, not against the champion, version 3"):
        promote_by_hand(client, NAME, "4", by="ada")


def test_force_says_who_and_why_and_works_on_what_was_rolled_back(client, registry):
    crown(client, registry("a"), None)
    second = registry("b")
    crown(client, second, "1")
    rollback(client, NAME, expect="2")
    with pytest.raises(ValueError, match="was rolled-back"):
        promote_by_hand(client, NAME, "2", by="ada")
    with pytest.raises(ValueError, match="reason = ''"):
        promote_by_hand(client, NAME, "2", by="ada", force=True)
    with pytest.raises(ValueError, match="by = ' '"):
        promote_by_hand(client, NAME, "2", by=" ", force=True, reason="it was right")
    promote_by_hand(client, NAME, "2", by="ada", force=True, reason="it was right")
    tags = client.get_model_version(NAME, "2").tags
    assert (tags["gate.verdict"], tags["forced.by"], tags["forced.reason"]) == ("forced", "ada", "it was right")
    challenge(client, NAME, second, reasons=["late retry"], against="1")
    reject(client, NAME, second, reasons=["late retry"], against="1")
    assert client.get_model_version(NAME, "2").tags["gate.verdict"] == "forced"


@pytest.mark.parametrize(
    ("name", "version", "told"),
    [
        ("aelif-minature", "1", "did you mean 'aelif-miniature'"),
        ("team/model", "1", "without '/'"),
        ("it's", "1", "without '/'"),
        ("", "1", "name alone"),
        (NAME, "7", "version = '7': aelif-miniature has no such version; known: 1"),
        (NAME, "champion", "has no such alias; its version may have been deleted; known: challenger .version 1."),
        (NAME, "prod", "version = 'prod': aelif-miniature has no such alias; known: challenger"),
        (NAME, "latest", "MLflow reserves that word"),
        (NAME, "v1", "write the number alone"),
        (NAME, "99999999999999999999", "no such version"),
    ],
)
def test_addresses_that_lead_nowhere(client, registry, name, version, told):
    challenge(client, NAME, registry("a"), reasons=["better"], against=None)
    with pytest.raises(ValueError, match=told):
        promote_by_hand(client, name, version, by="ada")


def test_a_store_without_models_says_so(client):
    with pytest.raises(ValueError, match="no model is registered in this store"):
        promote_by_hand(client, NAME, "1", by="ada")


def test_deleting_the_champion_leaves_none(client, registry):
    crown(client, registry("a"), None)
    client.delete_model_version(NAME, "1")
    assert champion(client, NAME) is None
    crown(client, registry("a"), None)
    assert alias(client) == "2"


@pytest.mark.parametrize("count", range(9))
def test_a_crash_before_any_write_of_a_promotion_is_made_good(client, registry, monkeypatch, count):
    crown(client, registry("a"), None)
    with monkeypatch.context() as patch:
        crash_before(patch, count)  # create_registered_model, version, six tags, alias
        with pytest.raises(CrashError):
            crown(client, registry("b"), "1")
        assert alias(client) == "1"

    crown(client, registry("b"), "1")

    assert alias(client) == "2"
    assert client.get_model_version(NAME, "2").tags["champion.replaced"] == "1"
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2


@pytest.mark.parametrize("count", range(4))
def test_a_crash_before_any_write_of_a_rollback_is_made_good(client, registry, monkeypatch, count):
    crown(client, registry("a"), None)
    second = registry("b")
    crown(client, second, "1")
    with monkeypatch.context() as patch:
        crash_before(patch, count)  # three tags, alias
        with pytest.raises(CrashError):
            rollback(client, NAME, expect="2", by="ada")
        assert alias(client) == "2"

    rollback(client, NAME, expect="2", by="ada")
    crown(client, second, "1")

    assert alias(client) == "1"
