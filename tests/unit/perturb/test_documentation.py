"""The table of families in the documentation shows what the families do."""

import re
from pathlib import Path

import pytest

from aelif.config import FAMILIES
from aelif.perturb import Scope
from aelif.perturb.human import has_codespell
from aelif.perturb.plan import preview

PAGE = Path(__file__).parents[3] / "docs" / "perturbations.md"
PROMPT = "a photo of sks backpack sitting on a table"


@pytest.mark.skipif(not has_codespell(), reason="the optional package codespell is not installed")
def test_every_example_is_what_the_family_makes():
    written = dict(re.findall(r"^\| `(\w+)` \|.*\|.*\| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    rows = preview(PROMPT, families=FAMILIES, scope=Scope(subject="sks backpack"))
    made = {row["family"]: row["prompt"] for row in rows[1:]}
    made.pop("codespell"), written.pop("codespell")  # its version decides
    assert {family: written.get(family) for family in made} == made
