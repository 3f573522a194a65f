"""The template engine of the pages."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from aelif.report.wording import distance, percent, share


def environment() -> Environment:
    """Return the template engine; everything it inserts is escaped, unknown names are errors."""
    engine = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters["breakable"] = _breakable
    engine.filters["distance"] = distance
    engine.filters["percent"] = percent
    engine.filters["share"] = share
    return engine


def _breakable(name: str) -> Markup:
    """Return a variant's name that breaks where a person would break it: before a setting, else after ``_``."""
    first, *settings = (str(Markup.escape(part)) for part in re.split(r"(?=[@+])", name))
    return Markup(first.replace("_", "_<wbr>") + "".join(f'<span class="part">{part}</span>' for part in settings))
