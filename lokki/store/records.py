"""What is recorded of a run in progress: rows, and the statements that write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lokki.logging import Line
from lokki.store.events import add_event
from lokki.store.groups import group
from lokki.store.lines import insert
from lokki.store.outcomes import Outcomes
from lokki.store.rows import StageRow
from lokki.store.span_rows import insert as insert_spans
from lokki.store.sql import Connection
from lokki.store.storable import storable

_ITEMS = "id, status, position, attempts, started, finished, output, ref"
_FAILURES = "item, step, attempt, at, type, reason, traceback, grp, whole"


@dataclass(frozen=True, slots=True)
class Opening:
    """The start of a stage."""

    row: StageRow

    def __len__(self) -> int:
        return 1

    def write(self, connection: Connection) -> None:
        row = self.row
        connection.execute(
            "INSERT INTO stages (id, run, position, name, kind, started, total)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row.id, row.run, row.position, row.name, row.kind, row.started, row.total),
        )
        add_event(connection, row.run, row.started, "stage_started", row.position)


Entry: TypeAlias = Opening | Outcomes


def _write_outcomes(connection: Connection, outcomes: Outcomes) -> None:
    insert_spans(connection, outcomes.stage, outcomes.spans)
    connection.replace("items", _ITEMS, outcomes.items)
    failures = [storable((*row[:-1], group(*row[-4:-1]), row[-1])) for row in outcomes.failures]
    connection.insert("failures", _FAILURES, failures)
    for item in {row[0] for row in failures if row[-1] is not None}:  # one whole text is enough
        connection.execute(
            "UPDATE failures SET whole = NULL WHERE item = ? AND whole IS NOT NULL"
            " AND rowid < (SELECT max(rowid) FROM failures WHERE item = ?)",
            (item, item),
        )
    connection.execute(
        "UPDATE stages SET succeeded = ?, failed = ?, tolerated = ?, retrying = ?,"
        " updated = coalesce(?, updated) WHERE id = ?",
        (*outcomes.counts, outcomes.latest(), outcomes.stage),
    )
    for sums in outcomes.sums():
        connection.execute(
            "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (stage, position) DO UPDATE"
            " SET calls = spent.calls + excluded.calls, seconds = spent.seconds + excluded.seconds",
            sums,
        )


def write(
    connection: Connection,
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
