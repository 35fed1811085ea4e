"""The parts of a transaction: a failure in one does not affect the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lokki.errors import JournalError


@dataclass(slots=True)
class Call:
    """A function to run in a transaction of a run, and its result."""

    run_id: str
    function: Callable[[sqlite3.Connection], Any]
    future: Future[Any]
    owned: bool
    result: Any = None
    error: JournalError | None = None

    def attempt(self, connection: sqlite3.Connection) -> None:
        """Call the function; its own error undoes only what it did."""
        try:
            with savepoint(connection):
                self.result = self.function(connection)
        except JournalError as error:
            self.error = error

    def notify(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


@contextmanager
def savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """A part of a transaction: its own error undoes only this part, and is raised as JournalError.

    Errors of the whole journal (a full disk, a damaged file) are raised unchanged.
    """
    connection.execute("SAVEPOINT part")
    try:
        yield
    except Exception as error:
        if not connection.in_transaction or _is_of_journal(error):
            raise
        connection.execute("ROLLBACK TO part")
        connection.execute("RELEASE part")
        if isinstance(error, JournalError):
            raise
        raise JournalError(repr(error)) from error
    connection.execute("RELEASE part")


def _is_of_journal(error: Exception) -> bool:
    """Whether the error concerns the journal, not the values to write."""
    return isinstance(error, sqlite3.Error) and not isinstance(
        error,
        sqlite3.IntegrityError
        | sqlite3.ProgrammingError
        | sqlite3.DataError
        | sqlite3.InterfaceError
        | sqlite3.NotSupportedError,
    )
