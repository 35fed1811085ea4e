"""A journal in a database of a PostgreSQL server: its connections, and its errors in our words.

One process writes at a time, as with SQLite: a transaction first locks the table ``lokki``, so that
what it reads, such as the owner of a run, stays true until it ends.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from secrets import token_hex
from typing import Any, TypeVar

from lokki.errors import JournalError
from lokki.postgres_url import PostgresUrl
from lokki.store.leases import LEASE_SECONDS
from lokki.store.sql import Connection, Interrupted

try:
    import psycopg
    from psycopg import errors, sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError:
    raise JournalError(
        "a journal on PostgreSQL needs its driver: pip install 'lokki-engine[postgres]'"
    ) from None

from lokki.store.postgres_schema import migrate
from lokki.store.postgres_types import adapt

T = TypeVar("T")

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it warns of is handled here

LEAST_VERSION = 15
_ADVISE = (
    (errors.InsufficientPrivilege, "let its user create tables, or name another"),
    (errors.DiskFull, "free some space there, then resume the run; what was recorded is safe"),
    (errors.LockNotAvailable, "another process has locked it for a long time; try again"),
)
_SAID = (
    ("password", "give the right one in the URL, in PGPASSWORD or in ~/.pgpass"),
    ("role", "check the user in LOKKI_LOCAL_JOURNAL"),
    ("pg_hba.conf", "let the server's pg_hba.conf admit this host and user"),
    ("database", "make the database (createdb), or name another in LOKKI_LOCAL_JOURNAL"),
)
_UNREACHABLE = "check that the server runs, and its host and port in LOKKI_LOCAL_JOURNAL"
_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure, errors.QueryCanceled)
_ENDING = (errors.AdminShutdown, errors.CrashShutdown, errors.IdleInTransactionSessionTimeout)
"""The server ends the connection, which may be seen later."""
_OF_VALUES = (
    errors.IntegrityError,
    errors.ProgrammingError,
    errors.DataError,
    errors.NotSupportedError,
    errors.PipelineAborted,  # by an earlier statement, whose error it hides
    errors.InFailedSqlTransaction,
)

_RECONNECT_SECONDS = LEASE_SECONDS
_BUSY_SECONDS = 60.0
_LOCK_SECONDS = 2
"""How long a transaction waits for the lock before it looks for one that is stuck."""
_STUCK_SECONDS = 5
"""How long a transaction may wait for its own process before another one ends it."""
_LEAST_COPIED = 32
"""From how many rows on, COPY is faster than a statement per row, in a pipeline."""
_CLOCK_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_SAME_SECONDS = 0.5
_PAUSE_SECONDS = 0.1
_NOW = b"SELECT extract(epoch FROM clock_timestamp())::float8"
_TIMEOUTS: dict[str, str | int] = {
    "application_name": "lokki",
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Parameters of libpq that a URL may change; without them, a cut network is noticed after hours."""


class PostgresConnection:
    """A connection to a server; see `lokki.store.sql.Connection`.

    When the server goes away, an Interrupted is raised, whose ``recover`` connects again.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._name = token_hex(8)
        self._number = 0
        self._commits = False
        self._clock = _Clock()
        self._pipeline = ExitStack()
        self._piped: psycopg.Pipeline | None = None
        self._raw = server.connected()

    @property
    def ahead(self) -> float:
        return self._clock.ahead

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> _Rows:
        cursor = self._raw.cursor(binary=True)
        self._try(lambda: cursor.execute(_for_postgres(statement), values))
        return _Rows(cursor, self._try, self._answered)

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]], /) -> None:
        self._try(lambda: self._raw.cursor().executemany(_for_postgres(statement), rows))

    @contextmanager
    def together(self) -> Iterator[None]:
        """A pipeline; its end, before any commit, raises the errors of all statements."""
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

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) >= _LEAST_COPIED:
            self._try(lambda: self._copy(table, columns, rows))
        elif rows:
            self.executemany(_insertion(table, columns), rows)

    def replace(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) >= _LEAST_COPIED:
            last = {row[0]: row for row in rows}
            self.execute(f"DELETE FROM {table} WHERE id = ANY(?)", ([*last],))
            self._try(lambda: self._copy(table, columns, [*last.values()]))
        elif rows:
            self.executemany(_insertion(table, columns) + _replacement(columns), rows)

    def _copy(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)"
        types = self._server.types_of(self._raw, table, columns)
        piped = self._piped is not None
        self._end_pipeline()  # which has no COPY
        with self._raw.cursor().copy(statement.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
        if piped:
            self._begin_pipeline()

    def begin(self) -> None:
        until = time.monotonic() + _BUSY_SECONDS
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

    def commit(self) -> None:
        """Commit, and leave a trace, if anything was written: an answer may be lost."""
        self._commits = True
        self._try(
            lambda: self._raw.execute(
                sql.SQL(
                    "INSERT INTO lokki_committed SELECT {}, {}, now()"
                    " WHERE pg_current_xact_id_if_assigned() IS NOT NULL ON CONFLICT (connection)"
                    " DO UPDATE SET number = excluded.number, at = excluded.at; COMMIT"
                ).format(self._name, self._number),
                prepare=False,
            )
        )

    def rollback(self) -> None:
        with suppress(psycopg.Error):
            self._raw.execute("ROLLBACK")

    def is_of_values(self, error: Exception) -> bool:
        if isinstance(error, psycopg.Error):
            return isinstance(error, _OF_VALUES)
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
            if _is_lost(error):
                self._raw.close()
            if self._raw.closed or isinstance(error, _AGAIN):
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
            except Interrupted:
                self._raw.close()
                self._raw = self._server.reconnected()
            else:
                self.rollback()
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


class PostgresServer:
    """A journal in a database of a server; see `lokki.store.sql.Database`.

    Its tables are made if ``create``; otherwise missing ones read as an empty journal. Raises
    JournalError when the server cannot be reached or used, JournalVersionError when a newer lokki
    wrote the journal.
    """

    def __init__(self, place: PostgresUrl, *, create: bool) -> None:
        self.place = place
        self._lock = threading.Lock()
        self._types: dict[str, dict[str, str]] = {}
        self._clock = _Clock()
        with self.errors():
            self._reading = self.connected()
            try:
                self._exists = migrate(self._reading, place, create=create)
            except BaseException:
                self._reading.close()
                raise
        self._clock.set(_now(self._reading))

    def connect(self) -> PostgresConnection:
        return PostgresConnection(self)

    def read(self, statement: str, values: Sequence[Any], /) -> list[Any]:
        """Waits for a server that restarts. Raises JournalError."""
        with self._lock, self.errors():
            return self._read(_for_postgres(statement), values)

    def _read(self, query: bytes, values: Sequence[Any]) -> list[Any]:
        while True:
            try:
                if not self._exists:
                    self._exists = migrate(self._reading, self.place, create=False)
                if not self._exists:
                    return []
                return self._reading.execute(query, values, binary=True).fetchall()
            except psycopg.Error as error:
                if not self._reading.closed and not _is_lost(error):
                    raise
                self._reading.close()
                self._reading = self.reconnected()

    @property
    def ahead(self) -> float:
        with self._lock, self.errors():
            if self._clock.is_old():
                ((now,),) = self._read(_NOW, ())
                self._clock.set(now)
        return self._clock.ahead

    def version(self) -> int:
        rows = self.read("SELECT coalesce(max(number), 0) FROM lokki_committed", ())
        return int(rows[0][0]) if rows else 0

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            reason = self.place.hide_in(str(error).strip().partition("\n")[0])
            raise JournalError(f"the journal {self.place}: {reason}{_advice(error)}") from error

    def check(self) -> None:
        """There is no file that could be lost."""

    def rescue(self, connection: Connection) -> None:
        """There is no file that could be lost."""

    def hold(self, owner: str) -> None:
        """The leases alone show that an owner on another host is alive."""

    def let_go(self, owner: str) -> None:
        """See `hold`."""

    def shrink(self) -> None:
        """Have the space of removed rows used again; the server does so itself now and then."""
        with self._lock, self.errors():
            self._reading.execute("VACUUM")

    def close(self) -> None:
        with self._lock:
            self._reading.close()

    # ---- connections ---------------------------------------------------------------------------

    def connected(self) -> psycopg.Connection[Any]:
        """A new connection, whose commits are on disk."""
        given = conninfo_to_dict(self.place.url)
        defaults = {name: value for name, value in _TIMEOUTS.items() if name not in given}
        connection = psycopg.connect(
            make_conninfo(self.place.url, client_encoding="utf8", **defaults), autocommit=True
        )
        try:
            self._refuse_unfit(connection)
            adapt(connection)
            connection.execute(
                f"SET lock_timeout = '{_LOCK_SECONDS}s'; SET statement_timeout = 0;"
                " SET default_transaction_isolation = 'read committed';"
                " SET client_min_messages = 'warning';"
                " SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') <> 'remote_apply'".encode()
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def _refuse_unfit(self, connection: psycopg.Connection[Any]) -> None:
        info = connection.info
        if info.server_version < 10_000 * LEAST_VERSION:
            found = info.parameter_status("server_version")
            raise JournalError(
                f"the journal {self.place}: its server is PostgreSQL {found}; "
                f"use {LEAST_VERSION} or later"
            )
        encoding = info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise JournalError(
                f"the journal {self.place}: its database has the encoding {encoding}; make one "
                "in UTF8"
            )

    def reconnected(self) -> psycopg.Connection[Any]:
        """A new connection, as soon as the server takes it again; at most a lease later."""
        until = time.monotonic() + _RECONNECT_SECONDS
        while True:
            try:
                return self.connected()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def types_of(self, connection: psycopg.Connection[Any], table: str, columns: str) -> list[str]:
        """The names of the types of a table's columns."""
        if table not in self._types:
            self._types[table] = dict(
                connection.execute(
                    "SELECT attname, typname"
                    " FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid"
                    " WHERE attrelid = %s::regclass AND attnum > 0",
                    (table,),
                )
            )
        return [self._types[table][column] for column in columns.split(", ")]


class _Clock:
    """The clock of a server, by this machine's monotonic one."""

    def __init__(self) -> None:
        self._began = self._measured = 0.0

    def set(self, now: float) -> None:
        self._measured = time.monotonic()
        self._began = now - self._measured

    def is_old(self) -> bool:
        return time.monotonic() > self._measured + _CLOCK_SECONDS

    @property
    def ahead(self) -> float:
        """How far it is ahead of this process's; 0 if they are the same, but for delays."""
        ahead = self._began + time.monotonic() - time.time()
        return ahead if abs(ahead) > _SAME_SECONDS else 0.0


def _now(connection: psycopg.Connection[Any]) -> float:
    (now,) = connection.execute(_NOW).fetchone() or (0.0,)
    return float(now)


def _is_lost(error: psycopg.Error) -> bool:
    """Whether a connection is of no more use: the server ends it, or libpq itself has failed."""
    if isinstance(error, _OF_VALUES):
        return False
    is_libpqs = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return is_libpqs or isinstance(error, _ENDING)


def _advice(error: psycopg.Error) -> str:
    for kind, advice in _ADVISE:
        if isinstance(error, kind):
            return f"; {advice}"
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return f"; {_advice_by_text(str(error))}"
    return ""


def _advice_by_text(text: str) -> str:
    """What to do when a connection fails: libpq says why in words only."""
    return next((advice for part, advice in _SAID if part in text), _UNREACHABLE)


# ---- statements --------------------------------------------------------------------------------


_WORDS = {
    "%": "%%",
    "IS ?": "IS NOT DISTINCT FROM %s",
    "SELECT value FROM json_each(?)": "SELECT json_array_elements_text(%s::json)",
    "?": "%s",
}
_WORD = re.compile("|".join(map(re.escape, _WORDS)))
_HINT = re.compile(r" INDEXED BY \w+")


@cache
def _for_postgres(statement: str) -> bytes:
    """A statement in PostgreSQL's words, with psycopg's placeholders."""
    return _WORD.sub(lambda found: _WORDS[found[0]], _HINT.sub("", statement)).encode()


@cache
def _insertion(table: str, columns: str) -> str:
    marks = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"


@cache
def _replacement(columns: str) -> str:
    others = columns.split(", ")[1:]
    changes = ", ".join(f"{name} = excluded.{name}" for name in others)
    return f" ON CONFLICT (id) DO UPDATE SET {changes}"
