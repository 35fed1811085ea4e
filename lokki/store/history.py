"""What the journal records of its runs, for the terminal and the service to show.

Only reads, in queries whose time hardly grows with a run's items: a stage has its counts, the strip
of a map is made of samples, and items that did not succeed have an index.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from lokki.errors import RunNotFound, StageNotFound
from lokki.postgres_url import Place
from lokki.store.connection import Reader
from lokki.store.logs import Logs
from lokki.store.maps import Maps
from lokki.store.offers import TAKEN, Needs, Offer
from lokki.store.rows import StageRow
from lokki.store.run_search import conditions
from lokki.store.runs import RunRecord, of_runs, runs_of


@contextmanager
def read_history(path: Place) -> Iterator[History]:
    """A journal opened for reading; a missing one has no runs and is not created.

    Raises JournalError and JournalVersionError like `Journal`.
    """
    with closing(Reader(path, create=False)) as read:
        yield History(read)


class History(Maps, Logs):
    """Queries to a journal; errors are JournalErrors."""

    def find(self, name: str, flow: str | None = None) -> RunRecord:
        """The run whose id is ``name`` or begins with it; for ``last``, the newest of ``flow``.

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
            raise RunNotFound(f"'{name}' begins several ids ({ids}); give more characters")
        return found[0]

    def runs(
        self,
        *,
        flow: str | None = None,
        statuses: Sequence[str] = (),
        since: float | None = None,
        before: tuple[float, str] | None = None,
        tags: Sequence[str] = (),
        params: Sequence[str] = (),
        search: str | None = None,
        limit: int | None = None,
    ) -> list[RunRecord]:
        """Runs, newest first; ``before`` (creation time and id) is the last one of another page.

        ``since`` is seconds since the epoch; ``tags``, ``params`` and ``search`` are as for
        `lokki.store.run_search.conditions`. Every filter is optional.
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
        wanted += conditions(tags, params, search)
        condition = " AND ".join(text for text, _ in wanted)
        values = [value for _, each in wanted for value in each]
        return runs_of(
            self._read,
            f"SELECT * FROM runs WHERE {condition} ORDER BY created DESC, id DESC LIMIT ?",
            (*values, sys.maxsize if limit is None else limit),
        )

    def ended(self, flow: str, limit: int) -> list[RunRecord]:
        """The latest runs of a flow that have started and ended, newest first.

        They are found by an index: the time that this takes grows with ``limit`` alone.
        """
        return runs_of(
            self._read,
            "SELECT * FROM runs WHERE flow = ? AND finished IS NOT NULL AND started IS NOT NULL"
            " ORDER BY id DESC LIMIT ?",
            (flow, limit),
        )

    def stages(self, *run_ids: str) -> list[StageRow]:
        """The stages that have begun, of several runs, in order."""
        query = "SELECT * FROM stages WHERE run IN ({}) ORDER BY run, position"
        return [StageRow(*row) for row in of_runs(self._read, query, run_ids)]

    def stage(self, run_id: str, position: int) -> StageRow:
        """A stage of a run. Raises StageNotFound for one that has not begun."""
        for stage in self.stages(run_id):
            if stage.position == position:
                return stage
        raise StageNotFound(f"run {run_id} has begun no stage {position}")

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

        In order; without those of ``held`` sources, and those that wait their turn while a run of
        an earlier tick has not ended.
        """
        return self._read(
            "SELECT run, source, again FROM jobs JOIN runs ON id = run"
            f" WHERE queued IS NOT NULL AND {TAKEN}"
            " AND source NOT IN (SELECT value FROM json_each(?)) AND NOT (in_turn <> 0 AND EXISTS ("
            "SELECT 1 FROM runs AS earlier JOIN jobs AS theirs ON theirs.run = earlier.id"
            " WHERE earlier.flow = runs.flow"
            " AND earlier.status IN ('queued', 'running', 'paused')"
            " AND earlier.number < runs.number AND theirs.tick IS NOT NULL))"
            " ORDER BY queued, run LIMIT ?",
            (*offer.values, json.dumps(list(held)), limit),
        )

    def needs(self, run_id: str) -> Needs | None:
        """What a service needs to take a waiting run; None if the run does not wait for one."""
        rows = self._read(
            "SELECT place, prefix, folder FROM jobs WHERE run = ? AND queued IS NOT NULL", (run_id,)
        )
        return Needs(*rows[0]) if rows else None

    def flows(self) -> list[str]:
        """The flows that have runs."""
        return [flow for (flow,) in self._read("SELECT DISTINCT flow FROM runs ORDER BY flow")]

    def resumes(self, run_id: str) -> list[tuple[float, str | None]]:
        """When a run was resumed, and what was recorded then."""
        return [
            (at, detail) for at, kind, _, detail in self.events(run_id) if kind == "run_resumed"
        ]
