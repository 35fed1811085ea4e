"""What the journal needs of its database: SQLite (`sqlite.py`) or PostgreSQL (`postgres.py`).

Statements are written once, in SQL that both know, with ``?`` for values. What differs is here: how
rows are added in bulk, how a transaction begins, what an error means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from lokki.postgres_url import Place


class Read(Protocol):
    """Returns the rows of queries: a `Reader`, or a connection inside a transaction."""

    @property
    def ahead(self) -> float:
        """How far the clock of the leases is ahead of this process's, in seconds."""
        ...

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Iterable[Any]:
        """The rows of a query."""
        ...


class Rows(Protocol):
    """The answer to a statement."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Any: ...


class Connection(Protocol):
    """A connection that writes: what is committed is on disk."""

    @property
    def ahead(self) -> float:
        """As in `Read`."""
        ...

    @property
    def total_changes(self) -> int:
        """A number that grows whenever something is written."""
        ...

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Rows: ...
    def ask(self, sql: str, values: Sequence[Any], /) -> Callable[[], list[Any]]:
        """Send a query; what is returned waits for its rows, as they are now."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object: ...

    def insert(
        self, table: str, columns: str, rows: Sequence[Sequence[Any]], *, returning: str = ""
    ) -> Iterable[Any]:
        """Add rows; return these columns of each."""
        ...

    def replace(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows, in place of those with the same ``id``, the first column."""

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
    ) -> Iterable[Any]:
        """Change the rows that have given keys and meet a condition; return these columns of each.

        Each of ``rows`` has the keys, then the values of the ``columns``; ``also`` are the same
        changes to all. Columns in the condition and in ``returning`` are written with the table.
        """
        ...

    def begin(self, patience: float | None = None, /) -> None:
        """Begin a transaction that writes, when no other process is in one.

        What it reads stays true until it ends. If another one lasts for longer than ``patience``
        seconds (default: a minute), the database's error is raised.
        """

    def begin_reading(self) -> None:
        """Begin a transaction that reads everything as it is at one moment."""

    def columns_of(self, table: str) -> list[str]:
        """The columns of a table, in order."""
        ...

    def continue_numbers(self) -> None:
        """Have rows that are added later get higher numbers than those that were added with one."""

    def together(self) -> AbstractContextManager[None]:
        """Statements inside may be sent without waiting; then, an error is that of any of them.

        So may the commit.
        """
        ...

    def commit(self) -> None: ...
    def rollback(self) -> None:
        """Undo the transaction, if there is one; never fails."""

    def is_of_values(self, error: Exception) -> bool:
        """Whether a database's error concerns the values to write, not the journal."""
        ...

    def version(self) -> int:
        """A number that differs from the last one if another connection may have written since."""
        ...

    def free_bytes(self) -> int:
        """The space for later rows that is known."""
        ...

    def close(self) -> None: ...


class Database(Protocol):
    """A place for a journal, opened and brought up to date."""

    @property
    def place(self) -> Place: ...

    def connect(self) -> Connection:
        """A connection for writing; any thread may use it."""
        ...

    def read(self, sql: str, values: Sequence[Any], /) -> list[Any]:
        """The rows of a query; any thread may ask. Raises JournalError."""
        ...

    @property
    def ahead(self) -> float:
        """As in `Read`."""
        ...

    def version(self) -> int:
        """As of a connection; of the one that reads."""
        ...

    def errors(self) -> AbstractContextManager[None]:
        """Raises the database's errors as JournalErrors that say what to do."""
        ...

    def check(self) -> None:
        """Raise JournalGone if the journal is no longer the one that was opened."""

    def rescue(self, connection: Connection) -> None:
        """After JournalGone, save what can be saved."""

    def hold(self, owner: str) -> None:
        """Show other processes that an owner is alive, where they can see more than its leases."""

    def let_go(self, owner: str) -> None:
        """End `hold`."""

    def shrink(self) -> None:
        """Return the space of removed rows. Raises JournalError."""

    def close(self) -> None: ...


class Interrupted(Exception):
    """The server ended a transaction, or the connection is gone.

    ``recover`` makes the connection usable again, and returns whether the transaction was committed
    nevertheless; otherwise, nothing of it was. It raises JournalError if the server stays away.
    """

    def __init__(self, recover: Callable[[], bool]) -> None:
        super().__init__("the connection to the journal was lost")
        self.recover = recover
