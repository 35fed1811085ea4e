"""What is recorded of a run in progress: rows, and the statements that write them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from lokki.logging import Line
from lokki.store.events import add_event
from lokki.store.groups import group
from lokki.store.lines import insert
from lokki.store.outcomes import Outcomes
from lokki.store.rows import StageRow
from lokki.store.span_rows import insert as insert_spans
from lokki.store.storable import storable

_ROWS_PER_STATEMENT = (512, 64, 8, 1)


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
    insert_spans(connection, outcomes.stage, outcomes.spans)
    _insert_items(connection, outcomes.items)
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
    + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * size)
    for size in _ROWS_PER_STATEMENT
}


def _insert_items(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    done = 0
    for size in _ROWS_PER_STATEMENT:
        while len(rows) - done >= size:
            values = chain.from_iterable(rows[done : done + size])
            connection.execute(_INSERTS[size], [*values])
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
