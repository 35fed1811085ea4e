"""Schedules: what they mean, against a calendar that is walked through, and what is refused."""

from __future__ import annotations

import sys
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise

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


@cache
def offsets(day: date, zone: str) -> set[timedelta]:
    """By how much the clock of a zone is ahead of UTC, around a day."""
    midnight = datetime(day.year, day.month, day.day)
    hours = [midnight + timedelta(hours=hour) for hour in range(-27, 51)]
    return {in_zone(hour, zone) - hour for hour in hours}


def shown_first(shown: datetime, zone: str) -> datetime | None:
    """The first instant at which the clock of a zone shows this."""
    found = [shown - offset for offset in offsets(shown.date(), zone)]
    return min((each for each in found if in_zone(each, zone) == shown), default=None)


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
    wanted = draw(st.integers(1, 31) | st.sampled_from((1, 28, 30, 31)))
    listed, listed_means = draw(anything(fields(1, 31)))
    weekdays, weekdays_mean = draw(anything(fields(1, 7, WEEKDAYS, steps=False)))

    def the_nth(day):
        return (
            weekday_of(day) == number
            and (day - DAY * 7 * nth).month != day.month
            and (nth == 1 or (day - DAY * 7 * (nth - 1)).month == day.month)
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


def exactly(value):
    return st.just((str(value), lambda each: each == value))


@cache
def changes(zone: str) -> list[datetime]:
    """The first minutes after the clock of a zone was turned, in years near and far."""
    found = []
    for year in (*range(1970, 2040), 2100, 2198):
        noons = [datetime(year, 1, 1, 12) + DAY * day for day in range(366)]
        ahead = [in_zone(noon, zone) - noon for noon in noons]
        for noon, before, after in zip(noons, ahead, ahead[1:], strict=False):
            if before != after:
                minutes = (noon + timedelta(minutes=minute) for minute in range(1, 1_441))
                found.append(next(each for each in minutes if in_zone(each, zone) - each == after))
    return found


@st.composite
def cases(draw):
    """An expression with its meaning, a zone, and an instant, often where the clock is turned."""
    zone = draw(st.sampled_from(ZONES))
    minute, at_minute = draw(anything(fields(0, 59), exactly(0)))
    hour, at_hour = draw(anything(fields(0, 23)))
    of_month, of_week, on_day = draw(days())
    month, in_month = draw(anything(fields(1, 12, MONTHS)))
    year, in_year = draw(st.one_of(anything(), anything(), anything(fields(1970, 2199))))
    seconds = st.integers(0, int((datetime(2199, 12, 31) - datetime(1970, 1, 1)).total_seconds()))
    after = datetime(1970, 1, 1) + timedelta(seconds=draw(seconds))
    if changes(zone) and draw(st.booleans()):
        turned = draw(st.sampled_from(changes(zone)))
        after = turned + timedelta(seconds=draw(st.integers(-7_200, 7_200)))
        shown = in_zone(turned, zone).hour
        hour, at_hour = draw(anything(exactly((shown - 1) % 24), exactly(shown)))
        of_month, of_week, on_day = draw(st.sampled_from((("*", "?", every), ("?", "*", every))))
    text = f"cron({minute} {hour} {of_month} {month} {of_week} {year})"
    return Meaning(text, at_minute, at_hour, on_day, in_month, in_year), zone, after


def seconds_of(instant: datetime | None) -> float | None:
    return None if instant is None else instant.replace(tzinfo=UTC).timestamp()


def compare(meaning: Meaning, zone: str, after: datetime) -> None:
    """A schedule's times are those that walking through the calendar finds."""
    text = meaning.text
    if len(text) > 256 or next(walked(meaning, zone, datetime(1969, 12, 30)), None) is None:
        with pytest.raises(DefinitionError, match=r"256 characters|never happens"):
            parse(text, zone)
        return
    schedule = parse(text, zone)
    found, limit = [], seconds_of(after)
    for each in walked(meaning, zone, after - timedelta(hours=4)):
        found.append(seconds_of(each))
        if len([at for at in found if at > limit]) == 3:
            break
    expected = [at for at in found if at > limit]
    times = [limit]
    while len(times) <= len(expected):
        times.append(schedule.next_after(times[-1]))
    assert times[1:] == expected, (text, zone, after)
    if len(expected) < 3:
        assert schedule.next_after(times[-1]) is None, (text, zone, after)
    for before, at in pairwise(found):
        assert schedule.last_until(at - 0.5) == before, (text, zone, after)
        assert schedule.last_until((before + at) / 2) == before, (text, zone, after)
    if past := [at for at in found if at <= limit]:
        assert schedule.last_until(limit) == past[-1], (text, zone, after)


def test_times_are_those_of_a_calendar(pytestconfig):
    """``--schedules 20000 --timeout 0`` compares more."""

    @settings(max_examples=pytestconfig.getoption("schedules"))
    @given(cases())
    def check(case):
        compare(*case)

    check()


# ---- What AWS has answered -----------------------------------------------------------------------

# Recorded answers of EventBridge Scheduler's CreateSchedule in the tests of localstack/localstack
# (tests/aws/services/scheduler/test_scheduler.py, commit 8b9a79f0): refused on 2025-01-26, taken on
# 2026-01-17.
REFUSED_BY_AWS = (
    *("cron()", "cron(INVALID)", "cron(71 8 1 * ? *)", "cron(0 1 * * * *)"),
    *("cron(7 20 * * NOT *)", "cron(0 dummy ? * MON-FRI *)"),
    *("rate()", "rate(10)", "rate(10 seconds)", "rate(10 years)", "rate(10 minutess)"),
    *("rate(foo minutes)", "rate(-10 minutes)", "rate( 10 minutes )", " rate(10 minutes)"),
    *("at(2021-12-31)", "at(2021-12-31T23:59:59Z)"),
)
TAKEN_BY_AWS = {
    "cron(0-15/1 8-8 ? * 2,3,4,5,6,7 *)": ("2026-02-02 08:00", "2026-02-02 08:01"),
    "cron(30-30 13-13 ? * 2,4,6 *)": ("2026-02-02 13:30", "2026-02-04 13:30"),
    "cron(1-31/30 1-1 ? * 1,7 *)": ("2026-02-01 01:01", "2026-02-01 01:31"),
    "cron(0 18 ? * MON-FRI *)": ("2026-02-02 18:00", "2026-02-03 18:00"),
    "cron(*/15 * * * ? *)": ("2026-02-01 00:15", "2026-02-01 00:30"),
    "cron(0-59/10 0-23/2 ? * * *)": ("2026-02-01 00:10", "2026-02-01 00:20"),
}


def told(expression, zone=None, after="2026-02-01 00:00", number=2):
    """The next times of a schedule, as a clock in UTC shows them."""
    schedule, at = parse(expression, zone), seconds_of(datetime.fromisoformat(after))
    found = []
    while len(found) < number and (at := schedule.next_after(at)) is not None:
        found.append(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M"))
    return tuple(found)


@pytest.mark.parametrize("expression", REFUSED_BY_AWS)
def test_what_aws_has_refused_is_refused(expression):
    with pytest.raises(DefinitionError, match="write"):
        parse(expression)


@pytest.mark.parametrize("expression", TAKEN_BY_AWS)
def test_what_aws_has_taken_is_taken(expression):
    assert told(expression) == TAKEN_BY_AWS[expression]


def test_a_single_time_is_one_of_its_zones_clock():
    assert told("at(2026-07-01T09:30:00)") == ("2026-07-01 09:30",)
    assert told("at(2026-07-01T09:30:00)", "Europe/Helsinki") == ("2026-07-01 06:30",)
    once = parse("at(2026-07-01T09:30:00)")
    at = seconds_of(datetime(2026, 7, 1, 9, 30))
    assert once.next_after(at) is None
    assert (once.last_until(at - 1), once.last_until(at)) == (None, at)
    with pytest.raises(DefinitionError, match="the clock of Europe/Helsinki skips this time"):
        parse("at(2026-03-29T03:30:00)", "Europe/Helsinki")


# ---- What is meant -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        # Examples of the documentation
        ("cron(1/10 0 1 * ? *)", "2026-02-01 00:05", ("2026-02-01 00:11", "2026-02-01 00:21")),
        ("cron(15 10 ? * 6L 2022-2023)", "2022-01-01", ("2022-01-28 10:15", "2022-02-25 10:15")),
        ("cron(0 0 ? * 3#2 *)", "2026-02-01", ("2026-02-10 00:00", "2026-03-10 00:00")),
        ("cron(0 0 3W * ? *)", "2026-01-01", ("2026-01-02 00:00", "2026-02-03 00:00")),
        # A weekday near the end or the beginning of a month, within it
        ("cron(0 0 1W * ? *)", "2026-08-01", ("2026-08-03 00:00", "2026-09-01 00:00")),
        ("cron(0 0 31W * ? *)", "2026-05-01", ("2026-05-29 00:00", "2026-07-31 00:00")),
        # The last day of a week is Saturday
        ("cron(0 0 ? * L *)", "2026-02-01", ("2026-02-07 00:00", "2026-02-14 00:00")),
        ("cron(0 0 L 2 ? *)", "2027-03-01", ("2028-02-29 00:00", "2029-02-28 00:00")),
        # Far ahead
        ("cron(0 0 29 2 ? *)", "2096-03-01", ("2104-02-29 00:00", "2108-02-29 00:00")),
        ("cron(0 0 ? FEB 1#5 *)", "2026-01-01", ("2032-02-29 00:00", "2060-02-29 00:00")),
        ("cron(59 23 31 12 ? 2150/49)", "2026-01-01", ("2150-12-31 23:59", "2199-12-31 23:59")),
        ("cron(0 0 * * ? *)", "2199-12-31 00:00", ()),
        ("cron(0 0 1 1 ? 2020)", "2026-01-01", ()),
    ],
)
def test_what_an_expression_means(expression, after, expected):
    assert told(expression, after=after) == expected


@pytest.mark.parametrize(
    ("expression", "zone", "after", "expected"),
    [
        # The documentation's example: 2:30 is passed over on 8 March, and shown twice on 1 November
        (
            *("cron(30 2 * * ? *)", "America/Los_Angeles", "2026-03-07 00:00"),
            ("2026-03-07 10:30", "2026-03-09 09:30", "2026-03-10 09:30"),
        ),
        (
            *("cron(30 2 * * ? *)", "America/Los_Angeles", "2026-10-31 00:00"),
            ("2026-10-31 09:30", "2026-11-01 10:30", "2026-11-02 10:30"),
        ),
        (
            *("cron(30 1 * * ? *)", "America/Los_Angeles", "2026-10-31 12:00"),
            ("2026-11-01 08:30", "2026-11-02 09:30", "2026-11-03 09:30"),
        ),
        # The same moment is asked about after the clock was turned back
        (
            *("cron(30 * * * ? *)", "Europe/Helsinki", "2026-10-25 01:10"),
            ("2026-10-25 02:30", "2026-10-25 03:30", "2026-10-25 04:30"),
        ),
        (
            *("cron(0 0 30 12 ? *)", "Pacific/Apia", "2010-01-01 00:00"),
            ("2010-12-30 10:00", "2012-12-29 10:00", "2013-12-29 10:00"),
        ),
    ],
)
def test_the_clock_of_a_zone_is_followed_over_its_changes(expression, zone, after, expected):
    assert told(expression, zone, after, number=3) == expected


def test_a_rate_counts_from_its_beginning_whatever_the_clock_shows():
    rate = parse("rate(1 days)", "Europe/Helsinki")
    since = seconds_of(datetime(2026, 3, 28, 12))  # the clock is turned in the night after
    assert rate.next_after(since, since) == since + 86_400
    assert rate.next_after(since + 86_400, since) == since + 2 * 86_400
    assert rate.last_until(since + 86_399, since) is None
    assert rate.last_until(since + 86_400, since) == since + 86_400


@pytest.mark.parametrize("expression", ["rate(1 minute)", "rate(5 minute)", "rate(84006 days)"])
def test_a_rate(expression):
    assert parse(expression).text == expression


def test_a_schedule_is_a_value_that_says_its_zone():
    assert parse("cron(0 9 * * ? *)", "UTC") == parse("cron(0 9 * * ? *)")
    assert parse("cron(0 9 * * ? *)").text == "cron(0 9 * * ? *)"
    assert parse("cron(0 9 * * ? *)", "Asia/Tokyo").text == "cron(0 9 * * ? *) Asia/Tokyo"


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        # Values that a field does not have
        ("99 9 * * ? *", "minutes '99': write 0-59"),
        ("0 24 * * ? *", "hours '24': write 0-23"),
        ("0 9 0 * ? *", "day-of-month '0': write 1-31"),
        ("0 9 * 13 ? *", "month '13': write 1-12 or JAN-DEC"),
        ("0 9 ? * 0 *", r"day-of-week '0': write 1-7 or SUN-SAT \(1 is SUN\)"),
        ("0 9 ? * 8L *", "day-of-week '8': write 1-7"),
        ("0 9 * * ? 2200", "year '2200': write 1970-2199"),
        ("0 9 ? * mon *", "day-of-week 'mon': write 'MON'"),
        ("0 9 ? JANUARY MON *", "month 'JANUARY': write 'JAN'"),
        ("٣ 9 * * ? *", "minutes '٣': write 0-59"),
        ("0 9 1,,2 * ? *", "day-of-month '': write 1-31, ranges"),
        ("? 9 * * ? *", r"minutes '\?': write 0-59"),
        ("0 L * * ? *", "hours 'L': write 0-23"),
        ("5,* 9 * * ? *", r"minutes '5,\*': .* write '\*'"),
        # Both day fields, or none
        ("0 9 * * * *", r"write 'cron\(0 9 \* \* \? \*\)'$"),
        ("0 9 ? * ? *", r"write 'cron\(0 9 \* \* \? \*\)'$"),
        ("0 9 * * MON *", r"write 'cron\(0 9 \? \* MON \*\)'$"),
        ("0 9 1 * * *", r"write 'cron\(0 9 1 \* \? \*\)'$"),
        ("0 9 1 * 2 *", r"write 'cron\(0 9 1 \* \? \*\)' or 'cron\(0 9 \? \* 2 \*\)'$"),
        # What the documentation leaves open
        ("0 22-2 * * ? *", "hours '22-2': .*does not say.* write '22-23,0-2'"),
        ("0 22-3/2 * * ? *", "hours '22-3/2': .*does not say.* write '22,0,2'"),
        ("0 9 ? * FRI-MON *", "day-of-week 'FRI-MON': .*does not say.* write 'FRI-SAT,SUN-MON'"),
        ("0 9 ? * SAT-MON *", "write 'SAT,SUN-MON'"),
        ("0 9 * * ? 2030-2028", "year '2030-2028': .*write '2028-2030'"),
        ("0 9 * JAN-3 ? *", "month 'JAN-3': .*does not say.* write '1-3'"),
        ("0 0 LW * ? *", "day-of-month 'LW': .*does not say.* write 'L'"),
        ("0 0 L-2 * ? *", "day-of-month 'L-2': .*does not say.* write 'L'"),
        ("0 0 15,L * ? *", "day-of-month '15,L': .*does not say"),
        ("0 0 1W,15W * ? *", "day-of-month '1W,15W': .*does not say.* '28W'"),
        ("0 0 W * ? *", "day-of-month 'W': .*does not say"),
        ("0 0 ? * L-2 *", "day-of-week 'L-2': .*does not say.* write '6L'"),
        ("0 0 ? * 2,6L *", "day-of-week '2,6L': .*does not say"),
        ("0 0 ? * 3#1,6#3 *", "day-of-week '3#1,6#3': '#' takes one day"),
        ("0 0 ? * 2#6 *", "day-of-week '2#6': .*the numbers 1 to 5"),
        ("0 0 ? * MON-FRI/2 *", "'MON-FRI/2': steps are not possible here: write 'MON,WED,FRI'"),
        ("0 0 ? * */3 *", r"day-of-week '\*/3': steps are not possible here: write '1,4,7'"),
        ("0/0 * * * ? *", "minutes '0/0': a step of 0 is not possible"),
        ("*/60 * * * ? *", r"minutes '\*/60': a step of 60 reaches no second value.* write '0'"),
        # What never happens
        ("0 0 30 2 ? *", "never happens, since none of its months has such a day.* 'L'"),
        ("0 0 31 4,6,9,11 ? *", "never happens"),
        ("0 0 31W JUN ? *", "never happens"),
        ("0 0 29 2 ? 2027,2100", "never happens"),
        ("0 0 ? 2 2#5 2026", "never happens"),
        # Other forms
        ("0 9 * * ?", "six fields .* such as"),
        ("0 9 * * ? * *", "six fields"),
        ("0  9 * * ? *", "separated by one space"),
        ("0 9 * * ?\t*", "six fields"),
        (
            ",".join(map(str, range(60))) + " " + ",".join(map(str, range(24))) * 2 + " 1 1 ? *",
            "256",
        ),
    ],
)
def test_a_cron_is_refused_with_what_to_write(fields, message):
    with pytest.raises(DefinitionError, match=message):
        parse(f"cron({fields})")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "such as 'rate"),
        ("hourly", "such as 'rate"),
        ("0 9 * * *", "such as 'rate"),
        ("CRON(0 9 * * ? *)", "such as 'rate"),
        ("cron(0 9 * * ? *)\n", "such as 'rate"),
        ("cron(0 9 * * ? *) ", "such as 'rate"),
        ("at(2027-01-01)", r"write it such as 'at\(2030-01-31T09:00:00\)'"),
        ("at(1969-12-31T23:00:00)", "a time from 1970 to 2199: write"),
        ("at(2027-02-29T00:00:00)", "it is not a valid time: day "),
        ("at(2027-01-01T09:00:30)", r"exact to a minute: write 'at\(2027-01-01T09:00:00\)'"),
        ("rate(0 hours)", "whole number from 1"),
        ("rate(05 hours)", "whole number from 1"),
        ("rate(1.5 hours)", "whole number from 1"),
        ("rate(٣ hours)", "whole number from 1"),
        ("rate(9999999999999 days)", r"1970 to 2199: write at most 'rate\(84006 days\)'"),
        ("rate(" + "9" * 5_000 + " days)", "256 characters"),
        (3600, "must be text"),
        (timedelta(hours=1), "must be text"),
    ],
)
def test_another_schedule_is_refused_with_what_to_write(expression, message):
    with pytest.raises(DefinitionError, match=message):
        parse(expression)


def test_what_the_clock_of_a_zone_passes_over_never_happens():
    parse("cron(30 3 26 3 ? 2028)")
    with pytest.raises(DefinitionError, match="the clock of Europe/Helsinki skips this time"):
        parse("cron(30 3 26 3 ? 2028)", "Europe/Helsinki")


@pytest.mark.parametrize(
    ("zone", "message"),
    [
        ("Europe/Helsnki", "write it such as 'Europe/Helsinki'"),
        ("Amerika/New_York", "write it such as 'America/New_York'"),
        ("+02:00", "no such zone: write it such as"),
        ("", "no such zone"),
        ("Europe", "no such zone"),
        ("../../etc/passwd", "no such zone"),
        ("/etc/localtime", "no such zone"),
        ("nul\0", "no such zone"),
        ("localtime", "no such zone"),
        ("right/Europe/Helsinki", "no such zone"),
        (zoneinfo.ZoneInfo("Asia/Tokyo"), "must be a name, .* such as 'Asia/Tokyo'"),
        (UTC, "must be a name, .* such as 'Europe/Helsinki'"),
    ],
)
def test_a_zone_is_refused_with_what_to_write(zone, message):
    with pytest.raises(DefinitionError, match=f"timezone.*{message}"):
        parse("rate(1 hour)", zone)


def test_a_system_without_zones_is_reported(monkeypatch):
    for name in ["tzdata", *(name for name in sys.modules if name.startswith("tzdata."))]:
        monkeypatch.setitem(sys.modules, name, None)
    zoneinfo.reset_tzpath([])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert parse("cron(0 9 * * ? *)", "UTC") == parse("cron(0 9 * * ? *)")
        with pytest.raises(DefinitionError, match="machine has no time zone database: pip install"):
            parse("cron(0 9 * * ? *)", "Europe/Helsinki")
    finally:
        zoneinfo.reset_tzpath()
