"""Import the part of a heavy library that a step needs: a step's start is paid once per trial.

Measured on one core: open_clip in full takes 3.4 s of CPU on top of torch (timm, transformers,
torchvision with torch._dynamo), its `CLIP` class alone 0.03 s; POT 2.9 s with torch, 0.8 s without.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent_modules(*names: str) -> Iterator[None]:
    """Make modules look uninstalled, so that libraries which can do without them do.

    Modules that are loaded already stay as they are.
    """
    finder = _Absent(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Absent:
    """Import hook that finds nothing; `None` in `sys.modules` would do the same, but scipy looks in there."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextmanager
def bare_packages(*names: str) -> Iterator[None]:
    """Let submodules of packages be imported without running the packages' own `__init__`.

    Everything loaded below these packages is forgotten afterwards (objects in use stay alive), so
    that a later plain import gets the whole library. Packages that are loaded already stay as they are.
    """
    before = set(sys.modules)
    for name in names:
        if name not in sys.modules:
            spec = importlib.util.find_spec(name)
            if spec is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        yield
    finally:
        roots = {name.partition(".")[0] for name in names} - before
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in roots:
                del sys.modules[name]
