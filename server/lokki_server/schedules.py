"""Schedules: starts runs as EventBridge would, from ``cron(…)`` and ``rate(…)`` in UTC.

Ticks that nothing was there for, since no server ran, are counted and not made up for. A tick's
run is queued under a key of its own: two servers on one journal start it once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice, takewhile
from time import time
from typing import TYPE_CHECKING, Any

from aws_croniter import AwsCroniter
from aws_croniter.exceptions import AwsCroniterExpressionError

from lokki.errors import LokkiError
from lokki.places.shapes import rfc3339
from lokki.store.schedules import ScheduleRow, Schedules
from lokki_server.problems import Problem

if TYPE_CHECKING:
    from lokki_server.service import Service

_LOOK_SECONDS = 0.5
_LATE_SECONDS = 60.0
"""A tick that is seen later than this was missed."""
_MOST_TICKS = 10_000
_SHOWN = 5
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
_log = logging.getLogger("lokki_server")


class Ticks:
    """The times of a schedule. Raises Problem for an expression that AWS would refuse."""

    def __init__(self, expression: str) -> None:
        self._every, self._cron = 0, None
        if rate := _RATE.fullmatch(expression):
            self._every = int(rate[1]) * _SECONDS[rate[2]]
            return
        try:
            self._cron = AwsCroniter(expression.removeprefix("cron(").removesuffix(")"))
        except AwsCroniterExpressionError as error:
            raise Problem(409, "The schedule is wrong", str(error)) from error

    def after(self, at: float, since: float) -> float | None:
        """The first tick after a time; of a rate, counted from ``since``."""
        if self._cron is None:
            return since + ((at - since) // self._every + 1) * self._every
        following = self._cron.get_next(datetime.fromtimestamp(at, UTC), 1)
        return following[0].timestamp() if following and following[0] else None

    def before(self, at: float, since: float) -> float | None:
        """The last tick up to a time."""
        if self._cron is None:
            tick = since + (at - since) // self._every * self._every
            return tick if tick > since else None
        past = self._cron.get_prev(datetime.fromtimestamp(at, UTC), 1, inclusive=True)
        return past[0].timestamp() if past and past[0] else None

    def from_(self, at: float, since: float) -> Iterator[float]:
        """The ticks after a time."""
        following = self.after(at, since)
        while following is not None:
            yield following
            following = self.after(following, since)


def _times(ticks: Ticks, row: ScheduleRow, now: float) -> list[str | None]:
    return [rfc3339(at) for at in islice(ticks.from_(now, row.since), _SHOWN)]


class Clock:
    """Follows the schedules of the flows that are offered."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._rows = Schedules(service.journal)
        self._wrong: dict[str, str] = {}

    async def work(self) -> None:
        """Start what is due, for ever."""
        while True:
            for name, (_, flow) in self._service.catalog.flows.items():
                if flow["schedule"] is not None:
                    try:
                        await self._look(name, flow["schedule"])
                    except (Problem, LokkiError) as error:
                        self._tell(name, str(error))
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell(self, name: str, error: str) -> None:
        if self._wrong.get(name) != error:
            self._wrong[name] = error
            _log.error("the schedule of %s: %s", name, error)

    async def _look(self, name: str, expression: str) -> None:
        ticks, now = Ticks(expression), time()
        row = self._rows.find(name)
        if row is None or row.expression != expression:
            await asyncio.wrap_future(self._rows.follow(name, expression, now))
            return
        latest = ticks.before(now, row.since)
        if latest is None or latest <= row.last:
            return
        if row.paused:
            await asyncio.wrap_future(self._rows.deal_with(row, latest))
            return
        due = list(islice(takewhile(latest.__ge__, ticks.from_(row.last, row.since)), _MOST_TICKS))
        run = None
        if now - latest <= _LATE_SECONDS or self._service.config.server.catch_up:
            key = f"schedule {name} {expression} {rfc3339(latest)}"
            run = (await self._service.start(name, {}, key, by=f"schedule {expression}")).id
            due = [at for at in due if at != latest]
        missed_last = due[-1] if due else None
        await asyncio.wrap_future(
            self._rows.deal_with(row, latest, missed=len(due), missed_last=missed_last, run=run)
        )

    def shape(self, name: str, expression: str | None) -> dict[str, Any] | None:
        """A flow's schedule as the API tells it; None when it has none."""
        if expression is None:
            return None
        row, now = self._rows.find(name), time()
        try:
            ticks, error = Ticks(expression), self._wrong.get(name)
        except Problem as problem:
            ticks, error = None, str(problem)
        return {
            "expression": expression,
            "paused": row is not None and row.paused,
            "next": _times(ticks, row, now) if ticks and row else [],
            "missed": row.missed if row else 0,
            "missed_last": rfc3339(row.missed_last) if row else None,
            "last": row.run if row else None,
            "error": error,
        }

    async def pause(self, name: str, paused: bool) -> None:
        """Pause a flow's schedule, or go on with it."""
        await asyncio.wrap_future(self._rows.pause(name, paused))
