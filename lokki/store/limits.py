"""Limits that all runs of a journal share: who may begin a call, and when."""

from __future__ import annotations

from concurrent.futures import Future

from lokki.rate import Rate
from lokki.store.journal import Journal
from lokki.store.sql import Connection

_MOST_AHEAD = 3600.0
"""A time that lies further ahead is of a clock that was wrong."""


def reserve(journal: Journal, name: str, rate: Rate, count: int, now: float) -> Future[float]:
    """Reserve the next times of a shared rate; the seconds until the first of them.

    They follow each other evenly, and those that another process has reserved. Times that nobody
    uses pass: nothing has to be returned.
    """

    def update(connection: Connection) -> float:
        shared = now + connection.ahead
        row = connection.execute("SELECT next FROM rates WHERE name = ?", (name,)).fetchone()
        begin = shared if row is None or row[0] > shared + _MOST_AHEAD else max(shared, row[0])
        connection.execute(
            "INSERT INTO rates (name, next) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET next = excluded.next",
            (name, begin + count * rate.seconds / rate.count),
        )
        return float(begin - shared)

    return journal.commits.call("", update)
