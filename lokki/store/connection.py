"""Opens and reads a journal's file, and translates SQLite's errors."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from lokki.errors import JournalError
from lokki.store.files import Files
from lokki.store.owners import Locks
from lokki.store.schema import migrate
from lokki.store.storable import storable

BUSY_SECONDS = 60.0
_SHORTEST_WAIT, _LONGEST_WAIT = 0.0005, 0.01
"""Seconds between looks whether the journal is locked: a tenth of the wait so far, within these."""
_MAKE_ROOM = "free some space there, or set another path in LOKKI_LOCAL_JOURNAL"
DISK_FULL = f"its disk is full: {_MAKE_ROOM}"
_ROOM = 1024 * 1024
"""Bytes that a journal and the files beside it need, with a margin."""

Read: TypeAlias = Callable[[str, Sequence[Any]], Iterable[Any]]
"""Returns the rows of a query."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection in WAL mode whose commits are on disk; any thread may use it."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
    except BaseException:
        connection.close()
        raise
    return connection


def begin(connection: sqlite3.Connection) -> None:
    """Begin a transaction that writes, soon after another process has ended its own.

    SQLite waits, too, but sleeps up to 100 ms at a time.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        _execute_when_free(connection, "BEGIN IMMEDIATE")
    finally:
        connection.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode; SQLite does not wait while another process does the same."""
    _execute_when_free(connection, "PRAGMA journal_mode = WAL")


def _execute_when_free(connection: sqlite3.Connection, statement: str) -> None:
    """Execute a statement as soon as no other process locks the journal.

    Reads the answer to its end: only there does a full disk raise an error.
    """
    began = time.monotonic()
    while True:
        try:
            connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            waited = time.monotonic() - began
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or waited > BUSY_SECONDS:
                raise
            time.sleep(min(max(waited / 10, _SHORTEST_WAIT), _LONGEST_WAIT))
        else:
            return


class Reader:
    """A connection for reading from any thread; its context closes it.

    It first updates the schema. With ``create`` False, a missing file is not created, and reads as
    an empty journal. Raises JournalError when the file cannot be opened or is damaged,
    JournalVersionError when a newer lokki wrote it.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._lock = threading.Lock()
        with translate_sqlite_errors(path, opening=True):
            absent = not create and _is_absent(path)
            self._connection = sqlite3.connect(":memory:") if absent else connect(path)
            self._locks = None if absent else Locks.of(path)
            try:
                migrate(self._connection, path)
            except BaseException:
                self.close()
                raise
        self.files = Files(path, watched=not absent)

    def __call__(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """The rows of a query. Raises JournalGone, too, when the file is gone."""
        self.files.check()
        with self._lock, translate_sqlite_errors(self.path):
            return self._connection.execute(sql, storable(tuple(values))).fetchall()

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            if self._locks is not None:
                self._locks.close()
                self._locks = None


def _is_absent(path: Path) -> bool:
    """Whether there is no such file; SQLite reports one that cannot be reached."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


@contextmanager
def translate_sqlite_errors(path: Path, *, opening: bool = False) -> Iterator[None]:
    """Raise SQLite's errors as JournalErrors that say what to do.

    ``opening``: the journal is being opened, and nothing has begun.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)  # None: the values were wrong
        if code is None:
            advice = ""
        elif opening:
            advice = _advice_at_first(code, path)
        else:
            advice = _advice(code, path)
        raise JournalError(f"the journal {path}: {error}{advice}") from error


def _advice_at_first(code: int, path: Path) -> str:
    """What to do if nothing has begun."""
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return f"; {DISK_FULL}"
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if _is_full(path):
            return f"; {DISK_FULL}"
        case sqlite3.SQLITE_IOERR:
            return f"; {_MAKE_ROOM}"
    return _advice(code, path)


def _is_full(path: Path) -> bool:
    """Whether the disk of a journal has no room for a new one, in bytes or in files."""
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _ROOM or (disk.f_files > 0 and not disk.f_favail)


def _advice(code: int, path: Path) -> str:
    match code & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return "; free some space on its disk, then resume the run; what was recorded is safe"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return (
                "; the file is damaged: move it away or restore a copy, or save what is left with "
                f"sqlite3 {path} .recover"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "; another process has locked it for a long time; try again"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return "; check that its folder exists and can be written, or set LOKKI_LOCAL_JOURNAL"
        case _:
            return ""
