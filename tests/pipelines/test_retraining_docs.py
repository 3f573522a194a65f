"""docs/retraining.md names every setting, and its commands parse."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest
import typer

from aelif.config import GateConfig
from aelif.config.gate import FamilyLimit
from aelif.notify import headline
from aelif_pipelines.commands import registry, run, schedule, stack

PAGE = (Path(__file__).parents[2] / "docs" / "retraining.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = [
    line.split(" # ")[0].strip()
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("aelif ")
]


def cli() -> click.Group:
    app = typer.Typer()
    app.command()(run.run)
    for command in (registry.promote, registry.rollback, registry.history, registry.compare):
        app.command()(command)
    app.add_typer(schedule.app, name="schedule")
    app.add_typer(stack.app, name="stack")
    return typer.main.get_command(app)


@pytest.mark.parametrize("field", [*fields(GateConfig), *fields(FamilyLimit)], ids=lambda field: field.name)
def test_every_threshold_is_explained(field):
    assert f"`{field.name}`" in PAGE


def test_defaults_are_those_of_the_gate():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", PAGE, flags=re.MULTILINE))
    for field in fields(GateConfig):
        default = getattr(GateConfig(), field.name)
        assert rows[field.name] == ("none" if default == () else str(default))


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_exists_with_its_options(line):
    words, command = shlex.split(line)[1:], cli()
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("aelif", words)


def test_the_notice_shown_is_what_is_sent():
    shown = re.search(r'"text": "(.*?)",', PAGE)[1]
    facts = {"model": "aelif-miniature", "version": "4", "verdict": "rejected",
             "reasons": "the clean distance 1.214 is above max_clean_distance = 1."}  # fmt: skip
    assert headline(facts) == shown
