"""A run as the journal records it: its row, and what its events and stages add."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby
from operator import itemgetter
from typing import Any

from lokki.errors import RunNotFound
from lokki.store.events import REMOVING
from lokki.store.leases import LEASE_SECONDS, is_worked_on
from lokki.store.rows import RunRow
from lokki.store.sql import Read
from lokki.store.storable import storable

_EVENTS = (
    "SELECT run, at, kind, CASE WHEN kind IN"
    " ('run_started', 'run_resumed', 'run_cancelled', 'run_paused') THEN detail END"
    " FROM events WHERE run IN ({}) ORDER BY run, id"
)


@dataclass(frozen=True, slots=True)
class RunRecord(RunRow):
    """A run with its ``pauses``: each from an end to the start of the next resume.

    ``seen`` is its last sign of life. ``removing``: its removal has begun, and its payloads may be
    gone. ``folder`` is where it was started or, if that is not recorded, last resumed; ``python``
    and its ``prefix`` are what it was started with, if recorded; the versions, ``code`` and
    ``commit`` are those of the process that last began or resumed it.
    """

    pauses: tuple[tuple[float, float], ...] = ()
    seen: float = 0.0
    removing: bool = False
    folder: str | None = None
    python: str | None = None
    prefix: str | None = None
    lokki_version: str | None = None
    python_version: str | None = None
    code: str | None = None
    commit: str | None = None

    def goes_on(self, now: float) -> bool:
        """Whether a process may be working on it, other than to remove it."""
        return is_worked_on(self, now) and not self.removing

    def is_lost(self, now: float) -> bool:
        """Whether its process is gone, and it may be resumed."""
        return self.status == "running" and not self.removing and not is_worked_on(self, now)

    def end(self, now: float) -> float:
        """When the work on it ended; ``now`` while it continues."""
        if self.finished is not None:
            return self.finished
        return now if self.goes_on(now) and self.status != "paused" else self.seen

    def worked(self, since: float, until: float) -> float:
        """How much of a period was spent working on the run, in seconds.

        Pauses may overlap, or end before they begin: the clock may have been set back.
        """
        worked, at = 0.0, since
        for start, end in sorted((*self.pauses, (until, until))):
            worked += max(0.0, min(start, until) - at)
            at = max(at, start, end)
        return worked


def refuse_removing(run: RunRecord) -> None:
    """Raise RunNotFound for a run whose removal has begun."""
    if run.removing:
        raise RunNotFound(f"run {run.id} is being removed: its payloads are gone")


def run_row(read: Read, columns: Sequence[Any]) -> RunRow:
    """A row of the table ``runs``, with the end of its lease on this process's clock."""
    run = RunRow(*columns)
    if run.leased_until is None:
        return run
    return replace(run, leased_until=run.leased_until - read.ahead)


def run_of(read: Read, run_id: str) -> RunRecord | None:
    """The run with this id."""
    names = storable((run_id,))
    rows = read.execute("SELECT * FROM runs WHERE id = ?", names)
    events = read.execute(_EVENTS.format("?"), names)  # asked for before the rows have come
    runs = _records_of(read, [run_row(read, row) for row in rows], events)
    return runs[0] if runs else None


def found(read: Read, run_id: str) -> RunRecord:
    """The run with this id. Raises RunNotFound."""
    run = run_of(read, run_id)
    if run is None:
        raise RunNotFound(f"no run '{run_id}' in the journal")
    return run


def runs_of(read: Read, query: str, values: Sequence[Any]) -> list[RunRecord]:
    """The runs whose rows a query returns, with what their events and stages add."""
    return records_of(read, read.execute(query, values))


def records_of(read: Read, rows: Iterable[Sequence[Any]]) -> list[RunRecord]:
    """Rows of the table ``runs`` with what events and stages add."""
    runs = [run_row(read, row) for row in rows]
    return _records_of(read, runs, of_runs(read, _EVENTS, [run.id for run in runs]))


def _records_of(
    read: Read, runs: Sequence[RunRow], events: Iterable[tuple[Any, ...]]
) -> list[RunRecord]:
    by_run = {run: list(own) for run, own in groupby(events, key=itemgetter(0))}
    outcomes = dict(
        of_runs(
            read,
            "SELECT run, max(updated) FROM stages WHERE run IN ({}) GROUP BY run",
            [run.id for run in runs if run.finished is None and run.started is not None],
        )
    )
    return [_record_of(run, by_run.get(run.id, ()), outcomes.get(run.id)) for run in runs]


def of_runs(read: Read, query: str, run_ids: Iterable[str]) -> Iterable[tuple[Any, ...]]:
    """What a query with the runs' ids at ``{}`` returns."""
    names = [*run_ids]
    if not names:
        return ()
    return read.execute(query.format("SELECT value FROM json_each(?)"), (json.dumps(names),))


def _record_of(
    run: RunRow, events: Iterable[tuple[str, float, str, str | None]], outcome: float | None
) -> RunRecord:
    """A run with what its events add; an unfinished one has its latest ``outcome``.

    A pause begins with the event before the one that ends it or, if the process was gone, when that
    was last seen.
    """
    pauses, removing = [], False
    begun_in = folder = python = prefix = lokki = version = code = commit = None
    last = latest = run.created
    for _, at, kind, detail in events:
        if kind == REMOVING:
            removing = True
            continue
        recorded = json.loads(detail or "{}")
        if kind == "run_started":
            begun_in = recorded.get("folder")
        folder = begun_in or recorded.get("folder", folder)
        python, prefix = python or recorded.get("python"), prefix or recorded.get("prefix")
        lokki = recorded.get("lokki_version", lokki)
        version = recorded.get("python_version", version)
        if "code" in recorded:
            code, commit = recorded["code"], recorded.get("commit")
        gone = recorded.get("seen")
        if gone is not None or kind in ("run_resumed", "run_unpaused"):
            pauses.append((last if gone is None else gone, at))
        last, latest = at, max(latest, at)
    heartbeat = 0.0 if removing else (run.leased_until or 0.0) - LEASE_SECONDS  # or the gc's
    columns = {field.name: getattr(run, field.name) for field in fields(run)}
    seen = last if run.status == "paused" else max(latest, heartbeat, outcome or 0.0)
    return RunRecord(
        **columns,
        pauses=tuple(pauses),
        seen=seen,
        removing=removing,
        folder=folder,
        python=python,
        prefix=prefix,
        lokki_version=lokki,
        python_version=version,
        code=code,
        commit=commit,
    )
