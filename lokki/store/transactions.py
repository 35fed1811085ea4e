"""The parts of a transaction: a failure in one does not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from lokki.errors import JournalError
from lokki.store.sql import Connection


@dataclass(slots=True)
class Call:
    """A function to run in a transaction of a run, and its result."""

    run_id: str
    function: Callable[[Connection], Any]
    future: Future[Any]
    owned: bool
    result: Any = None
    error: JournalError | None = None

    def attempt(self, connection: Connection, *, alone: bool) -> None:
        """Call the function; if it is ``alone``, its own error undoes only what it did.

        Otherwise, only an error before it has written anything is its own; others are raised.
        """
        self.error, before = None, connection.total_changes
        try:
            with savepoint(connection) if alone else nullcontext():
                self.result = self.function(connection)
        except JournalError as error:
            if not alone and connection.total_changes != before:
                raise
            self.error = error

    def notify(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """A part of a transaction: its own error undoes only this part, and is raised as JournalError.

    Errors of the whole journal (a full disk, a damaged file) are raised unchanged.
    """
    connection.execute("SAVEPOINT part")
    try:
        yield
    except Exception as error:
        if not connection.is_of_values(error):
            raise
        connection.execute("ROLLBACK TO part")
        connection.execute("RELEASE part")
        if isinstance(error, JournalError):
            raise
        raise JournalError(repr(error)) from error
    connection.execute("RELEASE part")
