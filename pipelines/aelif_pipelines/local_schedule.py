"""The same schedule on one machine, in the words of the schedulers that it has already: cron and systemd.

Both take a lock, so a run that lasts longer than the pause between two is never doubled: the later one
is left out. Nothing is installed: the texts are printed.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from aelif_pipelines.cron import DAYS, parse_crontab

_FLOCK = "flock --nonblock --conflict-exit-code 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalJob:
    """A command that a machine repeats."""

    name: str
    """Names the files: ``NAME.lock``, ``NAME.env``, ``NAME.log``, ``NAME.service``, ``NAME.timer``."""
    cron: str
    """Five fields, as crontab reads them, in the machine's time zone."""
    command: tuple[str, ...]
    """The command and its arguments; the first a full path, for cron knows no PATH of yours."""
    folder: Path
    """Where it runs, and where lock, log and environment lie."""

    def __post_init__(self) -> None:
        parse_crontab(self.cron)
        if not self.name.replace("-", "").isalnum():
            raise ValueError(f"name = {self.name!r}: give letters, digits and '-'")
        for text in (*self.command, str(self.folder)):
            if "\n" in text:
                raise ValueError(f"{text!r}: a line break cannot stand in a crontab or unit")


def crontab_line(job: LocalJob) -> str:
    """Return the line for ``crontab -e``; cron takes ``%`` for a line break, so it is masked."""
    script = f"set -a; if [ -f {job.name}.env ]; then . ./{job.name}.env; fi; exec {shlex.join(job.command)}"
    line = (
        f"cd {shlex.quote(str(job.folder))} && {_FLOCK} {job.name}.lock sh -c {shlex.quote(script)} "
        f">> {job.name}.log 2>&1"
    )
    return f"{' '.join(job.cron.split())} {line.replace('%', chr(92) + '%')}"


def service_unit(job: LocalJob) -> str:
    """Return ``NAME.service``: one run, with the webhook's address from ``NAME.env``; its log is the journal's."""
    command = " ".join(map(_systemd_word, job.command))
    return "\n".join(
        [
            "[Unit]",
            f"Description=aelif: {job.name}",
            "Wants=network-online.target",
            "After=network-online.target",
            "",
            "[Service]",
            "Type=oneshot",
            f"WorkingDirectory={str(job.folder).replace('%', '%%')}",
            f"EnvironmentFile=-{str(job.folder).replace('%', '%%')}/{job.name}.env",
            f"ExecStart=/usr/bin/{_FLOCK} {job.name}.lock {command}",
            "# Ctrl-C's signal: finished steps and checkpoints are kept, and the next run goes on from there",
            "KillSignal=SIGINT",
            "TimeoutStopSec=60",
            "Nice=5",
            "",
        ]
    )


def timer_unit(job: LocalJob) -> str:
    """Return ``NAME.timer``; a run that was missed while the machine was off is made up for, once."""
    lines = [f"OnCalendar={text}" for text in on_calendar(job.cron)]
    return "\n".join(
        ["[Unit]", f"Description=aelif: {job.name}, on a schedule", "", "[Timer]", *lines, "Persistent=true", "",
         "[Install]", "WantedBy=timers.target", ""]
    )  # fmt: skip


def on_calendar(cron: str) -> list[str]:
    """Return systemd's calendar expressions for crontab's five fields.

    Two where cron means "this date or that weekday", for systemd means "and".
    """
    times = parse_crontab(cron)
    every_date, every_weekday = len(times.days) == 31, len(times.weekdays) == 7
    weekdays = ",".join(DAYS[number].title() for number in times.weekdays) + " "
    dates = "*" if every_date else ",".join(map(str, times.days))
    if times.any_day or every_date or every_weekday:
        # Where only one of the two is free in cron's "or", the other says nothing: it fires every day.
        free = not times.any_day and (every_date or every_weekday)
        kinds = [("", "*")] if free else [("" if every_weekday else weekdays, dates)]
    else:
        kinds = [("", dates), (weekdays, "*")]
    months = "*" if len(times.months) == 12 else ",".join(map(str, times.months))
    hours = "*" if len(times.hours) == 24 else ",".join(f"{hour:02}" for hour in times.hours)
    minutes = "*" if len(times.minutes) == 60 else ",".join(f"{minute:02}" for minute in times.minutes)
    return [f"{weekday}*-{months}-{date} {hours}:{minutes}:00" for weekday, date in kinds]


def _systemd_word(text: str) -> str:
    """Return a word of ``ExecStart``: systemd expands ``%`` and ``$``, and splits at blanks."""
    masked = text.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    plain = masked == text and text and not any(sign in text for sign in " \t;'")
    return text if plain else f'"{masked}"'
