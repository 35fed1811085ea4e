"""What is recorded of a run in progress: rows, and the statements that write them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, TypeAlias

from lokki.logging import Line
from lokki.store.events import add_event
from lokki.store.groups import group
from lokki.store.lines import insert
from lokki.store.outcomes import Outcomes
from lokki.store.rows import StageRow
from lokki.store.storable import storable

_PADDED_FROM = 64
_ROWS_PER_STATEMENT = (2048, 1024, 512, 256, 128, 64, 8, 1)


@dataclass(frozen=True, slots=True)
class Opening:
    """The start of a stage."""

    row: StageRow

    def __len__(self) -> int:
        return 1

    def write(self, connection: sqlite3.Connection) -> None:
        row = self.row
        connection.execute(
            "INSERT INTO stages (id, run, position, name, kind, started, total)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row.id, row.run, row.position, row.name, row.kind, row.started, row.total),
        )
        add_event(connection, row.run, row.started, "stage_started", row.position)


Entry: TypeAlias = Opening | Outcomes


def _write_outcomes(connection: sqlite3.Connection, outcomes: Outcomes) -> None:
    _insert_succeeded(connection, outcomes.succeeded)
    connection.executemany(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", outcomes.items
    )
    connection.executemany(
        "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (storable((*row[:-1], group(*row[-4:-1]), row[-1])) for row in outcomes.failures),
    )
    connection.executemany(  # one whole text an item is enough
        "UPDATE failures SET whole = NULL WHERE item = ?1 AND whole IS NOT NULL"
        " AND rowid < (SELECT max(rowid) FROM failures WHERE item = ?1)",
        {(row[0],) for row in outcomes.failures if row[-1] is not None},
    )
    connection.execute(
        "UPDATE stages SET succeeded = ?, failed = ?, tolerated = ?, retrying = ?,"
        " updated = coalesce(?, updated) WHERE id = ?",
        (*outcomes.counts, outcomes.latest(), outcomes.stage),
    )
    connection.executemany(
        "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET calls = calls + excluded.calls, seconds = seconds + excluded.seconds",
        outcomes.sums(),
    )


# Many rows per statement, since every statement waits for the interpreter's lock.
_INSERTS = {
    size: "INSERT OR REPLACE INTO items VALUES "  # noqa: S608
    + ", ".join(["(?, 'succeeded', 0, 1, ?, ?, ?, NULL)"] * size)
    for size in _ROWS_PER_STATEMENT
}


def _insert_succeeded(connection: sqlite3.Connection, succeeded: list[Any]) -> None:
    """Insert flat rows in few statements; the last row may be repeated to fill one."""
    done, count = 0, len(succeeded) // 4
    while done < count:
        left = count - done
        size = next(size for size in _ROWS_PER_STATEMENT if size <= left or size == 1)
        if size < _PADDED_FROM and size < left:
            size = next(size for size in reversed(_ROWS_PER_STATEMENT) if size >= left)
        rows = succeeded[done * 4 : (done + size) * 4]
        connection.execute(_INSERTS[size], rows + rows[-4:] * (size - len(rows) // 4))
        done += size


def write(
    connection: sqlite3.Connection,
    run_id: str,
    entries: list[Entry],
    lines: list[Line],
) -> None:
    """Write a run's records and lines, in their order."""
    for entry in entries:
        if isinstance(entry, Opening):
            entry.write(connection)
        else:
            _write_outcomes(connection, entry)
    insert(connection, run_id, lines)
