"""Schedules in the journal, which any number of services follow together."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from lokki.store.jobs import NewRun, enqueue
from lokki.store.journal import Journal
from lokki.store.offers import Offer
from lokki.store.sql import Connection, Read
from lokki.store.storable import storable

_MOST_TICKS = 1_000
"""How many rows are kept for a flow."""


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A flow's schedule: ``since`` when it is followed, and up to when its ticks are processed.

    ``expression`` ends with its time zone, unless that is UTC. ``missed`` counts the ticks that no
    service was there to process, ``missed_last`` is the latest of them; ``run`` is the run started
    last.
    """

    flow: str
    expression: str
    since: float
    last: float
    paused: bool
    missed: int
    missed_last: float | None
    run: str | None


@dataclass(frozen=True, slots=True)
class Ticks:
    """A time of a schedule, or several in a row with the same outcome, from ``first`` to ``last``.

    ``outcome``: "started" (``run``), "skipped" since ``run`` had not ended, "missed" (for the
    ``reason``, if known), or "paused".
    """

    first: float
    last: float
    count: int
    outcome: Literal["started", "skipped", "missed", "paused"]
    run: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """The run of a tick; it is skipped or waits while a run of an earlier tick has not ended.

    ``offer`` is that of the service; ``most``: how many of its runs may wait for a runner.
    """

    run: NewRun
    offer: Offer
    skips: bool
    in_turn: bool
    most: int


def schedule_row(read: Read, flow: str) -> ScheduleRow | None:
    """A flow's schedule in a journal, if one is followed."""
    rows = read.execute("SELECT * FROM schedules WHERE flow = ?", (flow,))
    return next(map(_row, rows), None)


class Schedules:
    """The schedules of the flows that services offered."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def all(self) -> dict[str, ScheduleRow]:
        """Those that are followed, by flow."""
        rows = self._journal.read("SELECT * FROM schedules")
        return {row.flow: row for row in map(_row, rows)}

    def find(self, flow: str) -> ScheduleRow | None:
        """A flow's schedule, if one is followed."""
        return schedule_row(self._journal.read, flow)

    def ticks(self, flow: str, limit: int) -> list[Ticks]:
        """The outcomes of the latest times of a flow's schedule, the newest first."""
        rows = self._journal.read(
            "SELECT first, last, count, outcome, run, reason FROM ticks WHERE flow = ?"
            " ORDER BY id DESC LIMIT ?",
            (flow, limit),
        )
        return [Ticks(*row) for row in rows]

    def follow(self, flow: str, expression: str, now: float) -> Future[None]:
        """Follow a schedule from now on, if it is new or has changed."""

        def update(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO schedules (flow, expression, since, last) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (flow) DO UPDATE SET expression = excluded.expression,"
                "  since = excluded.since, last = excluded.last"
                " WHERE schedules.expression <> excluded.expression",
                (flow, expression, now, now),
            )

        return self._journal.commits.call("", update)

    def pause(self, flow: str, paused: bool) -> Future[None]:
        """Pause a schedule, or continue it."""

        def update(connection: Connection) -> None:
            connection.execute(
                "UPDATE schedules SET paused = ? WHERE flow = ?", (int(paused), flow)
            )

        return self._journal.commits.call("", update)

    def mark_processed(
        self, row: ScheduleRow, last: float, passed: Ticks | None, due: Due | None
    ) -> Future[None]:
        """Record that the ticks up to ``last`` are processed, unless another service did.

        ``passed`` are those that start no run; ``due`` is the run for ``last``. Raises QueueFull,
        and then records nothing.
        """

        def update(connection: Connection) -> None:
            if not connection.execute(
                "UPDATE schedules SET last = ? WHERE flow = ? AND last = ?",
                (last, row.flow, row.last),
            ).rowcount:
                return
            if passed is not None:
                _record(connection, row.flow, passed)
            if due is not None:
                _record(connection, row.flow, _begin(connection, last, due))

        return self._journal.commits.call("", update)


def _begin(connection: Connection, at: float, due: Due) -> Ticks:
    """Queue the run of a tick, unless it is skipped."""
    in_the_way = connection.execute(
        "SELECT id FROM runs JOIN jobs ON run = id"
        " WHERE flow = ? AND status IN ('queued', 'running', 'paused') AND tick IS NOT NULL"
        " ORDER BY number DESC LIMIT 1",
        (due.run.flow,),
    ).fetchone()
    if in_the_way and due.skips:
        return Ticks(at, at, 1, "skipped", in_the_way[0])
    enqueue(connection, due.run, due.offer, due.most, tick=at, in_turn=due.in_turn)
    return Ticks(at, at, 1, "started", due.run.id)


def _record(connection: Connection, flow: str, ticks: Ticks) -> None:
    """Add to the history of a schedule; to its latest row, if the outcome is the same."""
    if ticks.outcome == "started":
        connection.execute("UPDATE schedules SET run = ? WHERE flow = ?", (ticks.run, flow))
    elif ticks.outcome == "missed":
        connection.execute(
            "UPDATE schedules SET missed = missed + ?, missed_last = ? WHERE flow = ?",
            (ticks.count, ticks.last, flow),
        )
    way = storable((ticks.outcome, ticks.run, ticks.reason))
    if connection.execute(
        "UPDATE ticks SET last = ?, count = count + ?"
        " WHERE id = (SELECT max(id) FROM ticks WHERE flow = ?)"
        " AND outcome = ? AND run IS ? AND reason IS ?",
        (ticks.last, ticks.count, flow, *way),
    ).rowcount:
        return
    connection.execute(
        "INSERT INTO ticks (flow, first, last, count, outcome, run, reason)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (flow, ticks.first, ticks.last, ticks.count, *way),
    )
    connection.execute(
        "DELETE FROM ticks WHERE flow = ? AND id <="
        " (SELECT id FROM ticks WHERE flow = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (flow, flow, _MOST_TICKS),
    )


def _row(columns: tuple[Any, ...]) -> ScheduleRow:
    flow, expression, since, last, paused, *rest = columns
    return ScheduleRow(flow, expression, since, last, bool(paused), *rest)
