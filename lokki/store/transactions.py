"""The parts of a transaction: a failure in one does not affect the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from lokki.errors import JournalError
from lokki.store.sql import Connection

T = TypeVar("T")

Asking: TypeAlias = Generator[None, None, T]
"""Yields when it has sent queries, before it needs their answers; returns its result.

Others send theirs meanwhile, so that all of them wait for the database once.
"""


def answer(asking: Asking[T]) -> T:
    """The result of one that nobody else asks with."""
    while True:
        try:
            next(asking)
        except StopIteration as end:
            result: T = end.value
            return result


@dataclass(slots=True)
class Call:
    """A function to run in a transaction of a run, and its result.

    ``asking``: the function returns an `Asking` that reads and writes only what is its run's.
    """

    run_id: str
    function: Callable[[Connection], Any]
    future: Future[Any]
    owned: bool
    asking: bool = False
    result: Any = None
    error: JournalError | None = None

    def attempt(self, connection: Connection) -> None:
        """Call the function; its own error undoes only what it did."""
        self.error = None
        try:
            with savepoint(connection):
                self.result = answer(self._steps(connection))
        except JournalError as error:
            self.error = error

    def _steps(self, connection: Connection) -> Asking[Any]:
        if self.asking:
            return (yield from self.function(connection))
        return self.function(connection)

    def step(self, connection: Connection) -> Generator[None]:
        """Make it, up to each yield of its function.

        Only an error before it has written anything is its own; others are raised.
        """
        self.error, steps, has_written = None, self._steps(connection), False
        while True:
            before = connection.total_changes
            try:
                next(steps)
            except StopIteration as end:
                self.result = end.value
                return
            except JournalError as error:
                if has_written or connection.total_changes != before:
                    raise
                self.error = error
                return
            has_written |= connection.total_changes != before
            yield

    def notify(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def attempt_together(calls: Iterable[Call], connection: Connection) -> None:
    """Make calls of different runs: each sends its queries before any waits for answers."""
    going = [call.step(connection) for call in calls]
    while going:
        going = [steps for steps in going if next(steps, _ENDED) is not _ENDED]


_ENDED = object()


def groups(calls: Iterable[Call]) -> Iterator[list[Call]]:
    """Calls in their order, in groups that can be attempted together."""
    group: list[Call] = []
    for call in calls:
        alike = call.asking and all(other.run_id != call.run_id for other in group)
        if group and not (alike and group[0].asking):
            yield group
            group = []
        group.append(call)
    if group:
        yield group


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
