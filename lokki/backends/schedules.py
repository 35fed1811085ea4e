"""A flow's schedule, as the API returns it and `lokki schedules` lists it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

from lokki.errors import DefinitionError, LokkiError, described
from lokki.model import flow
from lokki.model.structure import StageStructure
from lokki.model.times import Time, rfc3339, utc
from lokki.schedule import Schedule, parse
from lokki.store.schedules import ScheduleRow, Ticks

_SHOWN = 5


def times(schedule: Schedule, at: float, since: float) -> Iterator[float]:
    """The times after one; for a rate, counted from ``since``."""
    following = schedule.next_after(at, since)
    while following is not None:
        yield following
        following = schedule.next_after(following, since)


@lru_cache(maxsize=1_024)
def _read(expression: str, timezone: str | None) -> Schedule | str:
    """A schedule, or why there is none: this process may know other time zones."""
    try:
        return parse(expression, timezone)
    except DefinitionError as error:
        return str(error)


def schedule_of(asked: Mapping[str, Any]) -> Schedule:
    """The schedule that a flow declares. Raises DefinitionError for one unknown here."""
    found = _read(asked["expression"], asked["timezone"])
    if isinstance(found, str):
        raise DefinitionError(found)
    return found


def shown_schedule(
    asked: Mapping[str, Any],
    row: ScheduleRow | None,
    now: float,
    since: float | None,
    error: str = "",
) -> flow.Schedule:
    """The schedule that a flow declares, and what a journal has recorded of it.

    ``since`` is when it was first followed; None: it has no next times yet.
    """
    following: list[Time] = []
    try:
        schedule = schedule_of(asked)
        if since is not None:
            following = [utc(at) for at in islice(times(schedule, now, since), _SHOWN)]
    except Exception as problem:  # one flow's error must not hide the others
        error = str(problem) if isinstance(problem, LokkiError) else described(problem)
    return flow.Schedule(
        expression=asked["expression"],
        timezone=asked["timezone"] or "UTC",
        overlap=asked["overlap"],
        paused=row is not None and row.paused,
        next=following,
        missed=row.missed if row else 0,
        missed_last=rfc3339(row.missed_last) if row else None,
        last=row.run if row else None,
        error=error or None,
    )


def offered(found: Mapping[str, Any], file: str, schedule: flow.Schedule | None) -> flow.Flow:
    """A flow of a file, as described by the process that has imported it."""
    stages = found["stages"]
    return flow.Flow(
        name=found["name"],
        file=file,
        doc=found["doc"],
        parameters=found["parameters"],
        secrets=found["secrets"],
        stages=None if stages is None else [StageStructure(**each) for each in stages],
        schedule=schedule,
    )


def shown_ticks(ticks: Ticks) -> flow.Ticks:
    """The outcomes of times of a schedule."""
    return flow.Ticks(
        first=utc(ticks.first),
        last=utc(ticks.last),
        count=ticks.count,
        outcome=ticks.outcome,
        run=ticks.run,
        reason=ticks.reason,
    )
