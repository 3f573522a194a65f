"""Crontab lines that run, units that systemd accepts, and the shipped examples."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aelif_pipelines.commands.schedule import app
from aelif_pipelines.local_schedule import LocalJob, crontab_line, on_calendar, service_unit, timer_unit

SHIPPED = Path(__file__).parents[2] / "manifests" / "local"
EXAMPLE = LocalJob(
    name="aelif-retrain",
    cron="0 3 * * *",
    command=(
        "/opt/aelif/.venv/bin/aelif", "run", "retrain", "--config", "retrain.yaml", "--output", "outputs/nightly",
    ),
    folder=Path("/srv/aelif"),
)  # fmt: skip


def test_the_shipped_examples_are_what_the_command_prints():
    assert (SHIPPED / "aelif-retrain.service").read_text() == service_unit(EXAMPLE)
    assert (SHIPPED / "aelif-retrain.timer").read_text() == timer_unit(EXAMPLE)
    lines = (SHIPPED / "crontab").read_text().splitlines()
    assert lines[-1] == crontab_line(EXAMPLE)
    assert all(line.startswith("#") for line in lines[:-1])


def job_in(folder: Path, script: str, *arguments: str) -> LocalJob:
    program = folder / "program"
    program.write_text(f"#!{sys.executable}\nimport os, sys, time\n{script}\n")
    program.chmod(0o755)
    return LocalJob(name="job", cron="* * * * *", command=(str(program), *arguments), folder=folder)


def start(job: LocalJob) -> subprocess.Popen:
    """Do what cron does: unmask %, and hand the rest to sh with little in the environment."""
    line = crontab_line(job).split(maxsplit=5)[5].replace("\\%", "%")
    return subprocess.Popen(["sh", "-c", line], env={"PATH": "/usr/bin:/bin", "HOME": "/"})


@pytest.mark.skipif(not shutil.which("flock"), reason="flock comes with util-linux")
def test_the_crontab_line_runs_with_its_arguments_and_environment(tmp_path):
    folder = tmp_path / "a folder's 100 %"
    folder.mkdir()
    (folder / "job.env").write_text("AELIF_WEBHOOK_URL='https://chat.example/x?y=1&z=$2'\n")
    job = job_in(folder, "print(sys.argv[1:], os.environ['AELIF_WEBHOOK_URL'])", "a b", "50%", "it's", "$HOME")
    assert start(job).wait(10) == 0
    said = (folder / "job.log").read_text().strip()
    assert said == repr(["a b", "50%", "it's", "$HOME"]) + " https://chat.example/x?y=1&z=$2"


@pytest.mark.skipif(not shutil.which("flock"), reason="flock comes with util-linux")
def test_a_start_that_finds_the_lock_held_ends_at_once_and_well(tmp_path):
    job = job_in(tmp_path, "print('began', flush=True); time.sleep(1.5)")
    first = start(job)
    while not (tmp_path / "job.log").exists() or not (tmp_path / "job.log").read_text():
        time.sleep(0.02)
    assert start(job).wait(1) == 0
    assert first.wait(10) == 0
    assert (tmp_path / "job.log").read_text() == "began\n"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd reads units")
def test_systemd_accepts_the_units(tmp_path):
    job = job_in(tmp_path, "", "a b", "50%", "$HOME", 'say "x"')
    (tmp_path / "job.service").write_text(service_unit(job))
    (tmp_path / "job.timer").write_text(timer_unit(job))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "job.service"), str(tmp_path / "job.timer")],
        capture_output=True, text=True, env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )  # fmt: skip
    assert "job." not in done.stderr, done.stderr
    assert '"50%%" "$$HOME" "say \\"x\\""' in service_unit(job)


@pytest.mark.parametrize(
    ("cron", "texts"),
    [
        ("0 3 * * *", ["*-*-* 03:00:00"]),
        ("*/30 * * * mon-fri", ["Mon,Tue,Wed,Thu,Fri *-*-* *:00,30:00"]),
        ("0 0 1 * 7", ["*-*-1 00:00:00", "Sun *-*-* 00:00:00"]),  # cron: either
        ("0 0 1-31 * 1", ["*-*-* 00:00:00"]),
    ],
)
def test_systemds_words_for_crontabs(cron, texts):
    assert on_calendar(cron) == texts


def test_names_and_breaks_that_no_file_can_hold_are_refused(tmp_path):
    for changes, message in (({"name": "a/b"}, "letters, digits"), ({"command": ("aelif", "a\nb")}, "line break")):
        given = {"name": "job", "cron": "* * * * *", "command": ("aelif",), "folder": tmp_path, **changes}
        with pytest.raises(ValueError, match=message):
            LocalJob(**given)


def test_the_command_prints_both_and_installs_nothing(tmp_path):
    arguments = ["local", "--cron", "30 2 * * *", "--folder", str(tmp_path), "--", "retrain", "--output", "nightly"]
    said = CliRunner().invoke(app, arguments).output
    for words in ("30 2 * * * cd ", "OnCalendar=*-*-* 02:30:00", "run retrain --output nightly", "flock --nonblock"):
        assert words in said
    assert list(tmp_path.iterdir()) == []
