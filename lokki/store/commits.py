"""Group commits: the one thread of a process that writes to its journal.

Whatever has arrived since the last commit goes into the next transaction, up to some thousands of
rows, so that the records of a small run never wait behind those of a large one for long. Every row
of a run is written only while this process still owns the run: a process that was suspended for
longer than its lease cannot write over its successor.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from lokki.errors import JournalError, RunOwned
from lokki.store.schema import ErrorsTold, StageRow, add_event

T = TypeVar("T")
Connect = Callable[[], sqlite3.Connection]

LEASE_SECONDS = 30.0
_HEARTBEAT = LEASE_SECONDS / 3
_ROWS_PER_COMMIT = 2_000
_MOST_PENDING = 16_000
_PADDED_FROM = 64
_ROWS_PER_STATEMENT = (2048, 1024, 512, 256, 128, 64, 8, 1)


@dataclass(slots=True)
class Outcomes:
    """What came of a slice of a stage's items, as rows.

    ``succeeded`` is flat, four values an item (key, started, finished, output), for the many that
    succeed at once with a small result; ``items`` and ``failures`` hold whole rows of their
    tables. ``counts`` (succeeded, failed, tolerated, retrying) are the stage's after them.
    """

    stage: int
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    succeeded: list[Any] = field(default_factory=list)
    items: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[tuple[Any, ...]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.succeeded) // 4 + len(self.items) + len(self.failures)

    def add(self, later: Outcomes) -> None:
        """Take in what came after; both are of the same stage."""
        self.counts = later.counts
        self.succeeded += later.succeeded
        self.items += later.items
        self.failures += later.failures

    def write(self, connection: sqlite3.Connection) -> None:
        _insert(connection, self.succeeded)
        connection.executemany(
            "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", self.items
        )
        connection.executemany("INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?)", self.failures)
        connection.execute(
            "UPDATE stages SET succeeded = ?, failed = ?, tolerated = ?, retrying = ? WHERE id = ?",
            (*self.counts, self.stage),
        )


@dataclass(frozen=True, slots=True)
class Opening:
    """The start of a stage."""

    row: StageRow

    def __len__(self) -> int:
        return 1

    def write(self, connection: sqlite3.Connection) -> None:
        row = self.row
        connection.execute(
            "INSERT INTO stages (id, run, position, name, kind, started, total)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (row.id, row.run, row.position, row.name, row.kind, row.started, row.total),
        )
        add_event(connection, row.run, row.started, "stage_started", row.position)


Entry: TypeAlias = Opening | Outcomes

# Many rows a statement, since every statement waits for a turn of the interpreter's lock.
_INSERTS = {
    size: "INSERT OR REPLACE INTO items VALUES "  # noqa: S608
    + ", ".join(["(?, 'succeeded', 0, 1, ?, ?, ?, NULL)"] * size)
    for size in _ROWS_PER_STATEMENT
}


def _insert(connection: sqlite3.Connection, succeeded: list[Any]) -> None:
    """Insert flat rows in as few statements as fit; the last row may be repeated to fill one."""
    done, count = 0, len(succeeded) // 4
    while done < count:
        left = count - done
        size = next(size for size in _ROWS_PER_STATEMENT if size <= left or size == 1)
        if size < _PADDED_FROM and size < left:
            size = next(size for size in reversed(_ROWS_PER_STATEMENT) if size >= left)
        rows = succeeded[done * 4 : (done + size) * 4]
        connection.execute(_INSERTS[size], rows + rows[-4:] * (size - len(rows) // 4))
        done += size


class RunWriter:
    """The write side of one run that this process owns; its methods may be called in any thread.

    ``on_lost`` is called, in the committer's thread, when the run was taken over or the journal
    can no longer be written; nothing is recorded after it.
    """

    def __init__(
        self, committer: Committer, run_id: str, on_lost: Callable[[JournalError], None]
    ) -> None:
        self.run_id = run_id
        self.on_lost = on_lost
        self.leased_until = time.time() + LEASE_SECONDS
        self.entries: deque[Entry] = deque()
        self.lines: list[tuple[Any, ...]] = []
        self._committer = committer

    def add(self, entry: Entry) -> None:
        """Queue a record; it is on disk after the run's next `Committer.call`."""
        self._committer.queue(self, entry)

    def log(self, line: tuple[Any, ...]) -> None:
        """Queue a line: at, step, item, attempt, level, source, message."""
        self._committer.queue_line(self, line)

    def take(self, most: int) -> tuple[list[Entry], list[tuple[Any, ...]]]:
        """Take queued records of ``most`` rows or a few more, outcomes of a stage as one, and
        every line.
        """
        taken: list[Entry] = []
        rows = 0
        while self.entries and rows < most:
            entry = self.entries.popleft()
            rows += len(entry)
            match taken[-1:], entry:
                case [Outcomes() as before], Outcomes() if before.stage == entry.stage:
                    before.add(entry)
                case _:
                    taken.append(entry)
        lines, self.lines = self.lines, []
        return taken, lines


@dataclass(slots=True)
class _Call:
    run_id: str
    function: Callable[[sqlite3.Connection], Any]
    future: Future[Any]
    result: Any = None
    error: BaseException | None = None

    def attempt(self, connection: sqlite3.Connection) -> None:
        """Call the function; an error of its own undoes what it did, and nothing else."""
        connection.execute("SAVEPOINT call")
        try:
            self.result = self.function(connection)
        except JournalError as error:
            connection.execute("ROLLBACK TO call")
            self.error = error
        finally:
            connection.execute("RELEASE call")

    def tell(self) -> None:
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Committer:
    """Owns the writing connection, on a thread of its own that starts at once."""

    def __init__(self, connect: Connect, owner: str, errors_told: ErrorsTold) -> None:
        self.error: JournalError | None = None
        self._connect = connect
        self._owner = owner
        self._errors_told = errors_told
        self._changed = threading.Condition()
        self._waiting: dict[RunWriter, None] = {}
        self._rows = 0
        self._calls: list[_Call] = []
        self._owned: dict[str, RunWriter] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="lokki-journal", daemon=True)
        self._thread.start()

    # ---- from other threads ----------------------------------------------------------------------

    def own(self, run_id: str, on_lost: Callable[[JournalError], None]) -> RunWriter:
        """The write side of a run that is leased to this process; keeps the lease alive."""
        writer = RunWriter(self, run_id, on_lost)
        with self._changed:
            self._owned[run_id] = writer
            self._changed.notify()
        return writer

    def release(self, writer: RunWriter) -> None:
        """Stop renewing the lease of a run that has ended or was lost."""
        with self._changed:
            self._owned.pop(writer.run_id, None)

    def queue(self, writer: RunWriter, entry: Entry) -> None:
        with self._changed:
            writer.entries.append(entry)
            self._waiting[writer] = None
            self._rows += len(entry)
            self._changed.notify()

    def queue_line(self, writer: RunWriter, line: tuple[Any, ...]) -> None:
        with self._changed:
            writer.lines.append(line)
            self._waiting[writer] = None
            self._changed.notify()

    def call(self, run_id: str, function: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Run ``function`` in a transaction, after all that is queued for the run.

        The future has its result once it is on disk, or a JournalError.
        """
        future: Future[T] = Future()
        with self._changed:
            if self.error is None and not self._closing:
                self._calls.append(_Call(run_id, function, future))
                self._changed.notify()
                return future
        future.set_exception(self.error or JournalError("the journal is closed"))
        return future

    @property
    def congested(self) -> bool:
        """Whether so much waits to be written that those who write should wait, too."""
        return self._rows > _MOST_PENDING

    def wait_for_room(self) -> None:
        """Block while the journal is congested."""
        if self.congested:
            with self._changed:
                self._changed.wait_for(lambda: not self.congested or self.error is not None)

    def close(self) -> None:
        """Commit what is queued, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    # ---- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with self._errors_told, closing(self._connect()) as connection:
                while self._commit_next(connection):
                    pass
        except JournalError as error:
            self._fail(error)
        except Exception as error:
            self._fail(JournalError(f"the journal cannot be written: {error!r}"))

    def _commit_next(self, connection: sqlite3.Connection) -> bool:
        with self._changed:
            if not (self._waiting or self._calls or self._closing):
                self._changed.wait(_HEARTBEAT if self._owned else None)
            calls, self._calls = self._calls, []
            writes = self._take({call.run_id for call in calls})
            owned = list(self._owned.values())
            last = self._closing and not self._waiting
        try:
            connection.execute("BEGIN IMMEDIATE")
            lost = [writer for writer in owned if not self._keep(connection, writer)]
            for writer, entries, lines in writes:
                if writer not in lost:
                    _write(connection, writer.run_id, entries, lines)
            for call in calls:
                call.attempt(connection)
            connection.execute("COMMIT")
        except Exception:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            with self._changed:
                self._calls = calls + self._calls  # `_fail` tells them
            raise
        for writer in lost:
            self.release(writer)
            writer.on_lost(
                RunOwned(f"run {writer.run_id} was taken over by another process; this one stops")
            )
        for call in calls:
            call.tell()
        return not last

    def _take(self, whole: set[str]) -> list[tuple[RunWriter, list[Entry], list[tuple[Any, ...]]]]:
        """What the next transaction writes: all of the runs in ``whole``, a share of the others."""
        taken = []
        for writer in tuple(self._waiting):
            most = self._rows if writer.run_id in whole else _ROWS_PER_COMMIT
            entries, lines = writer.take(most)
            taken.append((writer, entries, lines))
            self._rows -= sum(map(len, entries))
            if not writer.entries:
                del self._waiting[writer]
        self._changed.notify_all()
        return taken

    def _keep(self, connection: sqlite3.Connection, writer: RunWriter) -> bool:
        """Whether we still own the run; renews the lease when it is due."""
        now = time.time()
        row = connection.execute("SELECT owner FROM runs WHERE id = ?", (writer.run_id,)).fetchone()
        if row is None or row[0] != self._owner:
            return False
        if writer.leased_until - now < LEASE_SECONDS - _HEARTBEAT:
            writer.leased_until = now + LEASE_SECONDS
            connection.execute(
                "UPDATE runs SET leased_until = ? WHERE id = ?",
                (writer.leased_until, writer.run_id),
            )
        return True

    def _fail(self, error: JournalError) -> None:
        with self._changed:
            self.error = error
            calls, self._calls = self._calls, []
            writers = list(self._owned.values())
            self._changed.notify_all()
        for call in calls:
            call.future.set_exception(error)
        for writer in writers:
            writer.on_lost(error)


def _write(
    connection: sqlite3.Connection,
    run_id: str,
    entries: list[Entry],
    lines: list[tuple[Any, ...]],
) -> None:
    for entry in entries:
        entry.write(connection)
    connection.executemany(
        "INSERT INTO logs (run, at, step, item, attempt, level, source, message)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((run_id, *line) for line in lines),
    )
