"""The times of ``rate(…)``, ``cron(…)`` and ``at(…)``, as EventBridge Scheduler has them.

The rules are those of "Schedule types in EventBridge Scheduler"
(https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html). An expression that the
page does not describe is refused, so that a flow has the same times here as on AWS; so is one that
never happens. Times are seconds since 1970 (UTC).

A time zone's clock changes twice a year. "Daylight savings time on EventBridge Scheduler", on the
same page: a time of a ``cron(…)`` that the clock skips in spring is left out, and one that it shows
twice in autumn counts the first time. A ``rate(…)`` counts hours of 60 minutes and days of 24
hours, whatever the clock shows.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, get_args

from lokki.errors import DefinitionError

Overlap = Literal["skip", "queue", "allow"]
"""What happens at a time of a schedule while an earlier scheduled run is queued or running."""

_MOST_CHARACTERS = 256
"""Of an expression (docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html)."""
_MOST_DAYS = (datetime(2200, 1, 1) - datetime(1970, 1, 1)).days
_BEFORE_ALL = datetime(1969, 12, 30, tzinfo=UTC).timestamp()
_SUCH_AS = "write it such as 'rate(1 hour)' or 'cron(0 9 * * ? *)'"
_OF_THIS_MACHINE = ("localtime", "posixrules", "posix/", "right/", "Factory")
"""Files beside the zones in the database that AWS does not have."""
_SATURDAY, _SUNDAY = 7, 1
_SILENT = "EventBridge Scheduler's documentation does not say what it means"
_RATE = re.compile(r"rate\(([1-9][0-9]*) (minute|hour|day)s?\)")
_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
_AT = re.compile(r"at\(([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\)")
_CRON = re.compile(r"cron\(([^()]*)\)")
_PART = re.compile(r"(?:\*|([A-Za-z0-9]+)(?:-([A-Za-z0-9]+))?)(?:/([0-9]{1,3}))?")


@dataclass(frozen=True, slots=True)
class Rate:
    """Every so many seconds from ``since`` on; ``text`` is the expression."""

    text: str
    every: int

    def next_after(self, at: float, since: float = 0.0) -> float | None:
        """The first time after ``at``."""
        return since + ((at - since) // self.every + 1) * self.every

    def last_until(self, at: float, since: float = 0.0) -> float | None:
        """The last time up to ``at``, None before the first."""
        last = since + (at - since) // self.every * self.every
        return last if last > since else None


@dataclass(frozen=True, slots=True)
class Cron:
    """The minutes (of a day), days, months and years of a zone's clock.

    ``text`` is the expression, with the name of the zone unless that is UTC.
    """

    text: str
    minutes: tuple[int, ...]
    days: Days
    months: tuple[int, ...]
    years: tuple[int, ...]
    zone: tzinfo

    def next_after(self, at: float, since: float = 0.0) -> float | None:
        """The first time after ``at``, None if there is none up to the year 2199.

        ``since`` matters only to a rate.
        """
        shown = datetime.fromtimestamp(at, self.zone)
        times = map(self._time, self._clock(shown, back=False))
        return next((time for time in times if time is not None and time > at), None)

    def last_until(self, at: float, since: float = 0.0) -> float | None:
        """The last time up to ``at``, None if there is none from the year 1970 on.

        ``since`` matters only to a rate.
        """
        shown = datetime.fromtimestamp(at, self.zone)
        if shown.fold:  # what the clock showed before it was turned back is past, too
            shown += timedelta(seconds=at - shown.replace(fold=0).timestamp())
        times = map(self._time, self._clock(shown, back=True))
        return next((time for time in times if time is not None and time <= at), None)

    def is_in_calendar(self) -> bool:
        """Whether any of its days is in the calendar."""
        return next(self._clock(datetime(1970, 1, 1), back=False), None) is not None

    def _clock(self, first: datetime, *, back: bool) -> Iterator[datetime]:
        """What the clock shows at its times, from a minute on or backwards from it."""
        edge = 1_440 if back else 0
        for year in _from(self.years, first.year, back):
            at_first = year == first.year
            for month in _from(self.months, first.month if at_first else edge, back):
                in_first = at_first and month == first.month
                days = self.days.of(year, month)
                for day in _from(days, first.day if in_first else edge, back):
                    on_first = in_first and day == first.day
                    minute = first.hour * 60 + first.minute if on_first else edge
                    for each in _from(self.minutes, minute, back):
                        yield datetime(year, month, day, each // 60, each % 60)

    def _time(self, shown: datetime) -> float | None:
        """When the clock (first) shows this, None if it skips it."""
        time = shown.replace(tzinfo=self.zone).timestamp()
        is_shown = datetime.fromtimestamp(time, self.zone).replace(tzinfo=None) == shown
        return time if is_shown else None


Schedule = Rate | Cron


def _from(values: Sequence[int], first: int, back: bool) -> Iterable[int]:
    """The values from one on, in rising or falling order."""
    if back:
        return reversed(values[: bisect_right(values, first)])
    return values[bisect_left(values, first) :]


@dataclass(frozen=True, slots=True)
class Days:
    """Days of a month; days of the week are 1 (Sunday) to 7.

    ``days``: those in ``values``. ``last``: the last. ``near``: the weekday from Monday to Friday
    nearest to day ``values[0]`` within the month; none in a month without that day. ``weekdays``:
    those in ``values``. ``last weekday``: the last ``values[0]``. ``nth weekday``: the
    ``values[1]``-th ``values[0]``.
    """

    kind: Literal["days", "last", "near", "weekdays", "last weekday", "nth weekday"]
    values: tuple[int, ...] = ()

    def of(self, year: int, month: int) -> Sequence[int]:
        """The days of a month, in order."""
        before, length = monthrange(year, month)  # 0 when the first is a Monday

        def weekday(day: int) -> int:
            return (day + before) % 7 + 1

        match self.kind, self.values:
            case "last", _:
                return (length,)
            case "near", (day,):
                return (day + _aside(weekday(day), day, length),) if day <= length else ()
            case "weekdays", _:
                return [day for day in range(1, length + 1) if weekday(day) in self.values]
            case "last weekday", (wanted,):
                return [day for day in range(length - 6, length + 1) if weekday(day) == wanted]
            case "nth weekday", (wanted, nth):
                week = range(nth * 7 - 6, min(nth * 7, length) + 1)
                return [day for day in week if weekday(day) == wanted]
        return self.values[: bisect_right(self.values, length)]


def _aside(weekday: int, day: int, length: int) -> int:
    """Days to the nearest weekday from Monday to Friday."""
    if weekday == _SATURDAY:
        return -1 if day > 1 else 2
    if weekday == _SUNDAY:
        return 1 if day < length else -2
    return 0


# ---- Reading an expression -----------------------------------------------------------------------


def parse(expression: str, timezone: str | None = None) -> Schedule:
    """The schedule of an expression, by the clock of a time zone (default: UTC).

    Raises DefinitionError, which says what to write instead, for an expression that EventBridge
    Scheduler refuses or does not document or that never happens, and for an unknown zone.
    """
    if not isinstance(expression, str):
        raise DefinitionError(f"schedule must be text, not {expression!r}: {_SUCH_AS}")
    zone = UTC if timezone is None else _zone(timezone)
    try:
        if len(expression) > _MOST_CHARACTERS:
            raise DefinitionError(f"it has more than {_MOST_CHARACTERS} characters")
        if expression.startswith("rate("):
            return _rate(expression)
        if expression.startswith("at("):
            return _at(expression, zone, timezone)
        return _cron(expression, zone, timezone)
    except DefinitionError as error:
        raise DefinitionError(f"schedule {expression[:_MOST_CHARACTERS]!r}: {error}") from None


def check_overlap(overlap: object) -> None:
    """Raise DefinitionError for anything but an `Overlap` or None."""
    known = get_args(Overlap)
    if overlap is not None and overlap not in known:
        *others, last = map(repr, known)
        raise DefinitionError(f"overlap must be {', '.join(others)} or {last}, not {overlap!r}")


def _rate(expression: str) -> Rate:
    given = _RATE.fullmatch(expression)
    if given is None:
        raise DefinitionError(
            "rate(…) takes a whole number from 1, a space, and minutes, hours or days: "
            "write it such as 'rate(5 minutes)'"
        )
    every = int(given[1]) * _SECONDS[given[2]]
    if every > _MOST_DAYS * _SECONDS["day"]:
        raise DefinitionError(
            "it is longer than the range of schedules, 1970 to 2199: write at most "
            f"'rate({_MOST_DAYS} days)'"
        )
    return Rate(expression, every)


def _at(expression: str, zone: tzinfo, timezone: str | None) -> Cron:
    """A single time."""
    given = _AT.fullmatch(expression)
    try:
        when = datetime(*map(int, given.groups())) if given else None  # type: ignore[arg-type]
    except ValueError as error:
        raise DefinitionError(f"it is not a valid time: {error}") from None
    if when is None or not _YEAR.low <= when.year <= _YEAR.high:
        raise DefinitionError(
            f"at(…) takes a time from {_YEAR.low} to {_YEAR.high}: write it such as "
            "'at(2030-01-31T09:00:00)'"
        )
    if when.second:
        raise DefinitionError(
            f"EventBridge Scheduler is exact to a minute: write 'at({when:%Y-%m-%dT%H:%M}:00)'"
        )
    minutes, days = (when.hour * 60 + when.minute,), Days("days", (when.day,))
    text = _text(expression, zone, timezone)
    return _happening(Cron(text, minutes, days, (when.month,), (when.year,), zone), timezone)


def _text(expression: str, zone: tzinfo, timezone: str | None) -> str:
    return expression if zone is UTC else f"{expression} {timezone}"


def _cron(expression: str, zone: tzinfo, timezone: str | None) -> Cron:
    given = _CRON.fullmatch(expression)
    if given is None:
        raise DefinitionError(_SUCH_AS)
    fields = given[1].split(" ")
    if len(fields) != 6 or not all(fields):
        raise DefinitionError(
            "cron(…) takes six fields (minutes, hours, day-of-month, month, day-of-week, year) "
            f"separated by one space: {_SUCH_AS}"
        )
    minutes, hours = _MINUTES.values(fields[0]), _HOURS.values(fields[1])
    cron = Cron(
        text=_text(expression, zone, timezone),
        minutes=tuple(hour * 60 + minute for hour in hours for minute in minutes),
        days=_days(fields),
        months=_MONTH.values(fields[3]),
        years=_YEAR.values(fields[5]),
        zone=zone,
    )
    return _happening(cron, timezone)


def _happening(cron: Cron, timezone: str | None) -> Cron:
    """The same. Raises DefinitionError if it never happens."""
    if cron.next_after(_BEFORE_ALL) is None:
        raise DefinitionError(
            f"it never happens, since the clock of {timezone} skips this time: write another one"
            if cron.is_in_calendar()
            else "it never happens, since none of its months has such a day: write another day, or "
            "'L' for the last day of a month"
        )
    return cron


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a ``cron(…)``: its range of numbers, and their names if any."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def refused(self, text: str, why: str) -> DefinitionError:
        return DefinitionError(f"{self.name} '{text}': {why}")

    def values(self, text: str) -> tuple[int, ...]:
        """What a list of numbers and ranges means, in order."""
        found: set[int] = set()
        for part in text.split(","):
            if part == "*" != text:
                raise self.refused(text, "'*' already means every value: write '*'")
            found.update(self._part(part))
        return tuple(sorted(found))

    def _part(self, part: str) -> range:
        given = _PART.fullmatch(part)
        if given is None:
            raise self.refused(
                part, f"write {self._has}, ranges (A-B), a list of them (A,B), steps (A/N) or '*'"
            )
        first, last, step = given.groups()
        low = self.number(first) if first else self.low
        high = self.number(last) if last else self.high if step or not first else low
        if last and first.isdigit() is not last.isdigit():
            instead = f"{self._word(low, last)}-{last}"
            raise self.refused(part, f"{_SILENT}: write '{instead}'")
        if low > high:
            raise self.refused(part, self._wrapped(low, high, first, step))
        if step is not None:
            self._check_step(part, range(low, high + 1), first, int(step))
        return range(low, high + 1, int(step or 1))

    def number(self, text: str) -> int:
        """The number behind a numeral or a name."""
        if text in self.names:
            return self.low + self.names.index(text)
        if (
            text.isdigit()
            and len(text) <= len(str(self.high))
            and self.low <= int(text) <= self.high
        ):
            return int(text)
        name = text[:3].upper()
        if name in self.names:
            raise self.refused(text, f"write '{name}'")
        sunday = " (1 is SUN)" if self is _WEEKDAY else ""
        raise self.refused(text, f"write {self._has}{sunday}")

    def _wrapped(self, low: int, high: int, like: str, step: str | None) -> str:
        """What to write for a range that ends before it begins."""
        if self is _YEAR:
            return f"it ends before it begins: write '{high}-{low}'"
        if step is None:
            parts = [self._range(low, self.high, like), self._range(self.low, high, like)]
        else:
            every = [*range(low, self.high + 1), *range(self.low, high + 1)][:: int(step) or 1]
            parts = [self._word(each, like) for each in every]
        return f"it ends before it begins; {_SILENT}: write '{','.join(parts)}'"

    def _range(self, low: int, high: int, like: str) -> str:
        ends = sorted({low, high})
        return "-".join(self._word(each, like) for each in ends)

    def _check_step(self, part: str, values: range, like: str | None, step: int) -> None:
        if step == 0:
            raise self.refused(part, "a step of 0 is not possible: write a step from 1")
        if self is _WEEKDAY:
            instead = ",".join(self._word(each, like or "1") for each in values[::step])
            raise self.refused(part, f"steps are not possible here: write '{instead}'")
        if step > self.high - self.low:
            instead = self._word(values[0], like or "1")
            raise self.refused(part, f"a step of {step} reaches no second value: write '{instead}'")

    def _word(self, value: int, like: str) -> str:
        """A value, as a number or a name like another."""
        return str(value) if like.isdigit() else self.names[value - self.low]

    @property
    def _has(self) -> str:
        named = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        return f"{self.low}-{self.high}{named}"


_MINUTES = _Field("minutes", 0, 59)
_HOURS = _Field("hours", 0, 23)
_DAY = _Field("day-of-month", 1, 31)
_MONTH = _Field(
    "month",
    1,
    12,
    ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
)
_WEEKDAY = _Field("day-of-week", 1, 7, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))
_YEAR = _Field("year", 1970, 2199)


def _days(fields: Sequence[str]) -> Days:
    """What day-of-month and day-of-week mean; one of them is ``?``."""
    minutes, hours, day, month, weekday, year = fields
    of_month = _of_month(day) if day != "?" else None
    of_week = _of_week(weekday) if weekday != "?" else None
    if of_month and not of_week:
        return of_month
    if of_week and not of_month:
        return of_week
    by_month = f"'cron({minutes} {hours} {day.replace('?', '*')} {month} ? {year})'"
    by_week = f"'cron({minutes} {hours} ? {month} {weekday} {year})'"
    instead = f"{by_month} or {by_week}"
    if weekday in "*?":
        instead = by_month
    elif day == "*":
        instead = by_week
    raise DefinitionError(
        f"one of day-of-month and day-of-week names days, the other is '?': write {instead}"
    )


def _of_month(text: str) -> Days:
    if text == "L":
        return Days("last")
    if near := re.fullmatch(r"([0-9]+)W", text):
        return Days("near", (_DAY.number(near[1]),))
    if "L" in text.upper() or "W" in text.upper():
        raise _DAY.refused(
            text,
            f"{_SILENT}: write 'L' (the last day) or one day such as '28', or '28W' (the day "
            "from Monday to Friday that is nearest to it)",
        )
    return Days("days", _DAY.values(text))


def _of_week(text: str) -> Days:
    if text == "L":
        return Days("weekdays", (_SATURDAY,))
    if last := re.fullmatch(r"([A-Z0-9]+)L", text):
        return Days("last weekday", (_WEEKDAY.number(last[1]),))
    if nth := re.fullmatch(r"([A-Z0-9]+)#([1-5])", text):
        return Days("nth weekday", (_WEEKDAY.number(nth[1]), int(nth[2])))
    if "#" in text:
        raise _WEEKDAY.refused(
            text,
            "'#' takes one day and the numbers 1 to 5: write it such as '3#2' (the second "
            "Tuesday of a month), and a separate flow for each",
        )
    if "L" in text.upper():
        raise _WEEKDAY.refused(
            text,
            f"{_SILENT}: write '6L' (the last Friday of a month) or 'L' (Saturday), with "
            "nothing beside it",
        )
    return Days("weekdays", _WEEKDAY.values(text))


# ---- Time zones ----------------------------------------------------------------------------------


def _zone(name: str) -> tzinfo:
    """A time zone of the IANA database, which Python takes from the system or from ``tzdata``."""
    from zoneinfo import ZoneInfo

    if not isinstance(name, str):
        instead = getattr(name, "key", None) or "Europe/Helsinki"
        raise DefinitionError(
            f"timezone must be a name, not {name!r}: write it such as '{instead}'"
        )
    if name == "UTC":
        return UTC
    if not name.startswith(_OF_THIS_MACHINE):
        with suppress(KeyError, ValueError, OSError):
            return ZoneInfo(name)
    raise DefinitionError(f"timezone {name!r}: {_no_zone(name)}")


def _no_zone(name: str) -> str:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    known = {zone.lower(): zone for zone in available_timezones() if "/" in zone}
    if not known:
        return "this machine has no time zone database: pip install tzdata"
    near = [known[zone] for zone in get_close_matches(name.lower(), known)] or ["Europe/Helsinki"]
    return f"the IANA database has no such zone: write it such as '{near[0]}'"
