"""The parts of a transaction: a failure in one does not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from lokki.errors import JournalError
from lokki.store.sql import Connection

V = TypeVar("V")
T = TypeVar("T")

Shared: TypeAlias = Callable[[Connection, list[V]], Sequence[T | JournalError]]
"""Gets the values of several calls, and returns the result of each.

A result may be an error, if nothing was written for that call.
"""


def nothing(connection: Connection, values: list[None]) -> list[None]:
    """Does nothing: the transaction is what is wanted."""
    return values


@dataclass(slots=True)
class Call:
    """A function to run in a transaction of a run, with a value of the call, and its result.

    ``owned``: the run must be this process's.
    """

    run_id: str
    function: Shared[Any, Any]
    value: Any
    future: Future[Any]
    owned: bool = False
    result: Any = None
    error: JournalError | None = None

    def attempt(self, connection: Connection) -> None:
        """Make it alone; its own error undoes only what it did."""
        self.error = None
        try:
            with savepoint(connection):
                self._end(*self.function(connection, [self.value]))
        except JournalError as error:
            self.error = error

    def _end(self, result: Any) -> None:
        if isinstance(result, JournalError):
            self.error = result
        else:
            self.result = result

    def notify(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def attempt_together(calls: Sequence[Call], connection: Connection) -> None:
    """Make calls of one function, all at once.

    Only the error of a single one that has not written anything is its own; others are raised.
    """
    before = connection.total_changes
    try:
        results = calls[0].function(connection, [call.value for call in calls])
    except JournalError as error:
        if len(calls) > 1 or connection.total_changes != before:
            raise
        results = [error]
    for call, result in zip(calls, results, strict=True):
        call._end(result)


def groups(calls: Iterable[Call]) -> list[list[Call]]:
    """Calls in groups that share a function; those of a run stay in their order.

    So do those of no run (""), and all others with them.
    """
    found: list[list[Call]] = []
    of_function: dict[Shared[Any, Any], int] = {}
    of_run: dict[str, int] = {"": -1}
    for call in calls:
        after = max(of_run.get(call.run_id, -1), of_run[""]) if call.run_id else len(found) - 1
        at = of_function.get(call.function, -1)
        if at <= after:
            at = of_function[call.function] = len(found)
            found.append([])
        found[at].append(call)
        of_run[call.run_id] = at
    return found


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
