"""Schedules: starts runs as EventBridge Scheduler would, at the times of ``lokki.schedule``.

Times at which no server ran are counted, but not caught up on. A transaction of the journal decides
what happens at a time: several servers start a run once. A problem with one flow's schedule is
reported with that flow; the other schedules are followed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from itertools import islice, takewhile
from time import time
from typing import Any, Protocol

import anyio

from lokki.backends.schedules import schedule_of, shown_schedule, shown_ticks, times
from lokki.config import Config
from lokki.errors import LokkiError
from lokki.model import flow
from lokki.schedule import Schedule
from lokki.store.jobs import NewRun
from lokki.store.journal import Journal
from lokki.store.schedules import Due, ScheduleRow, Schedules, Ticks
from lokki_server.catalog import Catalog
from lokki_server.problems import Problem
from lokki_server.supervisor import Supervisor

_DEFAULTS = b'{"params": {}}'
LOOK_SECONDS = 0.5
"""The pause between two looks at the schedules."""
_LATE_SECONDS = 60.0
"""A time that is noticed later than this counts as missed."""
_MOST_AT_ONCE = 10_000
_log = logging.getLogger("lokki_server")


class Starter(Protocol):
    """Starts the runs of schedules: the service."""

    config: Config
    journal: Journal
    catalog: Catalog
    supervisor: Supervisor

    async def new_run(self, name: str, body: bytes, by: str) -> tuple[NewRun, str]: ...
    async def settle(self, new: NewRun) -> None: ...


class Clock:
    """Follows the schedules of the offered flows."""

    def __init__(self, service: Starter) -> None:
        self._service = service
        self._rows = Schedules(service.journal)
        self._wrong: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Begin to start what is due; a slow flow delays no other."""
        rows = await anyio.to_thread.run_sync(self._rows.all)
        for name, (_, found) in self._service.catalog.flows.items():
            if found["schedule"] is not None and name not in self._tasks:
                following = self._follow(name, found["schedule"], rows.get(name))
                self._tasks[name] = task = asyncio.create_task(following)
                task.add_done_callback(partial(self._forget, name))

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        del self._tasks[name]

    def close(self) -> None:
        """Stop starting runs."""
        for task in self._tasks.values():
            task.cancel()

    async def _follow(self, name: str, asked: dict[str, Any], row: ScheduleRow | None) -> None:
        """Start what is due for one flow, or log its problem once."""
        try:
            await self._look(name, schedule_of(asked), asked["overlap"], row)
        except Exception as error:
            if self._wrong.get(name) != _text(error):
                self._wrong[name] = _text(error)
                unforeseen = None if _is_foreseen(error) else error
                _log.error("the schedule of %s: %s", name, _text(error), exc_info=unforeseen)
        else:
            self._wrong.pop(name, None)

    async def _look(
        self, name: str, schedule: Schedule, overlap: str, row: ScheduleRow | None
    ) -> None:
        now = time()
        if row is None or row.expression != schedule.text:
            await asyncio.wrap_future(self._rows.follow(name, schedule.text, now))
            return
        latest = schedule.last_until(now, row.since)
        if latest is None or latest <= row.last:
            return
        settings = self._service.config.server
        since_last = takewhile(latest.__ge__, times(schedule, row.last, row.since))
        passed, due, run = list(islice(since_last, _MOST_AT_ONCE)), None, None
        if not row.paused and (now - latest <= _LATE_SECONDS or settings.catch_up):
            run, _ = await self._service.new_run(name, _DEFAULTS, f"schedule {schedule.text}")
            offer = self._service.catalog.offer
            due = Due(run, offer, overlap == "skip", overlap == "queue", settings.max_queued)
            passed = [at for at in passed if at != latest]
        ticks = _let_go(passed, paused=row.paused, wrong=self._wrong.get(name))
        await asyncio.wrap_future(self._rows.mark_processed(row, latest, ticks, due))
        if run is not None:
            await self._service.settle(run)
        self._service.supervisor.wake()

    def shown(self, name: str, asked: dict[str, Any] | None) -> flow.Schedule | None:
        """A flow's schedule as the API shows it; None if it has none."""
        if asked is None:
            return None
        row, wrong = self._rows.find(name), self._wrong.get(name, "")
        since = None if row is None else row.since
        return shown_schedule(asked, row, time(), since, wrong)

    def ticks(self, name: str, limit: int) -> list[flow.Ticks]:
        """The outcomes of the latest times of a flow's schedule, as the API shows them."""
        return [shown_ticks(each) for each in self._rows.ticks(name, limit)]

    async def pause(self, name: str, paused: bool) -> None:
        """Pause or continue a flow's schedule."""
        await asyncio.wrap_future(self._rows.pause(name, paused))


def _let_go(at: Sequence[float], *, paused: bool, wrong: str | None) -> Ticks | None:
    """The outcome of times at which nothing was started."""
    if not at:
        return None
    if paused:
        return Ticks(at[0], at[-1], len(at), "paused")
    return Ticks(at[0], at[-1], len(at), "missed", reason=wrong)


def _is_foreseen(error: Exception) -> bool:
    return isinstance(error, Problem | LokkiError)


def _text(error: Exception) -> str:
    """The text of an error, with its type if it is unexpected."""
    return str(error) if _is_foreseen(error) else f"{type(error).__name__}: {error}"
