from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aelif.imports import absent_modules, bare_packages


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package whose `__init__` must not run, with a light and a heavy module."""
    folder = tmp_path / "heavy_example"
    folder.mkdir()
    (folder / "__init__.py").write_text("WHOLE = True\nfrom heavy_example import light\n")
    (folder / "light.py").write_text("try:\n    import colorsys\nexcept ImportError:\n    colorsys = None\nVALUE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.startswith("heavy_example")]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_submodule_without_its_package_and_then_the_whole():
    with bare_packages("heavy_example"):
        from heavy_example import light

        assert light.VALUE == 1
        assert not hasattr(sys.modules["heavy_example"], "WHOLE")
    assert not any(name.startswith("heavy_example") for name in sys.modules)
    import heavy_example

    assert heavy_example.WHOLE
    assert heavy_example.light is not light
    with bare_packages("heavy_example"):
        pass
    assert sys.modules["heavy_example"] is heavy_example


@pytest.mark.usefixtures("package")
def test_absent_modules_come_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with absent_modules("colorsys", "json"):
        import json

        from heavy_example import light

        assert json.dumps([]) == "[]", "what is loaded already stays"
    assert light.colorsys is None
    import colorsys

    assert colorsys.rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_unknown_package():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), bare_packages("no_such_package"):
        pass
