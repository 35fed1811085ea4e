"""A run in a directory of its own, seen from outside: its processes, its journal, its calls."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg
from timing import environment

from lokki.store.codec import loads

INDEX = (1 << 32) - 1
EVERY_ITEM = (
    "(WITH RECURSIVE inside (id, others) AS (SELECT id, count - 1 FROM spans UNION ALL"
    " SELECT id + 1, others - 1 FROM inside WHERE others > 0)"
    " SELECT id, 'succeeded' AS status, 1 AS attempts FROM inside"
    " UNION ALL SELECT id, status, attempts FROM items) AS items"
)
"""Every item with a record, as a table: those in spans, and those with rows of their own."""


class Call(NamedTuple):
    """One call of the step, as it told of itself."""

    index: int
    attempt: int
    life: int


class Outcome(NamedTuple):
    """An item as the journal has it."""

    status: str
    attempts: int


class Observed:
    """The directory ``place`` with ``flow.py`` in it, whose step ``work`` is mapped.

    ``database`` is the URL of its journal if that is in a PostgreSQL database. Each call of
    ``work`` appends a line "index attempt life" to the file ``calls``.
    """

    def __init__(self, place: Path, flow: str, database: str | None = None) -> None:
        self.place = place
        self.database = database
        self.journal = place / "lokki.db"
        self.log = place / "calls"
        (place / "flow.py").write_text(flow)

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """Start ``python flow.py COMMAND``; its stderr is appended to the file ``stderr``."""
        given = {"LOKKI_LOCAL_JOURNAL": self.database or str(self.journal)} | env
        with open(self.place / "stderr", "ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "flow.py", *command],
                cwd=self.place,
                env=environment(**given),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def told(self) -> str:
        """What its processes have written on stderr."""
        return (self.place / "stderr").read_text()

    def rows(self, sql: str) -> list[tuple]:
        """What the journal answers; nothing while there is none yet."""
        if self.database is not None:
            with closing(psycopg.connect(self.database)) as reader:
                try:
                    return reader.execute(sql.encode()).fetchall()
                except psycopg.errors.UndefinedTable:
                    return []
        if not self.journal.exists():
            return []
        # Read-only: the last of others to close a journal tidies it up, and leaves less to repair.
        try:
            return self._answers("ro", sql)
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error):
                raise
            return self._answers("rw", sql)  # its writer was killed at a moment that SQLite repairs

    def write(self, sql: str) -> None:
        """Change the journal, behind the back of its owners."""
        if self.database is not None:
            with psycopg.connect(self.database) as writer:
                writer.execute(sql.encode())
            return
        with closing(sqlite3.connect(self.journal, timeout=60)) as journal, journal:
            journal.execute(sql)

    def _answers(self, mode: str, sql: str) -> list[tuple]:
        uri = f"file:{self.journal}?mode={mode}"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            try:
                return connection.execute(sql).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):  # it is just being made
                    return []
                raise

    def outcomes(self) -> dict[int, Outcome]:
        """The items of the map that have a record."""
        rows = self.rows(
            f"SELECT items.id, status, attempts FROM {EVERY_ITEM}"
            " JOIN stages ON stages.id = items.id >> 32 WHERE kind = 'map'"
        )
        return {item & INDEX: Outcome(status, attempts) for item, status, attempts in rows}

    def result(self) -> str | None:
        """What the journal has as the result of a run that has succeeded."""
        rows = self.rows(
            "SELECT results FROM runs JOIN stages ON run = runs.id JOIN spans"
            " ON stages.id = spans.id >> 32 WHERE runs.status = 'succeeded' AND name = 'total'"
        )
        return str(loads(rows[0][0])[0]) if rows else None

    def calls(self) -> list[Call]:
        return [Call(*map(int, line.split())) for line in self.logged().splitlines()]

    def logged(self) -> bytes:
        return self.log.read_bytes() if self.log.exists() else b""


def was_committed(call: Call, recorded: dict[int, Outcome]) -> bool:
    """Whether the outcome of a call is among those that had been recorded."""
    return call.index in recorded and call.attempt <= recorded[call.index].attempts
