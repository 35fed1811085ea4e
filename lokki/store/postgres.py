"""A journal in a database of a PostgreSQL server: how it is reached and read.

One process writes at a time, as with SQLite: a transaction first locks the table ``lokki``, so that
what it reads, such as the owner of a run, stays true until it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lokki.errors import JournalError, JournalUnreachable
from lokki.postgres_url import PostgresUrl
from lokki.store.leases import LEASE_SECONDS
from lokki.store.sql import Connection

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
except ImportError:
    raise JournalError(
        "a journal on PostgreSQL needs its driver: pip install 'lokki-engine[postgres]'"
    ) from None

from lokki.store.postgres_connection import Clock, PostgresConnection
from lokki.store.postgres_errors import advice, is_away, is_lost
from lokki.store.postgres_schema import migrate
from lokki.store.postgres_statements import for_postgres
from lokki.store.postgres_types import adapt

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what it warns of is handled here

LEAST_VERSION = 15
_RECONNECT_SECONDS = LEASE_SECONDS
_LOCK_SECONDS = 2
"""How long a transaction waits for the lock before it looks for one that is stuck."""
_PAUSE_SECONDS = 0.1
_BY_INDEX = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off"
"""Plans are made once for a connection, perhaps while tables are empty: each query has its index.

Only plain scans of an index leave out entries of removed rows, such as those of the queue.
"""
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


class PostgresServer:
    """A journal in a database of a server; see `lokki.store.sql.Database`.

    Its tables are made if ``create``; otherwise missing ones read as an empty journal. Raises
    JournalUnreachable when the server is away, JournalError when it cannot be used,
    JournalVersionError when a newer lokki wrote the journal.
    """

    def __init__(self, place: PostgresUrl, *, create: bool) -> None:
        self.place = place
        self._lock = threading.Lock()
        self._types: dict[str, dict[str, str]] = {}
        self._clock = Clock()
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
            return self._read(for_postgres(statement), values)

    def _read(self, query: bytes, values: Sequence[Any]) -> list[Any]:
        while True:
            try:
                if not self._exists:
                    self._exists = migrate(self._reading, self.place, create=False)
                if not self._exists:
                    return []
                return self._reading.execute(query, values, binary=True).fetchall()
            except psycopg.Error as error:
                if not self._reading.closed and not is_lost(error):
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
            kind = JournalUnreachable if is_away(error) else JournalError
            raise kind(f"the journal {self.place}: {reason}{advice(error)}") from error

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
        connection = psycopg.connect(parameters(self.place), autocommit=True)
        try:
            self._refuse_unfit(connection)
            adapt(connection)
            connection.execute(
                f"SET lock_timeout = '{_LOCK_SECONDS}s'; SET statement_timeout = 0; {_BY_INDEX};"
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

    def types_of(self, connection: psycopg.Connection[Any], table: str) -> dict[str, str]:
        """The names of a table's columns, and of their types."""
        if table not in self._types:
            self._types[table] = dict(
                connection.execute(
                    "SELECT attname, typname"
                    " FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid"
                    " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
                    " ORDER BY attnum",
                    (table,),
                )
            )
        return self._types[table]


def parameters(place: PostgresUrl) -> str:
    """How to connect, as libpq takes it."""
    given = conninfo_to_dict(place.url)
    defaults = {name: value for name, value in _TIMEOUTS.items() if name not in given}
    return make_conninfo(place.url, client_encoding="utf8", **defaults)


def _now(connection: psycopg.Connection[Any]) -> float:
    (now,) = connection.execute(_NOW).fetchone() or (0.0,)
    return float(now)
