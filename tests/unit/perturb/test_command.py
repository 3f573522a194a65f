"""`aelif perturb`: the table, without and with measures."""

from pathlib import Path

import pytest
from rich.console import Console
from tests.tiny import write_tiny_sdxl
from typer.testing import CliRunner

from aelif.perturb.plan import preview
from aelif_pipelines.cli import app
from aelif_pipelines.outcome import print_perturbed


def printed(rows, *, colours: bool, reader: str = "") -> str:
    console = Console(width=160, force_terminal=colours, color_system="standard" if colours else None)
    with console.capture() as captured:
        print_perturbed(console, rows, reader=reader)
    return captured.get()


def test_edits_are_marked_without_colours_and_with_them():
    rows = preview("a photo of dog", families=["paper", "word_swap", "tense"], draws=1)
    plain, coloured = printed(rows, colours=False), printed(rows, colours=True)
    lost = rows[1]["edits"][0]
    assert f"a {'photo'[: lost['start'] - 2]}[]{'photo'[lost['start'] - 1 :]} of dog" in plain
    assert "4.2%" not in plain
    assert "7.1%" in plain  # one of 14
    assert "tense" in plain
    assert "cannot be perturbed: The prompt has no verb to change." in plain
    assert "[]" not in coloured
    assert f"\x1b[9;31m{lost['before']}" in coloured


def test_markup_in_a_prompt_is_text():
    assert "[bold]x[/bold]" in printed(preview("[bold]x[/bold] a", families=["filler"]), colours=False).splitlines()[0]


@pytest.mark.parametrize("flags", [["--no-measure"], ["--base-model", "none"]])
def test_without_measures_no_model_is_read(flags):
    command = ["perturb", "a photo of sks dog", "--family", "held_out", "--draws", "1", "--target", "sks dog", *flags]
    done = CliRunner().invoke(app, [*command, "--subject", "sks dog"])
    assert done.exit_code == 0, done.output
    assert "cosine" not in done.output
    assert all(family in done.output for family in ("ocr", "keyboard_dvorak", "tense", "cannot be perturbed"))


def test_measures_name_the_model_that_reads(tmp_path: Path):
    base = write_tiny_sdxl(tmp_path / "base")
    done = CliRunner().invoke(app, ["perturb", "a photo of sks dog", "--family", "swap", "--base-model", str(base)])
    assert done.exit_code == 0, done.output
    assert "cosine" in done.output
    assert "text encoders of" in " ".join(done.output.split())


def test_a_word_that_the_prompt_lacks_is_named():
    done = CliRunner().invoke(app, ["perturb", "a photo", "--target", "sks", "--no-measure"])
    assert str(done.exception) == "target = 'sks': the prompt 'a photo' does not hold it"
