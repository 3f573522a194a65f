"""Cron expressions as Kubeflow Pipelines reads them (robfig/cron: seconds first), and as crontab does.

A library would read more than the server does: days counted 1 to 7, ``L``, ``#``. What passes here, runs there.
The server itself takes five fields as well, and reads them shifted by one: "0 3 * * *" is then
"every hour at minute 3". So five fields are refused where six are meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, product
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
"""Days of the week as cron counts them, from 0."""
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    ("day of the week", 0, 6, {name: number for number, name in enumerate(DAYS)}),
)
_SEARCH_DAYS = 366 * 8
"""Any expression that ever fires does so within eight years (29 February around a century)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """When something runs: the values of each field that fire."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    """From Sunday, 0."""
    any_day: bool
    """Whether one of the two fields for days is ``*`` or ``?``: then both must hold; else either."""

    def holds_on(self, day: date) -> bool:
        """Tell whether it fires on this day."""
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (by_date and by_weekday if self.any_day else by_date or by_weekday)


def parse_cluster_cron(text: str) -> Cron:
    """Read six fields, seconds first.

    Raises:
        ValueError: if there are not six (five: names the six that are meant), or one is not valid.
    """
    fields = text.split()
    if len(fields) == 5:
        meant = " ".join(["0", *fields])
        _parse([*_seconds_first(fields)], text)  # a wrong field is told first
        raise ValueError(f"cron = {text!r}: Kubeflow reads six fields, seconds first; write {meant!r}")
    if len(fields) != 6:
        raise ValueError(
            f"cron = {text!r}: give six fields: second minute hour day month weekday, such as '0 0 3 * * *' "
            "for 3 o'clock every day"
        )
    return _parse(fields, text)


def parse_crontab(text: str) -> Cron:
    """Read the five fields of a crontab line, minutes first; Sunday may be 7.

    Raises:
        ValueError: if there are not five (six: names the five that are meant), or one is not valid.
    """
    fields = text.split()
    if len(fields) == 6 and fields[0] == "0":
        raise ValueError(f"cron = {text!r}: crontab reads five fields, without seconds; write {' '.join(fields[1:])!r}")
    if len(fields) != 5:
        raise ValueError(
            f"cron = {text!r}: give five fields: minute hour day month weekday, such as '0 3 * * *' "
            "for 3 o'clock every day"
        )
    return _parse([*_seconds_first(fields)], text)


def next_times(cron: Cron, after: datetime, *, zone: str = "UTC", count: int = 3) -> list[datetime]:
    """Return the next `count` times strictly after `after`, in the given zone.

    A time that the clock skips in spring is skipped, as the server does.

    Args:
        cron: when.
        after: an aware time.
        zone: IANA name of the zone whose clock counts.
        count: how many.

    Raises:
        ValueError: for an unknown zone, or if it never fires.
    """
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"zone = {zone!r}: no such time zone; give UTC, or one such as Europe/Berlin") from error
    times = list(islice(_times(cron, after.astimezone(place), place), count))
    if not times:
        raise ValueError("cron: there is no such day in any month; check day and month")
    return times


def _times(cron: Cron, after: datetime, place: ZoneInfo) -> Iterator[datetime]:
    for offset in range(_SEARCH_DAYS):
        day = after.date() + timedelta(days=offset)
        if not cron.holds_on(day):
            continue
        for hour, minute, second in product(cron.hours, cron.minutes, cron.seconds):
            moment = datetime.combine(day, time(hour, minute, second), tzinfo=place)
            exists = moment.astimezone(UTC).astimezone(place).replace(tzinfo=None) == moment.replace(tzinfo=None)
            if exists and moment.astimezone(UTC) > after.astimezone(UTC):
                yield moment


def _seconds_first(fields: list[str]) -> Iterator[str]:
    """Yield six fields for crontab's five; its Sunday may be 7."""
    yield "0"
    yield from fields[:4]
    yield ",".join("0" if part == "7" else part for part in fields[4].split(","))


def _parse(fields: list[str], text: str) -> Cron:
    values = [_values(field, index, text) for index, field in enumerate(fields)]
    return Cron(
        seconds=values[0], minutes=values[1], hours=values[2], days=values[3], months=values[4], weekdays=values[5],
        any_day=any(part[0] in "*?" for field in (fields[3], fields[5]) for part in field.split(",")),
    )  # fmt: skip


def _values(field: str, index: int, text: str) -> tuple[int, ...]:
    """Return the values that a field names: ``*``, ``5``, ``1-5``, ``*/10``, ``mon-fri``, or a list of these."""
    name, low, high, names = _FIELDS[index]
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        try:
            start = low if span in ("*", "?") else _number(first, names)
            stop = high if span in ("*", "?") or (slash and not dash) else _number(last if dash else first, names)
            width = int(step) if slash else 1
        except ValueError:
            raise ValueError(f"cron = {text!r}: {part!r} is no {name}; give {low} to {high}") from None
        if not (low <= start <= stop <= high and width >= 1):
            raise ValueError(f"cron = {text!r}: {part!r} is no {name}; give {low} to {high}, the lower number first")
        found.update(range(start, stop + 1, width))
    return tuple(sorted(found))


def _number(text: str, names: dict[str, int]) -> int:
    """Return a number or a name's; signs and blanks are no digits."""
    if text.lower() in names:
        return names[text.lower()]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text)
