"""A connection to PostgreSQL that writes, and outlives restarts of the server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from secrets import token_hex
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from lokki.store.postgres_errors import AGAIN, OF_VALUES, is_lost
from lokki.store.postgres_statements import change, for_postgres, insertion, replacement
from lokki.store.postgres_types import columns_of
from lokki.store.sql import Interrupted

T = TypeVar("T")

_BUSY_SECONDS = 60.0
_STUCK_SECONDS = 5
"""How long a transaction may wait for its own process before another one ends it."""
_LEAST_COPIED = 128
"""From how many rows on, COPY is faster than arrays, though it interrupts a pipeline."""
_CLOCK_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_NUMBERED = {"runs": "number", "events": "id", "logs": "id", "ticks": "id"}
_SAME_SECONDS = 0.5
_TRACE = (
    b"INSERT INTO lokki_committed SELECT %s, %s, now()"
    b" WHERE pg_current_xact_id_if_assigned() IS NOT NULL ON CONFLICT (connection)"
    b" DO UPDATE SET number = excluded.number, at = excluded.at"
)
"""A trace of a transaction of a connection, if that has written anything."""
_FLUSH = (
    b"SELECT pg_logical_emit_message(true, 'lokki', '') FROM lokki_committed"
    b" WHERE connection = %s AND number = %s"
)
"""A transaction after which one that has left a trace is on disk."""


class Clock:
    """The clock of a server, by this machine's monotonic one."""

    def __init__(self) -> None:
        self._began = self._measured = 0.0

    def set(self, now: float) -> None:
        self._measured = time.monotonic()
        self._began = now - self._measured

    def is_old(self) -> bool:
        """Whether to ask again: the monotonic clock of a suspended machine may have stood still."""
        return time.monotonic() > self._measured + _CLOCK_SECONDS

    @property
    def ahead(self) -> float:
        """How far it is ahead of this process's; 0 if they are the same, but for delays."""
        ahead = self._began + time.monotonic() - time.time()
        return ahead if abs(ahead) > _SAME_SECONDS else 0.0


class Server(Protocol):
    """Where connections come from: `lokki.store.postgres.PostgresServer`."""

    def connected(self) -> psycopg.Connection[Any]:
        """A new connection, whose commits are on disk."""
        ...

    def reconnected(self) -> psycopg.Connection[Any]:
        """A new connection, as soon as the server takes it again; at most a lease later."""
        ...

    def types_of(self, connection: psycopg.Connection[Any], table: str) -> dict[str, str]:
        """The names of a table's columns, and of their types."""
        ...


class PostgresConnection:
    """A connection to a server; see `lokki.store.sql.Connection`.

    When the server goes away, an Interrupted is raised, whose ``recover`` connects again.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._name = token_hex(8)
        self._number = 0
        self.total_changes = 0
        self._commits = False
        self._clock = Clock()
        self._pipeline = ExitStack()
        self._piped: psycopg.Pipeline | None = None
        self._raw = server.connected()

    @property
    def ahead(self) -> float:
        return self._clock.ahead

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> _Rows:
        cursor = self._raw.cursor(binary=True)
        self.total_changes += not statement.startswith("SELECT")
        self._try(lambda: cursor.execute(for_postgres(statement), values))
        return _Rows(cursor, self._try, self._answered)

    def ask(self, statement: str, values: Sequence[Any], /) -> Callable[[], list[Any]]:
        return self.execute(statement, values).fetchall

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        self.total_changes += 1
        self._try(lambda: self._raw.cursor().executemany(for_postgres(statement), rows))

    @contextmanager
    def together(self) -> Iterator[None]:
        """A pipeline; its end, or the commit that ends it, raises the errors of all statements."""
        try:
            with ExitStack() as self._pipeline:
                self._try(self._begin_pipeline)
                yield
                self._try(self._end_pipeline)
        finally:
            self._piped = None

    def _begin_pipeline(self) -> None:
        self._piped = self._pipeline.enter_context(self._raw.pipeline())

    def _end_pipeline(self) -> None:
        self._piped = None
        self._pipeline.close()

    def _answered(self) -> None:
        """Wait for the answers to all statements."""
        if self._piped is not None:
            self._try(self._piped.sync)

    def insert(
        self, table: str, columns: str, rows: Sequence[Sequence[Any]], *, returning: str = ""
    ) -> list[Any]:
        if len(rows) < _LEAST_COPIED or returning:
            return self._execute_rows(insertion(table, columns), table, columns, rows, returning)
        self._try(lambda: self._copy(table, columns, rows))
        return []

    def replace(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        last = {row[0]: row for row in rows}
        if len(last) < _LEAST_COPIED:
            statement = insertion(table, columns) + replacement(columns)
            self._execute_rows(statement, table, columns, [*last.values()], "")
            return
        self.execute(f"DELETE FROM {table} WHERE id = ANY(?)", ([*last],))
        self._try(lambda: self._copy(table, columns, [*last.values()]))

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
        statement = change(table, keys, columns, also, when)
        names = f"{keys}, {columns}" if columns else keys
        return self._execute_rows(statement, table, names, rows, returning)

    def _execute_rows(
        self, statement: str, table: str, names: str, rows: Sequence[Sequence[Any]], returning: str
    ) -> list[Any]:
        """Execute a statement once for all rows, with their columns."""
        if not rows:
            return []
        known = self._server.types_of(self._raw, table)
        columns = columns_of(rows, [known[name] for name in names.split(", ")])
        if not returning:
            self.execute(statement, columns)
            return []
        return self.execute(f"{statement} RETURNING {returning}", columns).fetchall()

    def _copy(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)"
        self.total_changes += 1
        known = self._server.types_of(self._raw, table)
        types = [known[column] for column in columns.split(", ")]
        piped = self._piped is not None
        self._end_pipeline()  # which has no COPY
        with self._raw.cursor().copy(statement.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
        if piped:
            self._begin_pipeline()

    def begin(self, patience: float | None = None, /) -> None:
        until = time.monotonic() + (_BUSY_SECONDS if patience is None else patience)
        self._commits = False
        while True:
            try:
                at, self._number = self._try(self._begun)
            except errors.LockNotAvailable:
                self.rollback()
                if time.monotonic() > until:
                    raise
                self._try(self._end_stuck)
            else:
                self._clock.set(at)
                return

    def _begun(self) -> tuple[float, int]:
        cursor = self._raw.execute(
            "BEGIN; LOCK TABLE lokki IN EXCLUSIVE MODE; SELECT"
            " extract(epoch FROM clock_timestamp())::float8, nextval('lokki_commits')",
            prepare=False,
        )
        while cursor.nextset():
            pass
        at, number = cursor.fetchone() or (0.0, 0)
        return at, number

    def _end_stuck(self) -> None:
        """End the transaction that has the lock, if its process is stopped or was cut off."""
        self._raw.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE relation = 'lokki'::regclass AND mode = 'ExclusiveLock' AND granted"
            " AND wait_event = 'ClientRead'"
            " AND state_change < clock_timestamp() - make_interval(secs => %s)",
            (_STUCK_SECONDS,),
        )

    def begin_reading(self) -> None:
        cursor = self._raw.execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT"
            " extract(epoch FROM clock_timestamp())::float8",
            prepare=False,
        )
        cursor.nextset()
        ((at,),) = cursor.fetchall()
        self._clock.set(at)

    def columns_of(self, table: str) -> list[str]:
        columns = self._server.types_of(self._raw, table)
        return [name for name in columns if name != "rowid"]

    def continue_numbers(self) -> None:
        """Have rows that are added later get higher numbers than those that were added with one."""
        for table, column in _NUMBERED.items():
            self.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column}))"
                f" FROM {table}"
            ).fetchall()

    def commit(self) -> None:
        """Commit, and leave a trace, if anything was written: an answer may be lost.

        The lock is released before the disk is written: the transactions of several processes share
        that, as each waits for a second one of its own, which comes later in the server's log.
        """
        self._commits = True
        if self._piped is None:
            with self.together():
                self._commit()
        else:
            self._commit()

    def _commit(self) -> None:
        self._try(lambda: self._raw.execute(_TRACE, (self._name, self._number)))
        self._try(lambda: self._raw.execute(b"SET LOCAL synchronous_commit = off"))
        committed = self._try(lambda: self._raw.execute(b"COMMIT"))
        self._try(lambda: self._raw.execute(_FLUSH, (self._name, self._number)))
        self._try(self._end_pipeline)
        if committed.statusmessage != "COMMIT":
            raise errors.InFailedSqlTransaction("the transaction was undone")

    def rollback(self) -> None:
        with suppress(psycopg.Error):
            self._raw.execute("ROLLBACK")

    def is_of_values(self, error: Exception) -> bool:
        if self._raw.info.transaction_status is TransactionStatus.IDLE:  # nothing can be undone
            return False
        if isinstance(error, psycopg.Error):
            return isinstance(error, OF_VALUES)
        return not isinstance(error, Interrupted)

    def version(self) -> int:
        """Changes four times a second, without asking the server."""
        return int(time.monotonic() / _LOOK_SECONDS)

    def free_bytes(self) -> int:
        return 0

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._raw.execute(
                "DELETE FROM lokki_committed"
                " WHERE connection = %s OR at < now() - interval '1 day'",
                (self._name,),
            )
        self._raw.close()

    def _try(self, do: Callable[[], T]) -> T:
        try:
            return do()
        except psycopg.Error as error:
            if is_lost(error):
                self._raw.close()
            if self._raw.closed or isinstance(error, AGAIN):
                raise Interrupted(self._recover) from error
            raise

    def _recover(self) -> bool:
        """Connect again if necessary; whether the last transaction was committed nevertheless.

        The lock shows that its end is known: a server may notice late that a connection is gone.
        """
        if self._raw.closed:
            self._raw = self._server.reconnected()
        else:
            self.rollback()
        if not self._commits:
            return False
        number = self._number
        while True:
            try:
                self.begin()
                row = self.execute(
                    "SELECT number FROM lokki_committed WHERE connection = ?", (self._name,)
                ).fetchone()
                self.rollback()
                self._try(lambda: self._raw.execute(_FLUSH, (self._name, number)))
            except Interrupted:
                self._raw.close()
                self._raw = self._server.reconnected()
            else:
                return row is not None and row[0] == number


class _Rows:
    """The answer to a statement, which may not have come yet; see `lokki.store.sql.Rows`."""

    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        attempt: Callable[[Callable[[], Any]], Any],
        answered: Callable[[], None],
    ) -> None:
        self._cursor = cursor
        self._try = attempt
        self._answered = answered

    @property
    def rowcount(self) -> int:
        self._answered()
        return self._cursor.rowcount

    def fetchone(self) -> Any:
        return self._try(self._cursor.fetchone)

    def fetchall(self) -> list[Any]:
        found: list[Any] = self._try(self._cursor.fetchall)
        return found

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())
