"""Schedules: what they mean, against a calendar that is walked through, and what is refused."""

from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lokki.errors import DefinitionError
from lokki.schedule import parse

DAY = timedelta(days=1)
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
ZONES = (
    *("UTC", "Europe/Helsinki", "America/Los_Angeles", "America/Sao_Paulo", "Asia/Kathmandu"),
    "Australia/Lord_Howe",  # turned by half an hour
    "Antarctica/Troll",  # turned by two
    "Pacific/Apia",  # a day was left out
    "Africa/Casablanca",  # four changes a year
)


# ---- A calendar, walked through ------------------------------------------------------------------


@dataclass(frozen=True)
class Meaning:
    """An expression, and what its fields mean, by the documentation of EventBridge Scheduler."""

    text: str
    minute: Callable[[int], bool]
    hour: Callable[[int], bool]
    day: Callable[[date], bool]
    month: Callable[[int], bool]
    year: Callable[[int], bool]


def in_zone(instant: datetime, zone: str) -> datetime:
    """What the clock of a zone shows at an instant; both without a zone, instants are in UTC."""
    known = zoneinfo.ZoneInfo(zone)
    return instant.replace(tzinfo=UTC).astimezone(known).replace(tzinfo=None, fold=0)


def shown_first(shown: datetime, zone: str) -> datetime | None:
    """The first instant at which the clock of a zone shows this."""
    around = [shown + timedelta(hours=hours) for hours in range(-27, 28)]
    offsets = {in_zone(instant, zone) - instant for instant in around}
    found = [shown - offset for offset in offsets if in_zone(shown - offset, zone) == shown]
    return min(found, default=None)


def walked(meaning: Meaning, zone: str, after: datetime) -> Iterator[datetime]:
    """The instants of a schedule after one, found by looking at every day and every minute."""
    day = max(in_zone(after, zone).date() - DAY, date(1970, 1, 1))
    minutes = [
        timedelta(hours=hour, minutes=minute)
        for hour in range(24)
        for minute in range(60)
        if meaning.hour(hour) and meaning.minute(minute)
    ]
    while day.year < 2200:
        if not meaning.year(day.year):
            day = date(day.year + 1, 1, 1)
            continue
        if meaning.month(day.month) and meaning.day(day):
            midnight = datetime(day.year, day.month, day.day)
            found = (shown_first(midnight + minute, zone) for minute in minutes)
            yield from (instant for instant in found if instant is not None and instant > after)
        day += DAY


@st.composite
def fields(draw, low, high, names=(), steps=True):
    """A list of values, ranges and steps, and whether a value is meant by it."""
    tests, parts = [], []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("one", "range", *(("*/", "a/", "a-b/") if steps else ()))))
        first, last = sorted(draw(st.tuples(*[st.integers(low, high)] * 2)))
        by_name = bool(names) and draw(st.booleans())
        padded = draw(st.booleans()) and high > 9
        step = draw(st.integers(1, high - low)) if "/" in kind else 1

        def word(value, by_name=by_name, padded=padded):
            return names[value - low] if by_name else f"{value:02}" if padded else str(value)

        if kind == "one":
            last = first
        elif kind == "*/":
            first, last = low, high
        elif kind == "a/":
            last = high
        start = {"*/": "*", "one": word(first), "a/": word(first)}
        text = start.get(kind, f"{word(first)}-{word(last)}")
        parts.append(f"{text}/{step}" if "/" in kind else text)
        tests.append((first, last, step))

    def means(value):
        return any(
            first <= value <= last and (value - first) % step == 0 for first, last, step in tests
        )

    return ",".join(parts), means


def every(_):
    return True


def anything(*fields):
    """These, or ``*``, which is the more common."""
    return st.one_of(st.just(("*", every)), *fields)


def weekday_of(day: date) -> int:
    return day.isoweekday() % 7 + 1


def is_nearest(day: date, wanted: int) -> bool:
    """Whether a day is the one from Monday to Friday in its month that is nearest to another."""
    first = day.replace(day=1)
    month = [first + DAY * n for n in range(31) if (first + DAY * n).month == day.month]
    if wanted > len(month):
        return False
    working = [each for each in month if each.isoweekday() <= 5]
    return day == min(working, key=lambda each: abs(each.day - wanted))


@st.composite
def days(draw):
    """day-of-month, day-of-week, and whether a day is meant by them."""
    kind = draw(st.sampled_from(("days", "L", "W", "weekdays", "weekday L", "nL", "n#n")))
    number, nth = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    name = draw(st.sampled_from((str(number), WEEKDAYS[number - 1])))
    wanted = draw(st.integers(1, 31))
    listed, listed_means = draw(anything(fields(1, 31)))
    weekdays, weekdays_mean = draw(anything(fields(1, 7, WEEKDAYS, steps=False)))

    def the_nth(day):
        return weekday_of(day) == number and (day - DAY * 7 * nth).month != day.month and (
            nth == 1 or (day - DAY * 7 * (nth - 1)).month == day.month
        )

    return {
        "days": (listed, "?", lambda day: listed_means(day.day)),
        "L": ("L", "?", lambda day: (day + DAY).month != day.month),
        "W": (f"{wanted}W", "?", lambda day: is_nearest(day, wanted)),
        "weekdays": ("?", weekdays, lambda day: weekdays_mean(weekday_of(day))),
        "weekday L": ("?", "L", lambda day: weekday_of(day) == 7),
        "nL": (
            *("?", f"{name}L"),
            lambda day: weekday_of(day) == number and (day + DAY * 7).month != day.month,
        ),
        "n#n": ("?", f"{name}#{nth}", the_nth),
    }[kind]


@st.composite
def meanings(draw):
    minute, at_minute = draw(anything(fields(0, 59), st.just(("0", lambda value: value == 0))))
    hour, at_hour = draw(anything(fields(0, 23)))
    of_month, of_week, on_day = draw(days())
    month, in_month = draw(anything(fields(1, 12, MONTHS)))
    year, in_year = draw(st.one_of(anything(), anything(), anything(fields(1970, 2199))))
    text = f"cron({minute} {hour} {of_month} {month} {of_week} {year})"
    return Meaning(text, at_minute, at_hour, on_day, in_month, in_year)


@cache
def changes(zone: str) -> list[datetime]:
    """The days on which the clock of a zone is turned, of years near and far."""
    found = []
    for year in (*range(1970, 2040), 2100, 2198):
        noons = [datetime(year, 1, 1, 12) + DAY * day for day in range(366)]
        offsets = [in_zone(noon, zone) - noon for noon in noons]
        pairs = zip(noons, offsets, offsets[1:], strict=False)
        found += [noon for noon, before, after in pairs if before != after]
    return found


@st.composite
def instants(draw, zone):
    """Any instant, or one that is near to a change of the clock."""
    if changes(zone) and draw(st.booleans()):
        day = draw(st.sampled_from(changes(zone)))
        return day + timedelta(minutes=draw(st.integers(-600, 2_400)), seconds=draw(st.integers(0, 59)))
    seconds = st.integers(0, int((datetime(2199, 12, 31) - datetime(1970, 1, 1)).total_seconds()))
    return datetime(1970, 1, 1) + timedelta(seconds=draw(seconds))


def seconds_of(instant: datetime | None) -> float | None:
    return None if instant is None else instant.replace(tzinfo=UTC).timestamp()


def compare(meaning: Meaning, zone: str, after: datetime) -> None:
    """A schedule's times are those that walking through the calendar finds."""
    text = meaning.text
    try:
        schedule = parse(text, zone)
    except DefinitionError as error:
        if len(text) > 256:
            return
        assert "never happens" in str(error), error
        assert next(walked(meaning, zone, datetime(1969, 12, 30)), None) is None, text
        return
    expected = [seconds_of(each) for each in islice(walked(meaning, zone, after), 3)]
    times = [seconds_of(after)]
    while len(times) <= len(expected):
        times.append(schedule.next_after(times[-1]))
    assert times[1:] == expected, (text, zone, after)
    if len(expected) < 3:
        assert schedule.next_after(times[-1]) is None, (text, zone, after)
    before = schedule.last_until(times[0])
    for at in expected:
        assert schedule.last_until(at - 1) == before, (text, zone, at)
        assert schedule.last_until((at - 1 + max(before or 0, times[0])) / 2) == before
        assert schedule.last_until(at) == schedule.last_until(at + 59.9) == at
        before = at


def test_times_are_those_of_a_calendar(pytestconfig):
    """``--schedules 20000 --timeout 0`` compares more."""

    @settings(max_examples=pytestconfig.getoption("schedules"))
    @given(meanings(), st.sampled_from(ZONES), st.data())
    def check(meaning, zone, data):
        compare(meaning, zone, data.draw(instants(zone)))

    check()
