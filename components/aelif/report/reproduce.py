"""A run's settings and what identifies it, as tables of names and texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

UNSET = "none"
"""How a setting without value is shown."""

_OWN_TABLES = ("digests", "versions", "timings")


def setting_tables(settings: Mapping[str, Any], summary: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return (title, rows) of the settings and of what identifies the run."""
    own = {key: value for key, value in settings.items() if key not in (*_OWN_TABLES, "command")}
    tables = [("Settings", list(flatten(own)))]
    for name in _OWN_TABLES:
        merged = {**(summary.get(name) or {}), **(settings.get(name) or {})}
        tables.append((name.capitalize(), list(flatten(merged))))
    return [table for table in tables if table[1]]


def flatten(settings: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) of nested settings; lists of plain values stay on one line."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(settings, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in settings):
        for index, item in enumerate(settings):
            yield from flatten(item, f"{prefix}[{index}]")
    elif isinstance(settings, (list, tuple)):
        yield prefix, ", ".join(_plain(item) for item in settings)
    else:
        yield prefix, _plain(settings)


def _plain(value: Any) -> str:
    """Return a setting as a person writes it: kfp makes whole numbers floats on their way."""
    if value is None:
        return UNSET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
