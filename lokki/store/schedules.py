"""What a journal keeps of schedules, so that any number of services follow them together."""

from __future__ import annotations

import sqlite3
from concurrent.futures import Future
from dataclasses import dataclass

from lokki.store.history import Read
from lokki.store.journal import Journal


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A flow's schedule: ``since`` when it is followed, up to when its ticks are dealt with.

    ``expression`` has its time zone behind it, unless that is UTC. ``missed`` is how many ticks
    were, since nothing was there to start their runs, and ``missed_last`` the latest of them;
    ``run`` is the last that was started.
    """

    flow: str
    expression: str
    since: float
    last: float
    paused: bool
    missed: int
    missed_last: float | None
    run: str | None


def schedule_row(read: Read, flow: str) -> ScheduleRow | None:
    """A flow's schedule in a journal, if one is followed."""
    rows = read("SELECT * FROM schedules WHERE flow = ?", (flow,))
    for flow, expression, since, last, paused, *rest in rows:
        return ScheduleRow(flow, expression, since, last, bool(paused), *rest)
    return None


class Schedules:
    """The schedules of the flows that services have offered."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def find(self, flow: str) -> ScheduleRow | None:
        """A flow's schedule, if one is followed."""
        return schedule_row(self._journal.read, flow)

    def follow(self, flow: str, expression: str, now: float) -> Future[None]:
        """Follow a schedule from now on, if it is new or has changed."""

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO schedules (flow, expression, since, last) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (flow) DO UPDATE SET expression = excluded.expression,"
                "  since = excluded.since, last = excluded.last"
                " WHERE expression <> excluded.expression",
                (flow, expression, now, now),
            )

        return self._journal.commits.call("", update)

    def pause(self, flow: str, paused: bool) -> Future[None]:
        """Start no runs by a schedule, or start them again."""

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE schedules SET paused = ? WHERE flow = ?", (int(paused), flow)
            )

        return self._journal.commits.call("", update)

    def deal_with(
        self,
        row: ScheduleRow,
        last: float,
        *,
        missed: int = 0,
        missed_last: float | None = None,
        run: str | None = None,
    ) -> Future[None]:
        """Record that the ticks up to ``last`` are dealt with, unless another service has."""

        def update(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE schedules SET last = ?, missed = missed + ?,"
                " missed_last = coalesce(?, missed_last), run = coalesce(?, run)"
                " WHERE flow = ? AND last = ?",
                (last, missed, missed_last, run, row.flow, row.last),
            )

        return self._journal.commits.call("", update)
