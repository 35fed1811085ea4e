"""Group commits: the one thread of a process that writes to its journal.

The next transaction takes what has arrived since the last one, up to some thousands of rows, so
that the records of a small run never wait long behind those of a large one. Rows of a run are
written only while this process owns the run: a process that was suspended for longer than its lease
cannot overwrite its successor. A row that cannot be written ends only its run; if the journal
itself cannot be written, or its file is gone, all runs end. Nothing is reported as being on disk
before the file was checked.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from lokki.errors import JournalError, JournalGone, RunOwned
from lokki.logging import Line
from lokki.store.leases import LEASE_SECONDS, lease_end
from lokki.store.owners import working
from lokki.store.records import Entry, write
from lokki.store.sql import Connection, Database, Interrupted
from lokki.store.transactions import Call, Shared, attempt_together, groups, nothing, savepoint
from lokki.store.writer import MOST_PENDING, RunWriter, Wanted

V = TypeVar("V")
T = TypeVar("T")

_HEARTBEAT = LEASE_SECONDS / 3
_POLL_INTERVAL = 0.25
_ROWS_PER_COMMIT = 2_000
_LINGER_SECONDS = 0.1
"""How long lines wait for more, if there is nothing else to write."""
_GATHER_SECONDS = 0.005
"""How long records wait for more, unless somebody waits for a call."""

WANTED = (
    "SELECT id, cancel_requested, pause_requested, tuned_stage, concurrency FROM runs WHERE"
    " owner = ? AND (cancel_requested IS NOT NULL OR pause_requested IS NOT NULL"
    " OR concurrency IS NOT NULL)"
)
"""What is wanted of an owner's runs: the condition is that of an index."""

_OWNERS = "SELECT id, owner FROM runs WHERE id IN (SELECT value FROM json_each(?))"

_Writes: TypeAlias = "tuple[RunWriter, list[Entry], list[Line]]"


@dataclass(slots=True)
class _Batch:
    """What a transaction writes; the next one writes the same if the server interrupts it.

    ``owned`` are the runs of this process, ``errors`` what ended others; ``last``: nothing follows.
    ``apart``: something in it failed, and it is written again in parts, of which the others last.
    The transaction adds its ``writers``, the ``owners`` of their runs, those that have ``lost``
    theirs, when the leases that it has ``renewed`` end, and the runs that it has ``seen`` to be
    this process's, until a call may have changed that.
    """

    calls: list[Call] = field(default_factory=list)
    writes: list[_Writes] = field(default_factory=list)
    owned: list[RunWriter] = field(default_factory=list)
    errors: dict[str, JournalError] = field(default_factory=dict)
    last: bool = False
    filled: bool = False
    apart: bool = False
    lost: dict[RunWriter, JournalError] = field(default_factory=dict)
    renewed: dict[RunWriter, float] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    writers: dict[RunWriter, None] = field(default_factory=dict)
    owners: Callable[[], list[tuple[str, str]]] = list


class Committer:
    """Owns the writing connection, on a thread of its own that starts at once.

    ``guard`` is called before each transaction; it may end the process.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self.error: JournalError | None = None
        self.guard: Callable[[], None] | None = None
        self._database = database
        self._owner = owner
        self._changed = threading.Condition()
        self._waiting: dict[RunWriter, None] = {}
        self._rows = 0
        self._calls: list[Call] = []
        self._taken = _Batch()
        self._owned: dict[str, RunWriter] = {}
        self._lost: dict[str, JournalError] = {}
        self._closing = False
        self._seen: int | None = None
        database.hold(owner)
        working.add(owner)
        self._thread = threading.Thread(target=self._work, name="lokki-journal", daemon=True)
        self._thread.start()

    # ---- from other threads ----------------------------------------------------------------------

    def own(
        self,
        run_id: str,
        on_lost: Callable[[JournalError], None],
        on_cancel: Callable[[], None],
        on_control: Callable[[Wanted], None],
    ) -> RunWriter:
        """The write side of a run that is leased to this process; keeps the lease alive."""
        writer = RunWriter(self, run_id, on_lost, on_cancel, on_control)
        with self._changed:
            self._owned[run_id] = writer
            self._lost.pop(run_id, None)
            self._seen = None  # something may have been requested since it was taken
            if len(self._owned) == 1:  # otherwise the thread looks now and then
                self._changed.notify()
        return writer

    def look_again(self) -> None:
        """Look soon for what others want of runs, also for what this journal has written."""
        with self._changed:
            self._seen = None
            self._changed.notify()

    def release(self, writer: RunWriter) -> None:
        """Stop renewing the lease of a run that has ended or was lost.

        What is queued is still written if the run is this process's; the writer takes no more.
        """
        with self._changed:
            writer.closed = True
            if self._owned.get(writer.run_id) is writer:
                del self._owned[writer.run_id]

    def queue(self, writer: RunWriter, entry: Entry) -> None:
        with self._changed:
            if self._takes(writer):
                writer.entries.append(entry)
                first, self._rows = not self._rows, self._rows + len(entry)
                if first or self._rows >= _ROWS_PER_COMMIT:
                    self._changed.notify()

    def record(self, run_id: str, entry: Entry) -> bool:
        """Like `queue`, if the run has a writer; whether it has."""
        writer = self._owned.get(run_id)
        if writer is not None:
            self.queue(writer, entry)
        return writer is not None

    def note_lines(self, writer: RunWriter) -> None:
        """Have the lines of a run written."""
        with self._changed:
            if self._takes(writer):
                writer.noted = True
                self._changed.notify()
            elif writer not in self._waiting:  # otherwise they are written with what it has queued
                writer.lines.clear()

    def _takes(self, writer: RunWriter) -> bool:
        """Whether more may be queued for a run; the caller holds the lock."""
        if writer.closed or self._closing or self.error is not None:
            return False
        self._waiting[writer] = None
        return True

    def call(
        self, run_id: str, function: Callable[[Connection], T], *, owned: bool = False
    ) -> Future[T]:
        """Run ``function`` in a transaction, after everything queued for the run.

        The future gets its result once that is on disk, or a JournalError; with ``owned``, RunOwned
        if another process has the run, or the error that ended it. If the future is cancelled
        before its turn, the function does not run.
        """
        return self.share(run_id, lambda found, _: [function(found)], None, owned=owned)

    def share(
        self, run_id: str, function: Shared[V, T], value: V, *, owned: bool = False
    ) -> Future[T]:
        """Like `call`, with a function that is called once for all such calls of a transaction.

        It reads and writes only what is of the runs of its calls.
        """
        call = Call(run_id, function, value, Future(), owned)
        with self._changed:
            if self.error is None and not self._closing:
                self._calls.append(call)
                self._changed.notify()
                return call.future
        call.future.set_exception(self.error or JournalError("the journal is closed"))
        return call.future

    @property
    def congested(self) -> bool:
        """Whether so much is queued that writers should wait."""
        return self._rows > MOST_PENDING or any(
            len(writer.lines) > MOST_PENDING for writer in tuple(self._waiting)
        )

    def wait_for_room(self) -> None:
        """Block while the journal is congested."""
        if self.congested:
            with self._changed:
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self.congested or self.error is not None)

    def close(self) -> None:
        """Commit what is queued, and end the thread; anything later is dropped or refused."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    # ---- the thread ------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with self._database.errors(), closing(self._database.connect()) as connection:
                try:
                    while self._commit_next(connection):
                        self._look_for_requests(connection)
                except JournalGone:
                    self._database.rescue(connection)
                    raise
        except JournalError as error:
            self._fail(error)
        except Exception as error:
            self._fail(JournalError(f"the journal cannot be written: {error!r}"))
        finally:
            self._give_up()

    def _commit_next(self, connection: Connection) -> bool:
        with self._changed:
            if not (self._waiting or self._calls or self._closing):
                self._changed.wait(_POLL_INTERVAL if self._owned else None)
            if not (self._waiting or self._calls or self._closing or self._lease_is_due()):
                self._database.check()
                return True
            self._changed.wait_for(lambda: self._rows or self._is_urgent(), _LINGER_SECONDS)
            self._changed.wait_for(self._is_urgent, _GATHER_SECONDS)
        if self.guard is not None:
            self.guard()
        batch = self._taken = _Batch()  # `_fail` notifies its calls
        while not self._is_committed(connection, batch):
            pass
        for writer, until in batch.renewed.items():
            writer.leased_until = until
        self._lose(batch.lost)
        for call in batch.calls:
            call.notify()
        self._taken = _Batch()
        return not batch.last

    def _is_committed(self, connection: Connection, batch: _Batch) -> bool:
        """Write a batch in a transaction, unless the server interrupts it or a part fails."""
        try:
            return self._commit(connection, batch)
        except Interrupted as interrupted:
            return interrupted.recover()

    def _commit(self, connection: Connection, batch: _Batch) -> bool:
        try:
            connection.begin()
            if not batch.filled:  # only now: others may have made this one wait
                self._fill(batch)
            with nullcontext() if batch.apart else connection.together():
                self._write_all(connection, batch)
                errors = batch.errors | {writer.run_id: each for writer, each in batch.lost.items()}
                for calls in groups(batch.calls):
                    self._make(connection, calls, batch, errors)
                if not batch.apart and self._lost_of(batch):
                    raise _NotOwned
                connection.commit()
            self._database.check()
        except Exception as error:
            once_more = not batch.apart and connection.is_of_values(error)
            connection.rollback()
            if not once_more:
                raise
            batch.apart = True
            return False
        return True

    def _fill(self, batch: _Batch) -> None:
        """Take what is queued."""
        with self._changed:
            waiting, self._calls = self._calls, []
            batch.calls += [call for call in waiting if call.future.set_running_or_notify_cancel()]
            batch.writes = self._take({call.run_id for call in batch.calls})
            batch.owned = list(self._owned.values())
            batch.errors = self._lost.copy()
            batch.last = self._closing and not self._waiting
            batch.filled = True

    def _is_urgent(self) -> bool:
        """Whether somebody waits, or enough is queued for a transaction."""
        enough = self._rows >= _ROWS_PER_COMMIT
        return bool(self._calls or self._closing) or enough or self.congested

    def _lease_is_due(self) -> bool:
        now = time.time()
        return any(_is_due(writer, now) for writer in self._owned.values())

    def _look_for_requests(self, connection: Connection) -> None:
        """Notify the runs of which another process wants something, or no longer does."""
        if not self._owned:
            return
        try:
            version = connection.version()
            if version == self._seen:  # no other connection has written since
                return
            rows = connection.execute(WANTED, (self._owner,)).fetchall()
        except Interrupted as interrupted:
            interrupted.recover()
            return
        self._seen = version
        found = {run_id: wanted for run_id, *wanted in rows}
        with self._changed:
            owned = tuple(self._owned.values())
        for writer in owned:
            cancel, pause, stage, concurrency = found.get(writer.run_id, (None, None, None, None))
            if cancel is not None:
                writer.on_cancel()
            wanted = Wanted(pause, stage, concurrency)
            if wanted != writer.wanted:
                writer.wanted = wanted
                writer.on_control(wanted)

    def _take(self, whole: set[str]) -> list[_Writes]:
        """What the next transaction writes: all of the runs in ``whole``, a share of others."""
        taken = []
        for writer in tuple(self._waiting):
            most = sys.maxsize if writer.run_id in whole else _ROWS_PER_COMMIT
            entries, lines = writer.take(most)
            taken.append((writer, entries, lines))
            self._rows -= sum(map(len, entries))
            if not (writer.entries or writer.noted):
                del self._waiting[writer]
        self._changed.notify_all()
        return taken

    def _write_all(self, connection: Connection, batch: _Batch) -> None:
        """Write the records of owned runs, and renew their leases.

        Together, all are taken to be owned: that is checked before the commit.
        """
        batch.writers = dict.fromkeys(batch.owned)
        batch.writers.update((writer, None) for writer, _, _ in batch.writes)  # released ones, too
        if batch.writers:
            names = json.dumps([writer.run_id for writer in batch.writers])
            batch.owners = connection.ask(_OWNERS, (names,))
        batch.lost = self._lost_of(batch) if batch.apart else {}
        owned = [writer for writer in batch.writers if writer not in batch.lost]
        batch.seen = frozenset(writer.run_id for writer in owned)
        batch.renewed = self._renew(connection, owned)
        writes = [each for each in batch.writes if each[0] not in batch.lost]
        if not batch.apart:
            records = [(writer.run_id, entries, lines) for writer, entries, lines in writes]
            write(connection, records)
            return
        for writer, entries, lines in writes:
            try:
                with savepoint(connection):
                    write(connection, [(writer.run_id, entries, lines)])
            except JournalError as error:
                batch.lost[writer] = lost_error = JournalError(
                    f"run {writer.run_id} ends, since a record cannot be written: {error}; "
                    "what was recorded before is safe"
                )
                lost_error.__cause__ = error.__cause__
                connection.execute(
                    "UPDATE runs SET owner = NULL, leased_until = NULL WHERE id = ?",
                    (writer.run_id,),
                )

    def _lost_of(self, batch: _Batch) -> dict[RunWriter, JournalError]:
        """Those of the writers whose runs this process no longer owns."""
        owners = dict(batch.owners())
        return {
            writer: _taken_over(writer.run_id)
            for writer in batch.writers
            if owners.get(writer.run_id) != self._owner
        }

    def _renew(self, connection: Connection, owned: Iterable[RunWriter]) -> dict[RunWriter, float]:
        """Renew the leases that are due; when they end."""
        now = time.time()
        due = {writer: now + LEASE_SECONDS for writer in owned if _is_due(writer, now)}
        if due:
            self._database.hold(self._owner)  # lost if a step opened and closed the file
        for writer in due:
            connection.execute(
                "UPDATE runs SET leased_until = ? WHERE id = ? AND owner = ?",
                (lease_end(connection, now), writer.run_id, self._owner),
            )
        return due

    def _make(
        self,
        connection: Connection,
        calls: list[Call],
        batch: _Batch,
        errors: dict[str, JournalError],
    ) -> None:
        """Make calls, but none that needs a run that this process no longer owns."""
        for call in calls:
            call.error = self._refusal(connection, call, batch, errors)
        calls = [call for call in calls if call.error is None]
        if batch.apart:
            for call in calls:
                call.attempt(connection)
        elif calls:
            attempt_together(calls, connection)
        for call in calls:
            if call.function is not nothing:  # it may have changed the owner
                batch.seen = batch.seen - {call.run_id} if call.run_id else frozenset()

    def _refusal(
        self, connection: Connection, call: Call, batch: _Batch, errors: dict[str, JournalError]
    ) -> JournalError | None:
        if not call.owned:
            return None
        if call.run_id in errors:
            return errors[call.run_id]
        if call.run_id in batch.seen or self._owns(connection, call.run_id):
            return None
        return _taken_over(call.run_id)

    def _owns(self, connection: Connection, run_id: str) -> bool:
        row = connection.execute("SELECT owner FROM runs WHERE id = ?", (run_id,)).fetchone()
        return row is not None and row[0] == self._owner

    def _lose(self, lost: dict[RunWriter, JournalError]) -> None:
        """Drop what the writers have queued, and notify those that were not released."""
        losers = []
        with self._changed:
            for writer, error in lost.items():
                self._rows -= writer.close()
                self._waiting.pop(writer, None)
                if self._owned.get(writer.run_id, writer) is writer:
                    self._lost[writer.run_id] = error
                if self._owned.get(writer.run_id) is writer:
                    del self._owned[writer.run_id]
                    losers.append(writer)
            self._changed.notify_all()
        for writer in losers:
            writer.on_lost(lost[writer])

    def _give_up(self) -> None:
        """Mark that nothing more is written."""
        working.discard(self._owner)
        self._database.let_go(self._owner)

    def _fail(self, error: JournalError) -> None:
        """Notify all waiters. The runs are released first, so that they can be resumed at once."""
        self._give_up()
        with self._changed:
            self.error = error
            calls, self._calls = self._calls, []
            writers = list(self._owned.values())
            for writer in (*writers, *self._waiting):
                writer.close()
            self._waiting.clear()
            self._rows = 0
            self._changed.notify_all()
        for call in self._taken.calls:
            call.future.set_exception(error)
        for call in calls:
            if call.future.set_running_or_notify_cancel():
                call.future.set_exception(error)
        for writer in writers:
            writer.on_lost(error)


def _is_due(writer: RunWriter, now: float) -> bool:
    """Whether to renew the lease of a run: it ends soon, or the clock was set back."""
    left = writer.leased_until - now
    return not LEASE_SECONDS - _HEARTBEAT <= left <= LEASE_SECONDS + _HEARTBEAT


def _taken_over(run_id: str) -> RunOwned:
    return RunOwned(f"run {run_id} was taken over by another process; this one stops")


class _NotOwned(Exception):
    """A run is another process's: the transaction is undone, and made in parts."""
