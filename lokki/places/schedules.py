"""A flow's schedule as the API tells it and `lokki schedules` lists it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from itertools import islice
from typing import Any, TypedDict

from lokki.errors import DefinitionError, LokkiError, described
from lokki.places.shapes import rfc3339
from lokki.schedule import Schedule, parse
from lokki.store.schedules import ScheduleRow, Ticks

_SHOWN = 5


class ScheduleShape(TypedDict):
    """``next`` are the next times, ``missed`` those that no server was there for."""

    expression: str
    timezone: str
    overlap: str
    paused: bool
    next: list[str | None]
    missed: int
    missed_last: str | None
    last: str | None
    error: str | None


def times(schedule: Schedule, at: float, since: float) -> Iterator[float]:
    """The times after one; of a rate, counted from ``since``."""
    following = schedule.next_after(at, since)
    while following is not None:
        yield following
        following = schedule.next_after(following, since)


@lru_cache(maxsize=1_024)
def _read(expression: str, timezone: str | None) -> Schedule | str:
    """A flow's schedule, or why there is none: this process may know other time zones."""
    try:
        return parse(expression, timezone)
    except DefinitionError as error:
        return str(error)


def schedule_of(asked: dict[str, Any]) -> Schedule:
    """The schedule that a flow is told with. Raises DefinitionError for one unknown here."""
    found = _read(asked["expression"], asked["timezone"])
    if isinstance(found, str):
        raise DefinitionError(found)
    return found


def schedule_shape(
    asked: dict[str, Any], row: ScheduleRow | None, now: float, since: float | None, error: str = ""
) -> ScheduleShape:
    """The schedule that a flow is told with, and what a journal has of it.

    ``since`` is when it is followed from; None: it has no next times yet.
    """
    following: list[str | None] = []
    try:
        schedule = schedule_of(asked)
        if since is not None:
            following = [rfc3339(at) for at in islice(times(schedule, now, since), _SHOWN)]
    except Exception as problem:  # of this flow, whose listing must not hide the others
        error = str(problem) if isinstance(problem, LokkiError) else described(problem)
    return {
        "expression": asked["expression"],
        "timezone": asked["timezone"] or "UTC",
        "overlap": asked["overlap"],
        "paused": row is not None and row.paused,
        "next": following,
        "missed": row.missed if row else 0,
        "missed_last": rfc3339(row.missed_last) if row else None,
        "last": row.run if row else None,
        "error": error or None,
    }


def ticks_shape(ticks: Ticks) -> dict[str, Any]:
    """What became of times of a schedule."""
    return {**asdict(ticks), "first": rfc3339(ticks.first), "last": rfc3339(ticks.last)}
