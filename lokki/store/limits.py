"""Limits that all runs of a journal share: who may begin a call, and when, and how many run."""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

from lokki.rate import Rate
from lokki.store.journal import Journal
from lokki.store.leases import is_alive
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


class Line(NamedTuple):
    """The places of a process in the line of a limit; ``is_alone``: there are no others in it.

    Those in ``front`` are for calls that run.
    """

    front: int
    behind: int
    is_alone: bool


def line_up(
    journal: Journal, name: str, most: int, *, ended: int, wanted: int, now: float
) -> Future[Line]:
    """Give up the first places of this process, whose calls have ended, and have ``wanted`` now.

    The ``most`` places in front are for calls that run; new ones are behind all others. A process
    loses its places when it has no lease of a run any more.
    """

    def update(connection: Connection) -> Line:
        line = _line(connection, name, journal.owner, now)
        mine = [number for number, owner in line if owner == journal.owner]
        kept = mine[ended : ended + wanted]
        connection.executemany(
            "DELETE FROM places WHERE id = ?", [(each,) for each in mine if each not in kept]
        )
        new = wanted - len(kept)
        connection.executemany(
            "INSERT INTO places (name, owner) VALUES (?, ?)", [(name, journal.owner)] * new
        )
        left = [owner for number, owner in line if owner != journal.owner or number in kept]
        owners = left + [journal.owner] * new
        front = owners[:most].count(journal.owner)
        return Line(front, wanted - front, len(owners) == wanted)

    return journal.commits.call("", update)


def _line(connection: Connection, name: str, owner: str, now: float) -> list[tuple[int, str]]:
    """The places of a limit in their order, without those of processes that are gone."""
    line = connection.execute(
        "SELECT id, owner FROM places WHERE name = ? ORDER BY id", (name,)
    ).fetchall()
    if all(other == owner for _, other in line):
        return line
    leases = connection.execute(
        "SELECT owner, max(leased_until) FROM runs"
        " WHERE status IN ('queued', 'running', 'paused') AND owner IS NOT NULL GROUP BY owner"
    )
    at_work = {other for other, until in leases if is_alive(other, until - connection.ahead, now)}
    gone = [(number,) for number, other in line if other not in at_work | {owner}]
    connection.executemany("DELETE FROM places WHERE id = ?", gone)
    return [each for each in line if (each[0],) not in gone]
