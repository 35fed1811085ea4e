"""The journal: every run, stage, item, failure, event and log line, in SQLite or PostgreSQL.

One thread writes, in group commits (`commits.py`); a committed outcome survives a power loss.
Any thread may read. Several processes may share a journal: each run is owned by one of them, under
a lease.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from lokki.errors import JournalError, RunOwned
from lokki.postgres_url import PostgresUrl, place_of
from lokki.store.commits import Committer
from lokki.store.connection import Reader
from lokki.store.events import REMOVING, add_event, add_events
from lokki.store.history import History
from lokki.store.items import Single, outputs, pages, results
from lokki.store.leases import bound_lease, is_worked_on, lease_end, refuse_worked_on
from lokki.store.owners import new_owner
from lokki.store.records import Closing, write
from lokki.store.references import Reference
from lokki.store.reopen import Reopening
from lokki.store.rows import INDEX_MASK, delete_items, item_range, run_range
from lokki.store.runs import RunRecord, found, of_runs, records_of, refuse_removing, run_of
from lokki.store.span_rows import extents
from lokki.store.spans import Span
from lokki.store.sql import Connection
from lokki.store.storable import storable
from lokki.store.texts import Texts
from lokki.store.transactions import nothing
from lokki.store.writer import RunWriter, Wanted

T = TypeVar("T")

_PAGE = 5_000


class Journal:
    """A journal, opened for reading and writing.

    ``place`` is a path, or the URL of a PostgreSQL database; what is missing there is created, a
    file for this user only. Raises JournalError when it cannot be opened or is damaged,
    JournalVersionError when a newer lokki wrote it.
    """

    def __init__(self, place: str | os.PathLike[str] | PostgresUrl) -> None:
        self.path = place_of(place)
        self.owner = new_owner()
        self.read = Reader(self.path)
        self.history = History(self.read)
        self.commits = Committer(self.read.database, self.owner)

    def close(self) -> None:
        """Commit what is queued and close."""
        self.commits.close()
        self.read.close()

    # ---- runs ----------------------------------------------------------------------------------

    def own(
        self,
        run_id: str,
        on_lost: Callable[[JournalError], None],
        on_cancel: Callable[[], None] = lambda: None,
        on_control: Callable[[Wanted], None] = lambda wanted: None,
    ) -> RunWriter:
        """The write side of a run that `create` or `take` has leased to this process.

        ``on_lost`` is called once, in another thread, when the run was taken over, or when one of
        its records, or the journal, cannot be written; nothing is recorded after that.
        ``on_cancel`` is called in another thread after a `request_cancel` in any process,
        ``on_control`` when what is wanted of the run has changed (`lokki.store.controls`).
        """
        return self.commits.own(run_id, on_lost, on_cancel, on_control)

    def claim(self, run_id: str, now: float, function: Callable[[Connection], T]) -> Future[T]:
        """Run ``function``, which may take over a run, in a transaction.

        It bounds the run's lease first; that lasts even if the function raises.
        """
        self.commits.call(run_id, lambda connection: bound_lease(connection, run_id, now))
        return self.commits.call(run_id, function)

    def refuse_worked_on(self, run_id: str, now: float) -> Future[None]:
        """Raise RunOwned, naming the process, for a run that one may be working on.

        Also raises RunNotFound.
        """
        return self.claim(
            run_id, now, lambda connection: refuse_worked_on(found(connection, run_id), now)
        )

    def flush(self, run_id: str) -> Future[None]:
        """A future that is done when everything queued for a run of this process is on disk.

        Raises RunOwned if another process has the run, or the error that ended it.
        """
        return self.commits.share(run_id, nothing, None, owned=True)

    def create(
        self,
        run_id: str,
        *,
        flow: str,
        source: str | None,
        fingerprint: str,
        structure: str,
        params: bytes,
        params_json: str,
        params_ref: str | None = None,
        now: float,
        started_by: str | None = None,
        no_cache: bool = False,
        tags: Sequence[str] = (),
        detail: Mapping[str, Any] = {},
    ) -> Future[int]:
        """Record a new run, which this process owns and begins at once; return its number.

        ``no_cache``: it reuses no results. ``detail`` is recorded with it, as JSON.
        """

        def insert(connection: Connection) -> int:
            added = connection.execute(
                "INSERT INTO runs (id, flow, source, fingerprint, structure, status, params,"
                " params_json, params_ref, created, started, owner, leased_until, started_by,"
                " no_cache, tags) VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO NOTHING RETURNING number",
                storable(
                    (run_id, flow, source, fingerprint, structure, params, params_json)
                    + (params_ref, now, now, self.owner, lease_end(connection, now), started_by)
                    + (int(no_cache), json.dumps(tags))
                ),
            ).fetchall()
            if not added:
                raise JournalError(f"there is already a run {run_id}; choose another id")
            text = json.dumps(detail) if detail else None
            add_event(connection, run_id, now, "run_started", detail=text)
            return int(added[0][0])

        return self.commits.call(run_id, insert)

    def take(
        self,
        run_id: str,
        now: float,
        reopening: Reopening | None = None,
        *,
        seen: str | None = None,
        detail: Mapping[str, Any] = {},
        queued: RunRecord | None = None,
        no_cache: bool = False,
    ) -> Future[RunRecord]:
        """Lease a run to this process and set it running again, unless it has succeeded.

        A ``reopening`` first discards what it names, even of a run that has succeeded. ``detail``
        is recorded with it, as JSON; for a run whose process is gone, also when that was last seen.
        ``no_cache``: from now on, the run reuses no results.
        Returns the run as it was. Raises RunOwned if another living process has it, or if its
        fingerprint is no longer the one ``seen``; RunNotFound while it is being removed; with
        ``queued``, the run as it waited in the queue, also RunOwned if it no longer does.
        """

        def lease(connection: Connection) -> RunRecord:
            row = found(connection, run_id)
            refuse_removing(row)
            refuse_worked_on(row, now)
            if queued and row.status != "queued":
                raise RunOwned(f"another process has begun run {run_id} meanwhile")
            if seen not in (None, row.fingerprint):
                raise RunOwned(
                    f"another process has resumed run {run_id} meanwhile, with another "
                    "structure of its flow; look at it again, then resume"
                )
            if row.status == "succeeded" and reopening is None:
                return row
            before = row
            if reopening is not None:
                reopening.apply(connection, row)
                row = replace(row, status="failed")
            connection.execute(
                "UPDATE runs SET status = 'running', started = coalesce(started, ?),"
                " finished = NULL, error = NULL, owner = ?, leased_until = ?,"
                " cancel_requested = NULL, pause_requested = NULL, no_cache = ? WHERE id = ?",
                (
                    now,
                    self.owner,
                    lease_end(connection, now),
                    int(no_cache or row.no_cache),
                    run_id,
                ),
            )
            _note_begun(connection, [_Taking(before, now, detail, lease)])
            return row

        if queued is None:
            return self.claim(run_id, now, lease)
        if queued.started is None and reopening is None and seen == queued.fingerprint:
            return self.commits.share(run_id, self._begin, _Taking(queued, now, detail, lease))
        return self.commits.call(run_id, lease)  # nobody has a lease of it

    def _begin(
        self, connection: Connection, wanted: list[_Taking]
    ) -> list[RunRecord | JournalError]:
        """Lease runs that have never begun, if they still wait as they were seen."""
        rows = [
            (run.id, run.fingerprint, now, self.owner, lease_end(connection, now))
            for run, now, *_ in wanted
        ]
        taken = connection.update(
            "runs",
            "id, fingerprint",
            "started, owner, leased_until",
            rows,
            also="status = 'running'",
            when="runs.status = 'queued' AND runs.started IS NULL AND runs.owner IS NULL",
            returning="runs.id",
        )
        begun = {run_id for (run_id,) in taken}
        _note_begun(connection, [each for each in wanted if each.run.id in begun])
        results: list[RunRecord | JournalError] = []
        for each in wanted:
            try:
                results.append(each.run if each.run.id in begun else each.otherwise(connection))
            except JournalError as error:
                results.append(error)
        return results

    def request_cancel(self, run_id: str, now: float, owner: str | None = None) -> Future[bool]:
        """Have a run cancelled by the process that owns it; without an owner, cancel it at once.

        Returns whether a process was asked. A run that has ended stays as it is; so does, with
        ``owner``, one that another process has now. Raises RunNotFound while it is being removed.
        """

        def request(connection: Connection) -> bool:
            row = found(connection, run_id)
            refuse_removing(row)
            if row.finished is not None or owner not in (None, row.owner):
                return False
            if is_worked_on(row, now):
                connection.execute(
                    "UPDATE runs SET cancel_requested = coalesce(cancel_requested, ?) WHERE id = ?",
                    (now, run_id),
                )
                self.commits.look_again()  # the run may be this process's
                return True
            end_cancelled(connection, row, now)
            return False

        return self.claim(run_id, now, request)

    def begin_removal(self, run_id: str, now: float, seen: RunRecord | None = None) -> Future[bool]:
        """Lease a run to this process to `remove` it: from now on it can only be removed.

        Returns False for a run that another process has, that is gone, or that was resumed since it
        was ``seen``. `own` keeps the lease alive.
        """

        def update(connection: Connection) -> bool:
            run = run_of(connection, run_id)
            if run is None or is_worked_on(run, now):
                return False
            if seen is not None and (run.owner, run.finished) != (seen.owner, seen.finished):
                return False
            connection.execute(
                "UPDATE runs SET owner = ?, leased_until = ? WHERE id = ?",
                (self.owner, lease_end(connection, now), run_id),
            )
            add_event(connection, run_id, now, REMOVING)
            return True

        return self.claim(run_id, now, update)

    def remove(self, run_id: str) -> Future[int]:
        """Remove a run of this process and all its records; return the bytes that are free now.

        Raises like `flush`.
        """

        def delete(connection: Connection) -> int:
            row = found(connection, run_id)
            before = connection.free_bytes()
            delete_items(connection, *run_range(row.number))
            connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))
            return connection.free_bytes() - before

        return self.commits.call(run_id, delete, owned=True)

    def shrink(self) -> None:
        """Return the space of removed records to the disk.

        Other writers may have to wait. Raises JournalError if the disk has no room for a copy.
        """
        self.read.database.shrink()

    def finish(self, run_id: str, status: str, now: float, error: str | None) -> Future[None]:
        """Record the end of a run of this process, and release it; ``error`` is a JSON object.

        Raises like `flush`, and then records nothing.
        """
        return self.commits.share(run_id, _finish, (run_id, status, now, error), owned=True)

    def close_stage(self, run_id: str, position: int, now: float) -> Future[None]:
        """Record that every item of a stage has its outcome, after everything queued.

        Raises like `flush`, and then records nothing.
        """
        closing = Closing(position, now)
        if self.commits.record(run_id, closing):
            return self.flush(run_id)
        return self.commits.call(
            run_id, lambda connection: write(connection, [(run_id, [closing], [])]), owned=True
        )

    # ---- reading -------------------------------------------------------------------------------

    def run(self, run_id: str) -> RunRecord:
        """The run with this id. Raises RunNotFound."""
        return found(self.read, run_id)

    def runs(self, run_ids: Iterable[str]) -> dict[str, RunRecord]:
        """Those of the runs with these ids that there are, by their ids."""
        rows = of_runs(self.read, "SELECT * FROM runs WHERE id IN ({})", run_ids)
        return {run.id: run for run in records_of(self.read, rows)}

    def recorded(self, stage: int) -> Iterator[tuple[int, str, int, int]]:
        """The items of a stage with a record of their own: index, status, position, attempts."""
        return pages(self.read, "status, position, attempts", "true", stage)

    def extents(self, stage: int) -> list[range]:
        """The indices of a stage's items that are recorded in spans: all have succeeded."""
        return extents(self.read, stage)

    def results(self, stage: int) -> Iterator[Single | Span]:
        """The results of a stage's succeeded items, in order."""
        return results(self.read, stage)

    def outputs(self, stage: int) -> Iterator[Single]:
        """Like `results`, each by itself: index, packed output or reference."""
        return outputs(self.read, stage)

    def carried(self, stage: int) -> Iterator[tuple[int, bytes | None, str | None]]:
        """Inputs of a stage's retrying items that are at a later inner step."""
        condition = (
            "status = 'retrying' AND position > 0 AND (output IS NOT NULL OR ref IS NOT NULL)"
        )
        return pages(self.read, "output, ref", condition, stage)

    def payloads(self, first: int, last: int) -> Iterator[str]:
        """The keys of the payloads that the items with keys in this range refer to."""
        while True:
            rows = self.read(
                "SELECT id, ref FROM items WHERE id BETWEEN ? AND ? AND ref IS NOT NULL"
                " ORDER BY id LIMIT ?",
                (first, last, _PAGE),
            )
            yield from (Reference.parse(ref).key for _, ref in rows)
            if len(rows) < _PAGE:
                return
            first = rows[-1][0] + 1

    def failures(self, stage: int, status: str) -> Iterator[tuple[Any, ...]]:
        """The last failure of each item of ``stage`` with this ``status``, in order.

        Each is index, step, attempt, type, reason, traceback.
        """
        for item, step, attempt, kind, *texts in self.read(
            "SELECT item, step, attempt, type, reason, traceback, whole FROM failures"
            " WHERE rowid IN (SELECT max(failures.rowid)"
            "  FROM failures JOIN items ON items.id = item"
            "  WHERE item BETWEEN ? AND ? AND items.status = ? GROUP BY item) ORDER BY item",
            (*item_range(stage), status),
        ):
            yield (item & INDEX_MASK, step, attempt, kind, *Texts(*texts).uncut())


class _Taking(NamedTuple):
    """A run before it is taken, and what to record of that.

    ``otherwise`` takes a run that is no longer like this, or raises why it does not.
    """

    run: RunRecord
    now: float
    detail: Mapping[str, Any]
    otherwise: Callable[[Connection], RunRecord]


def _note_begun(connection: Connection, taken: Iterable[_Taking]) -> None:
    """Record that runs have begun, or were resumed."""
    ids = [(run.id,) for run, *_ in taken]
    connection.update("jobs", "run", "", ids, also="queued = NULL, again = NULL")
    events = []
    for run, now, detail, _ in taken:
        recorded = dict(detail)
        if run.finished is None:
            recorded["seen"] = run.seen
        kind = "run_started" if run.started is None else "run_resumed"
        events.append((run.id, now, kind, None, json.dumps(recorded)))
    add_events(connection, events)


def _finish(connection: Connection, ended: list[tuple[str, str, float, str | None]]) -> list[None]:
    """Record the ends of runs, each with its status, its time and perhaps an error."""
    connection.update(
        "runs",
        "id",
        "status, finished, error",
        [storable(each) for each in ended],
        also="owner = NULL, leased_until = NULL, pause_requested = NULL, tuned_stage = NULL,"
        " concurrency = NULL",
    )
    events = [(run_id, now, f"run_{status}", None, why) for run_id, status, now, why in ended]
    add_events(connection, events)
    return [None] * len(ended)


def end_cancelled(connection: Connection, run: RunRecord, now: float) -> None:
    """Record the cancellation of a run that nobody is working on."""
    connection.execute(
        "UPDATE runs SET status = 'cancelled', finished = ?, owner = NULL,"
        " leased_until = NULL, pause_requested = NULL WHERE id = ?",
        (now, run.id),
    )
    connection.execute("UPDATE jobs SET queued = NULL WHERE run = ?", (run.id,))
    detail = json.dumps({"seen": run.seen})
    add_event(connection, run.id, now, "run_cancelled", detail=detail)
