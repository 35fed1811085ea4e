"""A journal in a file of SQLite: its connections, and its errors in our words."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from lokki.errors import JournalError
from lokki.store.files import Files
from lokki.store.owners import Locks
from lokki.store.schema import migrate, refuse_foreign
from lokki.store.sql import Connection
from lokki.store.storable import storable

BUSY_SECONDS = 60.0
_SHORTEST_WAIT, _LONGEST_WAIT = 0.0005, 0.01
"""Seconds between looks whether the journal is locked: a tenth of the wait so far, within these."""
_ELSEWHERE = "set another path in LOKKI_LOCAL_JOURNAL"
_MAKE_ROOM = "free some space there, or set another path in LOKKI_LOCAL_JOURNAL"
DISK_FULL = f"its disk is full: {_MAKE_ROOM}"
_ROOM = 1024 * 1024
"""Bytes that a journal and the files beside it need, with a margin."""
_ROWS_PER_STATEMENT = (512, 64, 8, 1)
_OF_VALUES = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
)


def connect(path: Path, *, is_known: bool = True) -> SqliteConnection:
    """A connection in WAL mode whose commits are on disk; any thread may use it.

    Raises JournalError if the file, unless it ``is_known``, is the database of another program.
    """
    connection = _new(path)
    try:
        if not is_known:
            refuse_foreign(connection, path)
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
    except BaseException:
        connection.close()
        raise
    return connection


def _new(path: Path | str) -> SqliteConnection:
    return sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=SqliteConnection,
    )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode; SQLite does not wait while another process does the same."""
    _execute_when_free(connection, "PRAGMA journal_mode = WAL")


def _execute_when_free(
    connection: sqlite3.Connection, statement: str, patience: float | None = None
) -> None:
    """Execute a statement as soon as no other process locks the journal.

    Reads the answer to its end: only there does a full disk raise an error.
    """
    began = time.monotonic()
    most = BUSY_SECONDS if patience is None else patience
    while True:
        try:
            connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            waited = time.monotonic() - began
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or waited > most:
                raise
            time.sleep(min(max(waited / 10, _SHORTEST_WAIT), _LONGEST_WAIT))
        else:
            return


class SqliteConnection(sqlite3.Connection):
    """A connection to a file; see `lokki.store.sql.Connection`."""

    ahead = 0.0
    """The processes that share a file share a clock."""

    def ask(self, statement: str, values: Sequence[Any], /) -> Callable[[], list[Any]]:
        rows = self.execute(statement, values).fetchall()
        return lambda: rows

    def begin(self, patience: float | None = None, /) -> None:
        """Begin a transaction that writes, soon after another process has ended its own.

        SQLite waits, too, but sleeps up to 100 ms at a time.
        """
        self.execute("PRAGMA busy_timeout = 0")
        try:
            _execute_when_free(self, "BEGIN IMMEDIATE", patience)
        finally:
            self.execute(f"PRAGMA busy_timeout = {1000 * BUSY_SECONDS:.0f}")

    def begin_reading(self) -> None:
        self.execute("BEGIN")

    def columns_of(self, table: str) -> list[str]:
        return [name for _, name, *_ in self.execute(f"PRAGMA table_info({table})")]

    def continue_numbers(self) -> None:
        """SQLite does so itself."""

    def together(self) -> AbstractContextManager[None]:
        return nullcontext()

    def rollback(self) -> None:
        """Undo the transaction, if there is one; never fails."""
        with suppress(sqlite3.Error):
            super().rollback()

    def insert(
        self, table: str, columns: str, rows: Sequence[Sequence[Any]], *, returning: str = ""
    ) -> list[Any]:
        if not returning:
            self._add("INSERT", table, columns, rows)
            return []
        statement = f"{_addition('INSERT', table, columns, 1)} RETURNING {returning}"
        return [found for row in rows for found in self.execute(statement, row)]

    def replace(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        self._add("INSERT OR REPLACE", table, columns, rows)

    def update(
        self,
        table: str,
        keys: str,
        columns: str,
        rows: Sequence[Sequence[Any]],
        *,
        also: str = "",
        when: str = "true",
        returning: str = "",
    ) -> list[Any]:
        statement = _change(table, keys, columns, also, when, returning)
        count = len(keys.split(", "))
        return [
            found for row in rows for found in self.execute(statement, (*row[count:], *row[:count]))
        ]

    def _add(self, how: str, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows, many per statement: every statement waits for the interpreter's lock."""
        done = 0
        for size in _ROWS_PER_STATEMENT:
            while len(rows) - done >= size:
                values = chain.from_iterable(rows[done : done + size])
                self.execute(_addition(how, table, columns, size), [*values])
                done += size

    def is_of_values(self, error: Exception) -> bool:
        if not self.in_transaction:  # a full disk may have ended it
            return False
        return isinstance(error, _OF_VALUES) or not isinstance(error, sqlite3.Error)

    def version(self) -> int:
        (found,) = self.execute("PRAGMA data_version").fetchone()
        return int(found)

    def free_bytes(self) -> int:
        (pages,) = self.execute("PRAGMA freelist_count").fetchone()
        (size,) = self.execute("PRAGMA page_size").fetchone()
        return int(pages * size)


@cache
def _addition(how: str, table: str, columns: str, size: int) -> str:
    row = f"({', '.join('?' * (columns.count(',') + 1))})"
    return f"{how} INTO {table} ({columns}) VALUES {', '.join([row] * size)}"


@cache
def _change(table: str, keys: str, columns: str, also: str, when: str, returning: str) -> str:
    """An UPDATE with values for the columns, then for the keys."""
    changes = [*(f"{name} = ?" for name in columns.split(", ") if name), *filter(None, [also])]
    conditions = [*(f"{name} = ?" for name in keys.split(", ")), when]
    statement = f"UPDATE {table} SET {', '.join(changes)} WHERE {' AND '.join(conditions)}"
    return f"{statement} RETURNING {returning}" if returning else statement


class SqliteFile:
    """A journal in a file; see `lokki.store.sql.Database`.

    It is made, with its folders and for this user only, if ``create``; otherwise a missing one
    reads as an empty journal. Raises JournalError when the file cannot be opened or is damaged,
    JournalVersionError when a newer lokki wrote it.
    """

    ahead = 0.0

    def __init__(self, path: Path, *, create: bool) -> None:
        self.place = path
        self._lock = threading.Lock()
        if create:
            _create(path)
        with self._errors(opening=True):
            absent = not create and _is_absent(path)
            self._reading = _new(":memory:") if absent else connect(path, is_known=False)
            self._locks = None if absent else Locks.of(path)
            try:
                migrate(self._reading, path)
            except BaseException:
                self.close()
                raise
        self._files = Files(path, watched=not absent)

    def connect(self) -> SqliteConnection:
        return connect(self.place)

    def read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """Raises JournalGone, too, when the file is gone."""
        self.check()
        with self._lock, self._errors():
            return self._reading.execute(sql, storable(tuple(values))).fetchall()

    def version(self) -> int:
        self.check()
        with self._lock, self._errors():
            return self._reading.version()

    def errors(self) -> AbstractContextManager[None]:
        return self._errors()

    def _errors(self, *, opening: bool = False) -> AbstractContextManager[None]:
        return translate_sqlite_errors(self.place, opening=opening)

    def check(self) -> None:
        self._files.check()

    def rescue(self, connection: Connection) -> None:
        self._files.rescue(connection)

    def hold(self, owner: str) -> None:
        if self._locks is not None:
            self._locks.hold(owner)

    def let_go(self, owner: str) -> None:
        if self._locks is not None:
            self._locks.let_go(owner)

    def shrink(self) -> None:
        """Raises JournalError if the disk has no room for a copy; other writers wait meanwhile."""
        with self._errors(), closing(self.connect()) as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._lock:
            self._reading.close()
            if self._locks is not None:
                self._locks.close()
                self._locks = None


def _create(path: Path) -> None:
    """Make an empty journal, with its folders and for this user only, unless there is one.

    An existing one is not opened: closing it would release the locks that other journals in this
    process hold on it (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = DISK_FULL if full else _ELSEWHERE
        raise JournalError(
            f"cannot make the folder of the journal {path}: {error.strerror}; {remedy}"
        ) from error
    with suppress(OSError):  # SQLite reports it better
        target = os.path.realpath(path)  # a link may lead to a missing file
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


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
