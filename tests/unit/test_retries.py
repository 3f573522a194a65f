"""A step that would fail again is not repeated in earnest; one whose pod was lost is."""

from pathlib import Path

import pytest

from aelif.retries import ATTEMPT_VARIABLE, RepeatedError, forget_failures, no_vain_repetition


def attempt(folder: Path, error: Exception | None, *, step: str = "train", label: str = "baseline/seed=0") -> None:
    with no_vain_repetition(folder, "run-1", step, label):
        if error is not None:
            raise error


@pytest.fixture
def nth(monkeypatch: pytest.MonkeyPatch):
    return lambda number: monkeypatch.setenv(ATTEMPT_VARIABLE, str(number))


@pytest.mark.parametrize(
    "error", [ValueError("photo.png is damaged"), FloatingPointError("it diverged"), KeyError("x")]
)
def test_a_lasting_failure_ends_the_next_attempt_in_its_own_words(tmp_path: Path, nth, error: Exception) -> None:
    nth(0)
    with pytest.raises(type(error)):
        attempt(tmp_path, error)
    nth(1)
    worked = False
    with pytest.raises(RepeatedError) as raised, no_vain_repetition(tmp_path, "run-1", "train", "baseline/seed=0"):
        worked = True
    assert not worked
    assert str(error) in str(raised.value)


@pytest.mark.parametrize(
    "error", [ConnectionError("S3 is away"), MemoryError(), OSError(28, "disk full"), RuntimeError()]
)
def test_what_may_pass_is_tried_again(tmp_path: Path, nth, error: Exception) -> None:
    nth(0)
    with pytest.raises(type(error)):
        attempt(tmp_path, error)
    nth(1)
    attempt(tmp_path, None)


def test_only_the_step_itself_is_stopped(tmp_path: Path, nth) -> None:
    nth(0)
    with pytest.raises(ValueError, match="damaged"):
        attempt(tmp_path, ValueError("damaged"))
    nth(1)
    attempt(tmp_path, None, label="aelif_mask:0.3/seed=0")
    attempt(tmp_path, None, step="embed")
    with no_vain_repetition(tmp_path, "run-2", "train", "baseline/seed=0"):
        pass


def test_a_run_that_is_tried_again_as_a_whole_starts_anew(tmp_path: Path, nth) -> None:
    nth(0)
    with pytest.raises(ValueError, match="damaged"):
        attempt(tmp_path, ValueError("damaged"))
    nth(0)
    with pytest.raises(ConnectionError):
        attempt(tmp_path, ConnectionError("away"))
    nth(1)
    attempt(tmp_path, None)


def test_nothing_is_written_where_nobody_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ATTEMPT_VARIABLE, raising=False)
    with pytest.raises(ValueError, match="damaged"):
        attempt(tmp_path, ValueError("damaged"))
    assert not list(tmp_path.iterdir())


def test_notes_go_with_the_run(tmp_path: Path, nth) -> None:
    nth(0)
    with pytest.raises(ValueError, match="damaged"):
        attempt(tmp_path, ValueError("damaged"))
    forget_failures(tmp_path, "run-2")
    assert list(tmp_path.rglob("*.json"))
    forget_failures(tmp_path, "run-1")
    assert not list(tmp_path.rglob("*.json"))
