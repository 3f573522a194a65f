"""Between dataclasses and plain values, and the one kind of error that all settings use."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """Return a hint naming the closest known word, or all of them where none is close."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def require(condition: bool, field_name: str, value: object, remedy: str) -> None:
    """Raise the one kind of error that all settings use.

    Raises:
        ValueError: if `condition` is false; names the field, its value and the remedy.
    """
    if not condition:
        raise ValueError(f"{field_name} = {value!r}: {remedy}")


Section = TypeVar("Section")


def to_dict(config: Any) -> Any:
    """Return plain dicts, lists, strings and numbers, as `from_dict` reads them (what has a `parse`, as text)."""
    if hasattr(config, "parse"):
        return str(config)
    if dataclasses.is_dataclass(config):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, (tuple, list)):
        return [to_dict(item) for item in config]
    return config


def from_dict(section: type[Section], values: dict[str, Any], *, path: str = "") -> Section:
    """Build a config from plain values; numbers that JSON made floats become integers again.

    Args:
        section: the dataclass to build.
        values: field → value; nested sections as dicts.
        path: where the values stand in the file, for error messages ("train.").

    Raises:
        ValueError: for an unknown key (with the nearest known one), a missing one, or a wrong type.
    """
    hints = get_type_hints(section)
    for key in values:
        if key not in hints:
            raise ValueError(f"{path}{key}: no such setting; {nearest(key, hints)}")
    fields = dataclasses.fields(typing.cast(Any, section))
    required = (f for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
    for missing in (f.name for f in required if f.name not in values):
        raise ValueError(f"{path}{missing}: this setting is required")
    return section(**{key: _convert(value, hints[key], f"{path}{key}") for key, value in values.items()})


def _convert(value: Any, hint: Any, path: str) -> Any:
    """Return `value` as the annotated type `hint`, or raise a ValueError that names `path`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), path)
    if origin is Literal:
        require(value in arguments, path, value, nearest(str(value), map(str, arguments)))
        return value
    if origin is tuple:
        require(isinstance(value, (list, tuple)), path, value, "give a list")
        return tuple(_convert(item, arguments[0], path) for item in value)
    if hasattr(hint, "parse"):
        return value if isinstance(value, hint) else hint.parse(str(value))
    if dataclasses.is_dataclass(hint):
        require(isinstance(value, dict), path, value, "give a table of settings")
        return from_dict(typing.cast(type, hint), value, path=f"{path}.")
    if hint is bool:
        require(isinstance(value, bool), path, value, "give true or false")
        return value
    if hint is int:
        is_whole = isinstance(value, (int, float)) and not isinstance(value, bool) and float(value).is_integer()
        require(is_whole, path, value, "give a whole number")
        return int(value)
    if hint is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(is_number, path, value, "give a number")
        return float(value)
    require(isinstance(value, str), path, value, "give text")
    return value
