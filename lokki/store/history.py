"""What the journal tells of its runs: for the terminal and the service to show.

Reads alone, in queries whose time hardly grows with a run's items: a stage's counts are kept with
it, the strip of a map is made of samples, and items that did not succeed have an index.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from lokki.errors import RunNotFound
from lokki.store.connection import Reader
from lokki.store.groups import place
from lokki.store.leases import LEASE_SECONDS, is_worked_on
from lokki.store.lines import LogLine, Wanted, last_id, row_of, unpack
from lokki.store.offers import TAKEN, Needs, Offer
from lokki.store.removal import REMOVING
from lokki.store.schema import (
    INDEX_MASK,
    RunRow,
    StageRow,
    item_range,
)

_SAMPLES = 16
_GOLDEN = 0.618034
_TROUBLED = "status <> 'succeeded'"  # as in the index, whose test costs a write nothing
_PAGE = 16
_MOST_VALUES = 500  # of a query; SQLite takes 999 or more

Read: TypeAlias = Callable[[str, Sequence[Any]], Iterable[Any]]
"""Gives the rows of a query."""


@dataclass(frozen=True, slots=True)
class Run(RunRow):
    """A run with its ``pauses``: from the end of an attempt to the next one's begin.

    ``seen`` is its last sign of life. One that is ``removing`` has begun to be removed: its
    payloads may be gone. ``folder`` is where it was started or, if that is not recorded, last
    resumed, ``python`` and its ``prefix`` what it was started with, if they are recorded.
    """

    pauses: tuple[tuple[float, float], ...] = ()
    seen: float = 0.0
    removing: bool = False
    folder: str | None = None
    python: str | None = None
    prefix: str | None = None

    def goes_on(self, now: float) -> bool:
        """Whether a process may be at work to end it, not to remove it."""
        return is_worked_on(self, now) and not self.removing

    def is_lost(self, now: float) -> bool:
        """Whether its process is gone, and it may be resumed."""
        return self.status == "running" and not self.removing and not is_worked_on(self, now)

    def end(self, now: float) -> float:
        """When the work on it has ended; ``now`` while it goes on."""
        if self.finished is not None:
            return self.finished
        return now if self.goes_on(now) else self.seen

    def worked(self, since: float, until: float) -> float:
        """For how much of a time the run was worked on, in seconds.

        Pauses may overlap, and end before they begin: the clock may have been set back.
        """
        worked, at = 0.0, since
        for start, end in sorted((*self.pauses, (until, until))):
            worked += max(0.0, min(start, until) - at)
            at = max(at, start, end)
        return worked


@dataclass(frozen=True, slots=True)
class Group:
    """Failures of a stage's items that are alike; ``items`` are the first of them.

    ``tolerated`` is how many of them do not end the run; the first items are of those that do, if
    there are any. ``retrying`` is how many still have attempts to come. ``reason`` and
    ``traceback`` are the first item's; ``varies``: others have other numbers in their reason.
    ``place`` is file, line and function in the user's code.
    """

    id: str
    count: int
    step: str
    type: str
    reason: str
    traceback: str
    items: tuple[int, ...]
    tolerated: int
    retrying: int = 0
    varies: bool = False

    @property
    def failed(self) -> int:
        return self.count - self.tolerated - self.retrying

    @property
    def place(self) -> tuple[str, int, str] | None:
        return place(self.traceback)


@dataclass(frozen=True, slots=True)
class Inner:
    """An inner step of a map: how many items are past it, and how many of its attempts failed.

    ``seconds`` is what a call took that succeeded, the mean of those that were timed.
    """

    step: str
    succeeded: int
    failed_attempts: int
    seconds: float | None


@contextmanager
def read_history(path: Path) -> Iterator[History]:
    """A journal opened to read; one that is not there has no runs, and is not made.

    Raises JournalError and JournalVersionError as `Journal`.
    """
    with closing(Reader(path, create=False)) as read:
        yield History(read)


class History:
    """Questions to a journal; its errors are JournalErrors."""

    def __init__(self, read: Reader) -> None:
        self._read = read

    # ---- runs ------------------------------------------------------------------------------------

    def find(self, name: str, flow: str | None = None) -> Run:
        """The run whose id is ``name``, begins with it, or, for ``last``, the newest of ``flow``.

        Raises RunNotFound when there is none, or more than one.
        """
        if name == "last":
            newest = self.runs(flow=flow, limit=1)
            if not newest:
                of = f" of {flow}" if flow else ""
                raise RunNotFound(f"no runs{of} yet in the journal {self._read.path}")
            return newest[0]
        found = runs_of(
            self._read,
            "SELECT * FROM runs WHERE id >= ? AND id < ? ORDER BY id LIMIT 4",
            (name, name + chr(0x10FFFF)),
        )
        found = [run for run in found if run.id == name] or found
        if not found:
            raise RunNotFound(f"no run '{name}' in the journal {self._read.path}")
        if len(found) > 1:
            ids = ", ".join(run.id for run in found[:3]) + (", …" if len(found) > 3 else "")
            raise RunNotFound(f"'{name}' is the beginning of several runs ({ids}); give more of it")
        return found[0]

    def runs(
        self,
        *,
        flow: str | None = None,
        statuses: Sequence[str] = (),
        since: float | None = None,
        before: tuple[float, str] | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs, newest first; ``before`` (creation time and id) is the last one of another page.

        ``since`` is seconds since the epoch; every filter is optional.
        """
        marks = ", ".join("?" * len(statuses))
        wanted: list[tuple[str, Sequence[Any]]] = [("true", ())]
        if flow is not None:
            wanted.append(("flow = ?", (flow,)))
        if statuses:
            wanted.append((f"status IN ({marks})", statuses))
        if since is not None:
            wanted.append(("created >= ?", (since,)))
        if before is not None:
            wanted.append(("(created, id) < (?, ?)", before))
        condition = " AND ".join(text for text, _ in wanted)
        values = [value for _, each in wanted for value in each]
        return runs_of(
            self._read,
            f"SELECT * FROM runs WHERE {condition} ORDER BY created DESC, id DESC LIMIT ?",
            (*values, -1 if limit is None else limit),
        )

    def stages(self, *run_ids: str) -> list[StageRow]:
        """The stages of runs that have begun, in order."""
        query = "SELECT * FROM stages WHERE run IN ({}) ORDER BY run, position"
        return [StageRow(*row) for row in _of_runs(self._read, query, run_ids)]

    def events(self, run_id: str) -> list[tuple[float, str, int | None, str | None]]:
        """A run's events: at, kind, stage position, detail."""
        return self._read(
            "SELECT at, kind, stage, detail FROM events WHERE run = ? ORDER BY id", (run_id,)
        )

    def counts(self) -> dict[str, int]:
        """How many runs there are in each status."""
        return dict(self._read("SELECT status, count(*) FROM runs GROUP BY status"))

    def waiting(
        self, limit: int, offer: Offer, held: Iterable[str] = ()
    ) -> list[tuple[str, str, str | None]]:
        """The runs that wait for a runner of a service with this offer: id, source, again.

        The first one first; without those of the sources that are ``held``, and those that are to
        begin in turn while one of an earlier tick has not ended.
        """
        return self._read(
            "SELECT run, source, again FROM jobs JOIN runs ON id = run"
            f" WHERE queued IS NOT NULL AND {TAKEN}"
            " AND source NOT IN (SELECT value FROM json_each(?)) AND NOT (in_turn AND EXISTS ("
            "SELECT 1 FROM runs AS earlier JOIN jobs AS theirs ON theirs.run = earlier.id"
            " WHERE earlier.flow = runs.flow AND earlier.status IN ('queued', 'running')"
            " AND earlier.number < runs.number AND theirs.tick IS NOT NULL))"
            " ORDER BY queued, run LIMIT ?",
            (*offer.values, json.dumps(list(held)), limit),
        )

    def needs(self, run_id: str) -> Needs | None:
        """What a service must be to take a run that waits; None if it does not wait for one."""
        rows = self._read(
            "SELECT place, prefix, folder FROM jobs WHERE run = ? AND queued IS NOT NULL", (run_id,)
        )
        return Needs(*rows[0]) if rows else None

    def flows(self) -> list[str]:
        """The flows that there are runs of."""
        return [flow for (flow,) in self._read("SELECT DISTINCT flow FROM runs ORDER BY flow")]

    def resumes(self, run_id: str) -> list[tuple[float, str | None]]:
        """When a run was resumed, and what is recorded of it."""
        return [
            (at, detail) for at, kind, _, detail in self.events(run_id) if kind == "run_resumed"
        ]

    # ---- a map's items ---------------------------------------------------------------------------

    def troubled(self, stage: StageRow) -> Counter[str]:
        """How many items of a stage failed, are tolerated, retrying or cancelled."""
        return Counter(
            dict(
                self._read(
                    "SELECT status, count(*) FROM items INDEXED BY items_troubled"
                    f" WHERE id BETWEEN ? AND ? AND {_TROUBLED} GROUP BY status",
                    item_range(stage.id),
                )
            )
        )

    def strip(self, stage: StageRow, width: int) -> list[Counter[str]]:
        """The items of a stage in ``width`` cells of neighbours, fewer if there are fewer items.

        Each cell counts items by status. Those that did not succeed are all counted; of the others
        in an unfinished stage, up to 16 of a cell are looked up and stand for the rest.
        """
        first, last = item_range(stage.id)
        width = min(width, stage.total)
        if not width:
            return []
        bounds = [cell * stage.total // width for cell in range(width + 1)]
        cells: list[Counter[str]] = [Counter() for _ in range(width)]
        for cell, status, count in self._read(
            f"SELECT ((id - ?) * ? + ? - 1) / ?, status, count(*) FROM items"
            f" INDEXED BY items_troubled WHERE id BETWEEN ? AND ? AND {_TROUBLED} GROUP BY 1, 2",
            (first, width, width, stage.total, first, last),
        ):
            cells[cell][status] += count
        whole = stage.succeeded + stage.tolerated + stage.failed >= stage.total
        for cell, (start, stop) in zip(cells, pairwise(bounds), strict=True):
            rest = stop - start - cell.total()
            done = rest if whole else self._done(first, start, stop, rest)
            cell["succeeded"], cell["pending"] = done, rest - done
        return cells

    def _done(self, first: int, start: int, stop: int, rest: int) -> int:
        samples = _samples(start, stop)
        marks = ", ".join("?" * len(samples))
        rows = self._read(
            f"SELECT status FROM items WHERE id IN ({marks})",
            [first + index for index in samples],
        )
        seen = Counter(status for (status,) in rows)
        others = seen.total() - seen["succeeded"]
        known = len(samples) - others
        return round(rest * seen["succeeded"] / known) if known else 0

    def groups(self, stage: StageRow, shown: int = 5) -> list[Group]:
        """The last failures of items that have no result, alike ones together.

        The largest group comes first.
        """
        rows = self._read(
            "WITH stand AS (SELECT items.id AS item, status, grp, reason, failures.rowid AS failure"
            "  FROM items INDEXED BY items_troubled JOIN failures ON failures.rowid ="
            "   (SELECT max(rowid) FROM failures WHERE item = items.id)"
            f"  WHERE items.id BETWEEN ? AND ? AND {_TROUBLED}"
            "  AND status IN ('failed', 'retrying', 'tolerated')),"
            " numbered AS (SELECT *, count(*) OVER alike AS count,"
            "  sum(status = 'tolerated') OVER alike AS tolerated,"
            "  sum(status = 'retrying') OVER alike AS retrying,"
            "  min(reason) OVER alike < max(reason) OVER alike AS varies, row_number() OVER"
            "  (PARTITION BY grp ORDER BY status, item) AS nth FROM stand"
            "  WINDOW alike AS (PARTITION BY grp))"
            " SELECT numbered.grp, numbered.item, count, step, type, numbered.reason, traceback,"
            "  tolerated, retrying, varies"
            " FROM numbered LEFT JOIN failures ON failures.rowid = failure AND nth = 1"
            " WHERE nth <= ? ORDER BY count DESC, numbered.grp, nth",
            (*item_range(stage.id), shown),
        )
        groups = []
        for grp, alike in groupby(rows, key=itemgetter(0)):
            firsts = list(alike)
            _, _, count, step, kind, reason, traceback, tolerated, retrying, varies = firsts[0]
            items = tuple(row[1] & INDEX_MASK for row in firsts)
            counts = (tolerated, retrying, bool(varies))
            groups.append(Group(grp, count, step, kind, reason, traceback, items, *counts))
        return groups

    def inner(self, stage: StageRow, steps: Sequence[str]) -> list[Inner]:
        """The inner steps of a stage, which are called ``steps``."""
        bounds = item_range(stage.id)
        stopped = self._read(
            "SELECT position, count(*) FROM items INDEXED BY items_troubled"
            f" WHERE id BETWEEN ? AND ? AND {_TROUBLED} GROUP BY position",
            bounds,
        )
        failed = dict(
            self._read(
                "SELECT step, count(*) FROM failures WHERE item BETWEEN ? AND ? GROUP BY step",
                bounds,
            )
        )
        means = dict(
            self._read("SELECT position, seconds / calls FROM spent WHERE stage = ?", (stage.id,))
        )
        return [
            Inner(
                step,
                stage.succeeded + sum(count for at, count in stopped if at > position),
                failed.get(step, 0),
                means.get(position),
            )
            for position, step in enumerate(steps)
        ]

    # ---- logs ------------------------------------------------------------------------------------

    def last_line(self, run_id: str) -> int:
        """The id of the last line of a run; 0 when there is none."""
        rows = self._read(
            "SELECT id, count FROM logs WHERE run = ? ORDER BY id DESC LIMIT 1", (run_id,)
        )
        return last_id(*rows[0]) if rows else 0

    def lines(self, run_id: str, *, after: int = 0, **wanted: Any) -> Iterator[LogLine]:
        """What a run's steps printed and logged, in order, from the line after id ``after`` on.

        ``wanted`` are the fields of `Wanted`. Ends with the last line there is by then.
        """
        wish, row = Wanted(**wanted), row_of(after)
        while True:
            rows = self._log_rows(run_id, wish, "id >= ?", "ASC", row)
            for found in rows:
                for line in unpack(*found):
                    if line.id > after and wish.has(line):
                        yield line
            if len(rows) < _PAGE:
                return
            row = rows[-1][0] + 1

    def last_lines(
        self, run_id: str, count: int, *, before: int | None = None, **wanted: Any
    ) -> list[LogLine]:
        """The last ``count`` lines, in order; with ``before``, those before the line of this id.

        ``wanted`` are the fields of `Wanted`.
        """
        wish, end = Wanted(**wanted), self.last_line(run_id) + 1 if before is None else before
        row, last = row_of(end), deque[LogLine]()
        while True:
            rows = self._log_rows(run_id, wish, "id <= ?", "DESC", row)
            for found in rows:
                for line in reversed(list(unpack(*found))):
                    if line.id < end and wish.has(line):
                        last.appendleft(line)
                        if len(last) == count:
                            return list(last)
            if len(rows) < _PAGE:
                return list(last)
            row = rows[-1][0] - 1

    def _log_rows(self, run_id: str, wish: Wanted, end: str, order: str, row: int) -> list[Any]:
        condition, values = wish.condition()
        return self._read(
            f"SELECT id, first, count, lines FROM logs WHERE run = ? AND {end}{condition}"
            f" ORDER BY id {order} LIMIT {_PAGE}",
            (run_id, row, *values),
        )


def runs_of(read: Read, query: str, values: Sequence[Any]) -> list[Run]:
    """The runs whose rows a query gives, with what their events and stages tell of them."""
    runs = [RunRow(*row) for row in read(query, values)]
    events = _of_runs(
        read,
        "SELECT run, at, kind, CASE WHEN kind IN ('run_started', 'run_resumed', 'run_cancelled')"
        " THEN detail END"
        " FROM events WHERE run IN ({}) ORDER BY run, id",
        [run.id for run in runs],
    )
    by_run = {run: list(own) for run, own in groupby(events, key=itemgetter(0))}
    outcomes = dict(
        _of_runs(
            read,
            "SELECT run, max(updated) FROM stages WHERE run IN ({}) GROUP BY run",
            [run.id for run in runs if run.finished is None],
        )
    )
    return [_told(run, by_run.get(run.id, ()), outcomes.get(run.id)) for run in runs]


def _of_runs(read: Read, query: str, run_ids: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """What a query gives for runs, whose ids it takes at ``{}``, in the order of their ids."""
    names = sorted(set(run_ids))
    for start in range(0, len(names), _MOST_VALUES):
        page = names[start : start + _MOST_VALUES]
        yield from read(query.format(", ".join("?" * len(page))), page)


def _told(
    run: RunRow, events: Iterable[tuple[str, float, str, str | None]], outcome: float | None
) -> Run:
    """A run with what its events tell of it; the latest ``outcome`` is of one that has not ended.

    A pause begins with the event before the one that ends it, or, where the process was gone, when
    that was seen last.
    """
    pauses, removing = [], False
    begun_in = folder = python = prefix = None
    last = latest = run.created
    for _, at, kind, detail in events:
        if kind == REMOVING:
            removing = True
            continue
        told = json.loads(detail or "{}")
        if kind == "run_started":
            begun_in = told.get("folder")
        folder = begun_in or told.get("folder", folder)
        python, prefix = python or told.get("python"), prefix or told.get("prefix")
        if kind in ("run_resumed", "run_cancelled"):
            gone = told.get("seen")
            if gone is not None or kind == "run_resumed":
                pauses.append((last if gone is None else gone, at))
        last, latest = at, max(latest, at)
    heartbeat = 0.0 if removing else (run.leased_until or 0.0) - LEASE_SECONDS  # else the gc's
    columns = {field.name: getattr(run, field.name) for field in fields(run)}
    seen = max(latest, heartbeat, outcome or 0.0)
    return Run(
        **columns,
        pauses=tuple(pauses),
        seen=seen,
        removing=removing,
        folder=folder,
        python=python,
        prefix=prefix,
    )


def _samples(start: int, stop: int) -> list[int]:
    """Up to 16 numbers, one from each part of a range, at no regular distance.

    Failures often come at a regular one: every hundredth item.
    """
    count = stop - start
    if count <= _SAMPLES:
        return list(range(start, stop))
    bounds = [start + part * count // _SAMPLES for part in range(_SAMPLES + 1)]
    return [
        least + int(part * _GOLDEN % 1 * (above - least))
        for part, (least, above) in enumerate(pairwise(bounds))
    ]
