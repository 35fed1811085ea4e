"""The runs that a service runs: queued, taken by its runners, resumed when those die."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

from lokki.errors import JournalError, KeyReused, RunOwned
from lokki.model.base import fields_of
from lokki.model.failure import Error
from lokki.postgres_url import PostgresUrl
from lokki.store.controls import end_paused
from lokki.store.events import add_event
from lokki.store.journal import Journal, end_cancelled
from lokki.store.leases import bound_lease, is_worked_on, refuse_worked_on
from lokki.store.offers import TAKEN, Needs, Offer
from lokki.store.rows import RunRow
from lokki.store.runs import RunRecord, found, refuse_removing, run_row
from lokki.store.sql import Connection
from lokki.store.storable import storable

_ADDITION = (
    "id, flow, source, fingerprint, structure, params, params_json, created, started_by,"
    " params_ref, no_cache, tags, status"
)


class QueueFull(JournalError):
    """The most runs allowed are waiting for a runner."""


def as_asked(
    flow: str, params: Mapping[str, Any], *, no_cache: bool = False, tags: Sequence[str] = ()
) -> str:
    """What an idempotency key stands for: a flow's parameters as written, ``no_cache``, tags.

    The order of names does not matter; ``1``, ``1.0`` and ``true`` differ.
    """
    options = [*["no_cache"] * no_cache, *[sorted(tags)] * bool(tags)]
    return json.dumps([flow, params, *options], sort_keys=True)


@dataclass(frozen=True, slots=True)
class Job:
    """A run that waits for a runner; ``again`` is what a resume runs again."""

    run_id: str
    source: str
    again: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to queue."""

    id: str
    flow: str
    source: str
    fingerprint: str
    structure: str
    params: bytes
    params_json: str
    created: float
    started_by: str
    params_ref: str | None = None
    no_cache: int = 0
    tags: str = "[]"  # JSON

    def queued(self, number: int) -> RunRecord:
        """The run as the journal has it while it waits."""
        return RunRecord(
            **fields_of(self),
            number=number,
            status="queued",
            started=None,
            finished=None,
            error=None,
            owner=None,
            leased_until=None,
            seen=self.created,
        )


class Recovered(NamedTuple):
    """The runs whose runners were gone: which are queued again, and which have ended, and why."""

    queued: list[str]
    failed: list[tuple[RunRow, Error]]
    cancelled: list[RunRow]


class Jobs:
    """The queue of a journal, which any number of services share."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def of_hosts(self) -> bool:
        """Whether services on several hosts may share it."""
        return isinstance(self._journal.path, PostgresUrl)

    def put(
        self,
        new: NewRun,
        offer: Offer,
        *,
        key: str | None = None,
        body: str = "",
        most: int | None = None,
    ) -> Future[RunRecord]:
        """Queue a new run; return it, or the flow's run with the same ``key``.

        ``offer`` is that of the queueing service, ``body`` a hash of the request. Raises KeyReused
        if the key was used with another one, and QueueFull if ``most`` runs wait that the service
        takes.
        """

        def insert_once(connection: Connection, key: str) -> RunRecord:
            before = connection.execute(
                "SELECT run, body FROM requests WHERE flow = ? AND key = ?", (new.flow, key)
            ).fetchone()
            if before is not None:
                if before[1] != body:
                    raise KeyReused(key)
                return found(connection, before[0])
            number = enqueue(connection, new, offer, most)
            connection.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?)", (new.flow, key, body, new.id)
            )
            return new.queued(number)

        if key is None:
            return self._journal.commits.share(new.id, _put, _Place(new, offer, most))
        return self._journal.commits.call(new.id, lambda found: insert_once(found, key))

    def put_again(
        self, run_id: str, again: Mapping[str, Any], now: float, offer: Offer
    ) -> Future[None]:
        """Queue a run to be resumed, by a service with this offer.

        Raises RunNotFound, and RunOwned for a run that is queued or that a process is working on.
        """

        def update(connection: Connection) -> None:
            run = found(connection, run_id)
            refuse_removing(run)
            refuse_worked_on(run, now)
            if run.status == "queued":
                raise RunOwned(f"run {run_id} is already queued")
            connection.execute(
                "UPDATE runs SET status = 'queued', finished = NULL, error = NULL,"
                " cancel_requested = NULL, pause_requested = NULL WHERE id = ?",
                (run_id,),
            )
            needs = offer.needs(run.source or "")
            _queue(connection, run_id, now, json.dumps(dict(again)), needs)

        return self._journal.claim(run_id, now, update)

    def waiting(self, limit: int, offer: Offer, held: Iterable[str] = ()) -> list[Job]:
        """The runs that wait for a runner of a service with this offer, in order.

        Those with a ``held`` source are left out.
        """
        return [
            Job(run, source, json.loads(again or "{}"))
            for run, source, again in self._journal.history.waiting(limit, offer, held)
        ]

    def refuse(self, run_id: str, error: str, now: float) -> Future[bool]:
        """Mark a waiting run that cannot begin as failed, and whether it was waiting.

        ``error`` is a JSON object.
        """

        def update(connection: Connection) -> bool:
            changed = connection.execute(
                "UPDATE runs SET status = 'failed', finished = ?, error = ?"
                " WHERE id = ? AND status = 'queued'",
                storable((now, error, run_id)),
            ).rowcount
            if changed:
                connection.execute("UPDATE jobs SET queued = NULL WHERE run = ?", (run_id,))
                add_event(connection, run_id, now, "run_failed", detail=error)
            return bool(changed)

        return self._journal.commits.call(run_id, update)

    def hand_back(self, run_id: str, now: float) -> Future[None]:
        """Queue a run of this process again, for another process to finish.

        Or cancel it, or leave it paused, if that was requested. Raises like `Journal.flush`.
        """

        def update(connection: Connection) -> None:
            run = found(connection, run_id)
            if run.cancel_requested is not None:
                end_cancelled(connection, run, now)
                return
            if run.pause_requested is not None:
                end_paused(connection, run_id, now)
                return
            connection.execute(
                "UPDATE runs SET status = 'queued', owner = NULL, leased_until = NULL WHERE id = ?",
                (run_id,),
            )
            connection.execute("UPDATE jobs SET queued = ? WHERE run = ?", (now, run_id))

        return self._journal.commits.call(run_id, update, owned=True)

    def recover(self, now: float, most: int) -> Future[Recovered]:
        """Queue the runs whose runners are gone again.

        A run to which this has happened ``most`` times before fails; one whose cancellation was
        requested is cancelled, and one that was to be paused is.
        """

        def update(connection: Connection) -> Recovered:
            rows = connection.execute(
                "SELECT runs.*, resumes FROM jobs JOIN runs ON id = run"
                " WHERE status = 'running' AND queued IS NULL"
            ).fetchall()
            recovered = Recovered([], [], [])
            for *columns, resumes in rows:
                run = run_row(connection, columns)
                if is_worked_on(run, now):
                    bound_lease(connection, run.id, now)
                    continue
                if run.cancel_requested is not None:
                    end_cancelled(connection, found(connection, run.id), now)
                    recovered.cancelled.append(run)
                    continue
                if run.pause_requested is not None:
                    seen = found(connection, run.id).seen
                    end_paused(connection, run.id, now, seen)
                    continue
                if resumes >= most:
                    recovered.failed.append((run, _give_up(connection, run, resumes, now)))
                    continue
                recovered.queued.append(run.id)
                connection.execute("UPDATE runs SET status = 'queued' WHERE id = ?", (run.id,))
                connection.execute(
                    "UPDATE jobs SET queued = ?, resumes = resumes + 1 WHERE run = ?",
                    (now, run.id),
                )
            return recovered

        return self._journal.commits.call("", update)


class _Place(NamedTuple):
    """A run to queue, unless ``most`` runs wait that the service with this offer takes.

    ``tick``: the time of its flow's schedule, ``in_turn`` whether it begins when all runs for
    earlier times have ended.
    """

    new: NewRun
    offer: Offer
    most: int | None
    tick: float | None = None
    in_turn: bool = False


def enqueue(
    connection: Connection,
    new: NewRun,
    offer: Offer,
    most: int | None,
    *,
    tick: float | None = None,
    in_turn: bool = False,
) -> int:
    """Queue a new run, perhaps for a time of its flow's schedule; return its number.

    ``in_turn``: it begins when all runs for earlier times have ended. Raises QueueFull if ``most``
    runs wait that the service takes.
    """
    (found,) = _put(connection, [_Place(new, offer, most, tick, in_turn)])
    if isinstance(found, JournalError):
        raise found
    return found.number


def _put(connection: Connection, wanted: list[_Place]) -> list[RunRecord | JournalError]:
    """Queue new runs, as far as there is room."""
    query = "SELECT count(*) FROM jobs WHERE queued IS NOT NULL"
    ((waiting,),) = connection.execute(query).fetchall()
    places: list[_Place] = []
    for each in wanted:
        if waiting + len(places) < _most(each.most) or (
            _takes(connection, each.offer) + len(places) < _most(each.most)
        ):
            places.append(each)
    numbers = dict(
        connection.insert(
            "runs",
            _ADDITION,
            [(*storable(tuple(fields_of(each.new).values())), "queued") for each in places],
            returning="id, number",
        )
    )
    connection.insert(
        "jobs",
        "run, queued, place, prefix, folder, tick, in_turn",
        [
            storable((new.id, new.created, *offer.needs(new.source), tick, int(in_turn)))
            for new, offer, _, tick, in_turn in places
        ],
    )
    return [
        each.new.queued(numbers[each.new.id])
        if each.new.id in numbers
        else QueueFull(f"{each.most} runs wait for a runner: try again later")
        for each in wanted
    ]


def _most(most: int | None) -> int:
    return sys.maxsize if most is None else most


def _give_up(connection: Connection, run: RunRow, resumes: int, now: float) -> Error:
    why = Error(
        type="RunnerDied",
        message=f"the runner of this run died {resumes + 1} times; see its log, fix what kills "
        "it, and resume",
    )
    error = json.dumps({"type": why.type, "message": why.message})
    connection.execute(
        "UPDATE runs SET status = 'failed', finished = ?, error = ?, owner = NULL,"
        " leased_until = NULL WHERE id = ?",
        (now, error, run.id),
    )
    add_event(connection, run.id, now, "run_failed", detail=error)
    return why


def _queue(
    connection: Connection, run_id: str, now: float, again: str | None, needs: Needs
) -> None:
    """Queue a run again; it keeps its tick, and waits for no others."""
    connection.execute(
        "INSERT INTO jobs (run, queued, again, place, prefix, folder) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run) DO UPDATE SET"
        " queued = excluded.queued, again = excluded.again, place = excluded.place,"
        " prefix = excluded.prefix, folder = excluded.folder, in_turn = 0, resumes = 0",
        storable((run_id, now, again, *needs)),
    )


def _takes(connection: Connection, offer: Offer) -> int:
    """How many runs wait that a service takes."""
    waiting = f"SELECT count(*) FROM jobs WHERE queued IS NOT NULL AND {TAKEN}"
    count: int = connection.execute(waiting, offer.values).fetchone()[0]
    return count
