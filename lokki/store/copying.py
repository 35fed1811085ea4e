"""Copies a journal to another place: from a file to a server, or back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from time import time
from typing import Any

from lokki.errors import JournalError
from lokki.postgres_url import Place
from lokki.store.connection import open_database
from lokki.store.leases import is_worked_on
from lokki.store.owners import host_and_process
from lokki.store.runs import run_row
from lokki.store.sql import Connection, Interrupted

TABLES = {
    "runs": "number",
    "stages": "id",
    "items": "id",
    "spans": "id",
    "failures": "rowid",
    "events": "id",
    "logs": "id",
    "jobs": "run",
    "requests": "flow, key",
    "schedules": "flow",
    "ticks": "id",
    "spent": "stage, position",
    "rates": "name",
    "cached": "id",
    "attachments": "id",
}
"""The tables of a journal, each after those it refers to, and the keys that order their rows.

The places of limits are left out: processes at work have them.
"""
_PAGE = 500


def copy(source: Place, target: Place) -> int:
    """Copy everything in a journal to one without runs; return the number of runs.

    It is copied as it is at one moment, and completely or not at all. Payloads stay where they are.
    Raises JournalError if the source has no runs or one that a process is working on, or the target
    has runs.
    """
    with (
        closing(open_database(source, create=False)) as old,
        closing(open_database(target)) as new,
        old.errors(),
        new.errors(),
    ):
        if not old.read("SELECT 1 FROM runs LIMIT 1", ()):
            raise JournalError(f"the journal {source} has no runs to copy")
        with closing(old.connect()) as reading, closing(new.connect()) as writing:
            try:
                return _copied(reading, writing, target)
            except Interrupted:
                raise JournalError(
                    f"the connection to {source} or {target} was lost: copy the journal again"
                ) from None


def _copied(reading: Connection, writing: Connection, target: Place) -> int:
    reading.begin_reading()
    _refuse_worked_on(reading)
    writing.begin()
    if writing.execute("SELECT 1 FROM runs LIMIT 1").fetchall():
        raise JournalError(f"the journal {target} has runs: copy to one without any")
    for table, key in TABLES.items():
        columns = reading.columns_of(table)
        for rows in _pages(reading, table, columns, key):
            writing.insert(table, ", ".join(columns), rows)
    writing.continue_numbers()
    ((runs,),) = writing.execute("SELECT count(*) FROM runs").fetchall()
    _commit(writing)
    return int(runs)


def _pages(
    reading: Connection, table: str, columns: Sequence[str], key: str
) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a table in the order of its key, some at a time."""
    after: tuple[Any, ...] = ()
    marks = ", ".join("?" * (key.count(",") + 1))
    while True:
        rows = reading.execute(
            f"SELECT {', '.join(columns)}, {key} FROM {table}"
            f"{f' WHERE ({key}) > ({marks})' if after else ''} ORDER BY {key} LIMIT {_PAGE}",
            after,
        ).fetchall()
        if rows:
            yield [row[: len(columns)] for row in rows]
        if len(rows) < _PAGE:
            return
        after = rows[-1][len(columns) :]


def _refuse_worked_on(reading: Connection) -> None:
    now = time()
    for row in reading.execute("SELECT * FROM runs WHERE owner IS NOT NULL").fetchall():
        run = run_row(reading, row)
        if run.owner is not None and is_worked_on(run, now):
            host, process = host_and_process(run.owner)
            raise JournalError(
                f"run {run.id} is being run by process {process} on {host}: wait for its end, or "
                "stop it, then copy the journal"
            )


def _commit(writing: Connection) -> None:
    try:
        writing.commit()
    except Interrupted as interrupted:
        if not interrupted.recover():
            raise
