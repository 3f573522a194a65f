"""Ends the repetitions of a step that would fail again.

What is repeated is Argo's to say: by itself, each step whose container failed, whatever the reason; with the default
that Kubeflow installs from 2.17 on, only one whose pod was deleted or did not start; with the policy Always, both.
Right where a node was lost or a server away, it is a waste of GPU hours where a photo is damaged or a training
diverges. Such a failure leaves a note on the shared volume, and the next attempt fails at once in the same words.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aelif.artifacts import digest_of, read_json, write_json

ATTEMPT_VARIABLE = "KFP_RETRY_INDEX"
"""Set by Kubeflow, from 0, where a step may be repeated."""
LASTING = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    ImportError,
    NotImplementedError,
)
"""Errors that lie in the input or in the code. Others may be the machine's: OSError, MemoryError, those of servers."""


class RepeatedError(ValueError):
    """An earlier attempt has failed, for a reason that lasts; the message is its own."""


@contextmanager
def no_vain_repetition(folder: Path, run_key: str, step: str, label: str) -> Iterator[None]:
    """Note why a step failed for good, and end its next attempt before it does any work.

    Args:
        folder: on a volume that every attempt sees.
        run_key: names the execution.
        step: name of the step.
        label: which trial or shard.

    Raises:
        RepeatedError: if an earlier attempt failed for a reason that lasts.
    """
    attempt = os.environ.get(ATTEMPT_VARIABLE, "")
    if not attempt.isdigit() or not run_key:  # nobody repeats it
        yield
        return
    note = _notes(folder, run_key) / f"{digest_of([step, label])[:16]}.json"
    if int(attempt) == 0:
        note.unlink(missing_ok=True)  # of a run that was retried as a whole
    elif note.is_file():
        raise RepeatedError(f"{read_json(note)['error']} (attempt {int(attempt) + 1} ended at once: the first one "
                            "failed for this reason, which lasts)")  # fmt: skip
    try:
        yield
    except LASTING as error:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_json(note, {"step": step, "label": label, "error": str(error) or type(error).__name__})
        raise


def forget_failures(folder: Path, run_key: str) -> None:
    """Delete the notes of an execution, at its end."""
    if run_key:
        shutil.rmtree(_notes(folder, run_key), ignore_errors=True)


def _notes(folder: Path, run_key: str) -> Path:
    return folder / "failures" / digest_of(run_key)[:16]
