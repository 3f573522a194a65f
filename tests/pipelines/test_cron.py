"""Cron expressions against systemd's reading of its own translation, and against the server's rules."""

import shutil
import subprocess
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aelif_pipelines.cron import next_times, parse_cluster_cron, parse_crontab
from aelif_pipelines.local_schedule import on_calendar

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def times(text: str, *, zone: str = "UTC", after: datetime = START, count: int = 3) -> list[str]:
    return [f"{time:%Y-%m-%d %H:%M:%S}" for time in next_times(parse_cluster_cron(text), after, zone=zone, count=count)]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("0 0 3 * * *", "2026-03-02 03:00:00"),
        ("30 */15 * * * ?", "2026-03-01 12:00:30"),
        ("0 0 9 ? * MON-FRI", "2026-03-02 09:00:00"),
        ("0 0 0 29 2 *", "2028-02-29 00:00:00"),
        ("0 0 0 13 * fri", "2026-03-06 00:00:00"),  # either, as neither is *
        ("0 5/20 * * * *", "2026-03-01 12:05:00"),
        ("0 0 0 1 jan,jul *", "2026-07-01 00:00:00"),
    ],
)
def test_known_answers(text, first):
    assert times(text)[0] == first


def test_an_hour_that_the_clock_skips_is_skipped_and_one_it_repeats_fires_once():
    spring = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert times("0 30 2 * * *", zone="Europe/Berlin", after=spring)[0] == "2026-03-30 02:30:00"
    autumn = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert times("0 30 2 * * *", zone="Europe/Berlin", after=autumn)[:2] == [
        "2026-10-25 02:30:00",
        "2026-10-26 02:30:00",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 3 * * *", "write '0 0 3 [*] [*] [*]'"),
        ("@daily", "give six fields"),
        ("0 0 24 * * *", "'24' is no hour; give 0 to 23"),
        ("0 0 3 * * 7", "'7' is no day of the week"),
        ("0 0 3 * foo *", "'foo' is no month"),
        ("0 0 5-3 * * *", "the lower number first"),
        ("0 */0 3 * * *", "'[*]/0' is no minute"),
        ("0 -1 3 * * *", "'-1' is no minute"),
        ("0 61 3 * *", "is no"),
    ],
)
def test_what_the_server_would_read_otherwise_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_cluster_cron(text)


def test_what_never_comes_is_refused():
    with pytest.raises(ValueError, match="no such day"):
        times("0 0 0 30 2 *")
    with pytest.raises(ValueError, match="reads five fields, without seconds; write '0 3"):
        parse_crontab("0 0 3 * * *")


FIELD = {
    "minute": st.sampled_from(["*", "0", "7", "*/20", "10-12", "5,50"]),
    "hour": st.sampled_from(["*", "3", "*/6", "8-10", "0,23"]),
    "day": st.sampled_from(["*", "1", "15", "*/10", "28-31", "1-31"]),
    "month": st.sampled_from(["*", "2", "jan,jun", "3-5"]),
    "weekday": st.sampled_from(["*", "0", "7", "mon-fri", "2,4", "0-6"]),
}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is the oracle")
@settings(max_examples=40, deadline=None)
@given(st.tuples(*FIELD.values()).map(" ".join))
def test_the_next_times_are_those_that_systemd_computes_of_the_translation(text):
    """Two ways to the same times: our own search, and systemd's of what `on_calendar` wrote."""
    command = ["systemd-analyze", "calendar", "--iterations=6", f"--base-time={START:%Y-%m-%d %H:%M:%S} UTC"]
    done = subprocess.run(
        [*command, *on_calendar(text)], env={"TZ": "UTC", "LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if "Next elapse:" in line or "Iter. #" in line]
    theirs = sorted({line.split(": ", 1)[1].split(maxsplit=1)[1].removesuffix(" UTC") for line in lines})
    ours = next_times(parse_crontab(text), START, count=6)
    assert [f"{time:%Y-%m-%d %H:%M:%S}" for time in ours] == theirs[:6]
