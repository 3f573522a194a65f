"""From an exception to one line and an exit code: 2 for usage, 1 for failure."""

from __future__ import annotations

from rich.markup import escape


class CommandError(Exception):
    """What was asked could not be done; the message says why and what to do, and needs no traceback."""


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and the line to print (rich markup)."""
    if isinstance(error, ValueError):
        return 2, escape(str(error))
    if isinstance(error, CommandError):
        return 1, escape(str(error))
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    return 1, escape(line) + " (add --debug for the traceback)"
