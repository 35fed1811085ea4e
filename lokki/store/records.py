"""What is recorded of a run in progress: rows, and the statements that write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from lokki.logging import Line
from lokki.model.attachment import Shown
from lokki.model.base import fields_of
from lokki.store import attachments
from lokki.store.cached import CACHED
from lokki.store.events import add_events
from lokki.store.groups import group
from lokki.store.lines import insert
from lokki.store.outcomes import Outcomes
from lokki.store.rows import StageRow, position_of
from lokki.store.span_rows import insert as insert_spans
from lokki.store.sql import Connection
from lokki.store.storable import storable

_STAGES = ", ".join(field.name for field in fields(StageRow))
_ITEMS = "id, status, position, attempts, started, finished, output, ref"
_FAILURES = "item, step, attempt, at, type, reason, traceback, grp, whole"


@dataclass(frozen=True, slots=True)
class Opening:
    """The start of a stage."""

    row: StageRow

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True, slots=True)
class Closing:
    """The end of a stage: every item has its outcome."""

    position: int
    at: float

    def __len__(self) -> int:
        return 1


Entry: TypeAlias = Opening | Outcomes | Closing | Shown
Written: TypeAlias = tuple[str, list[Entry], list[Line]]
"""What is recorded of a run: its id, records and lines."""


def _write_stages(connection: Connection, writes: Sequence[Written]) -> set[int]:
    """Record what has become of stages; return those that are new."""
    new: list[StageRow] = []
    events: list[tuple[Any, ...]] = []
    for run_id, entries, _ in writes:
        new += _stages_of(connection, run_id, entries, events)
    connection.insert("stages", _STAGES, [tuple(fields_of(row).values()) for row in new])
    add_events(connection, events)
    return {row.id for row in new}


def _stages_of(
    connection: Connection, run_id: str, entries: list[Entry], events: list[tuple[Any, ...]]
) -> Iterable[StageRow]:
    """Record what has become of a run's stages; return new ones, and add the events."""
    new: dict[int, StageRow] = {}
    for entry in entries:
        match entry:
            case Opening(row):
                new[row.position] = row
                events.append((run_id, row.started, "stage_started", row.position, None))
            case Closing(position, at):
                if position in new:
                    new[position] = replace(new[position], finished=at)
                else:
                    connection.execute(
                        "UPDATE stages SET finished = ? WHERE run = ? AND position = ?",
                        (at, run_id, position),
                    )
                events.append((run_id, at, "stage_finished", position, None))
            case Outcomes():
                _count(connection, new, entry)
    return new.values()


def _count(connection: Connection, new: dict[int, StageRow], outcomes: Outcomes) -> None:
    position = position_of(outcomes.stage)
    succeeded, failed, tolerated, retrying = outcomes.counts
    if position in new:
        new[position] = replace(
            new[position],
            succeeded=succeeded,
            failed=failed,
            tolerated=tolerated,
            retrying=retrying,
            reused=outcomes.reused_items,
            updated=outcomes.latest() or new[position].updated,
        )
    else:
        connection.execute(
            "UPDATE stages SET succeeded = ?, failed = ?, tolerated = ?, retrying = ?, reused = ?,"
            " updated = coalesce(?, updated) WHERE id = ?",
            (*outcomes.counts, outcomes.reused_items, outcomes.latest(), outcomes.stage),
        )


def _write_items(connection: Connection, found: Sequence[Outcomes], new: Set[int]) -> None:
    """Record the items of stages; those of ``new`` ones replace none."""
    insert_spans(connection, [(each.stage, span) for each in found for span in each.spans], new=new)
    connection.replace("items", _ITEMS, [row for each in found for row in each.items])
    connection.replace("cached", CACHED, [row for each in found for row in each.cached])
    failures = [
        storable((*row[:-1], group(*row[-4:-1]), row[-1]))
        for each in found
        for row in each.failures
    ]
    connection.insert("failures", _FAILURES, failures)
    for item in {row[0] for row in failures if row[-1] is not None}:  # one whole text is enough
        connection.execute(
            "UPDATE failures SET whole = NULL WHERE item = ? AND whole IS NOT NULL"
            " AND rowid < (SELECT max(rowid) FROM failures WHERE item = ?)",
            (item, item),
        )
    for sums in (row for each in found for row in each.sums()):
        connection.execute(
            "INSERT INTO spent (stage, position, calls, seconds, reused) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (stage, position) DO UPDATE SET calls = spent.calls + excluded.calls,"
            " seconds = spent.seconds + excluded.seconds, reused = spent.reused + excluded.reused",
            sums,
        )


def write(connection: Connection, writes: Sequence[Written]) -> None:
    """Write the records and lines of runs, each in their order."""
    new = _write_stages(connection, writes)
    found = [each for _, entries, _ in writes for each in entries if isinstance(each, Outcomes)]
    _write_items(connection, found, new)
    for run_id, entries, _ in writes:
        for entry in entries:
            if isinstance(entry, Shown):
                attachments.insert(connection, run_id, entry)
    insert(connection, [(run_id, lines) for run_id, _, lines in writes])
