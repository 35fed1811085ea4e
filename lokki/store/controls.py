"""What others want of a run that goes on: to pause it, to continue it, to change its concurrency.

A request is recorded in the run's row. The process that has the run finds it there, as it finds a
request to cancel (`Committer`), and carries it out; a run that no process has changes at once.
"""

from __future__ import annotations

import json
from concurrent.futures import Future

from lokki.errors import NotPausable, NotTunable
from lokki.store.events import add_event
from lokki.store.journal import Journal
from lokki.store.leases import is_worked_on
from lokki.store.runs import RunRecord, found, refuse_removing
from lokki.store.sql import Connection


class Controls:
    """The controls of a journal's runs. Methods raise RunNotFound, also for one being removed."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def pause(self, run_id: str, now: float) -> Future[bool]:
        """Have a run paused by the process that has it; one that waits in a queue, at once.

        Returns whether a process has to do it. A run that is paused stays as it is. Raises
        NotPausable for one that has ended, or whose process is gone.
        """

        def request(connection: Connection) -> bool:
            run = self._open(connection, run_id)
            if run.status == "paused":
                return False
            if run.status == "queued":
                end_paused(connection, run_id, now)
                return False
            if run.is_lost(now):
                raise NotPausable(f"the process of run {run_id} is gone: resume the run instead")
            connection.execute(
                "UPDATE runs SET pause_requested = coalesce(pause_requested, ?) WHERE id = ?",
                (now, run_id),
            )
            self._journal.commits.look_again()
            return True

        return self._journal.claim(run_id, now, request)

    def rest(self, run_id: str, now: float) -> Future[bool]:
        """Record that a run of this process is paused and has nothing that runs.

        Returns False if that is no longer wanted. Raises like `Journal.flush`.
        """

        def update(connection: Connection) -> bool:
            changed = connection.execute(
                "UPDATE runs SET status = 'paused' WHERE id = ? AND pause_requested IS NOT NULL",
                (run_id,),
            ).rowcount
            if changed:
                add_event(connection, run_id, now, "run_paused")
            return bool(changed)

        return self._journal.commits.call(run_id, update, owned=True)

    def unpause(self, run_id: str, now: float) -> Future[str]:
        """Have a run continue; return its status then.

        The process that has the run continues it; one of a service's queue is queued again. Raises
        NotPausable for a run that is not paused, or whose process is gone.
        """

        def update(connection: Connection) -> str:
            run = self._open(connection, run_id)
            if run.status != "paused" and run.pause_requested is None:
                raise NotPausable(f"run {run_id} is not paused: it is {run.status}")
            if is_worked_on(run, now):
                status = "running"
                self._journal.commits.look_again()
            elif run.status == "paused" and run.owner is None:
                status = "queued"
                connection.execute("UPDATE jobs SET queued = ? WHERE run = ?", (now, run_id))
            else:
                raise NotPausable(f"the process of run {run_id} is gone: resume the run instead")
            connection.execute(
                "UPDATE runs SET status = ?, pause_requested = NULL WHERE id = ?", (status, run_id)
            )
            if run.status == "paused":
                add_event(connection, run_id, now, "run_unpaused")
            return status

        return self._journal.claim(run_id, now, update)

    def tune(self, run_id: str, concurrency: int, now: float) -> Future[tuple[str, int | None]]:
        """Have this many items of a run's open map run at a time, until the map ends.

        Returns the map's name, and the concurrency that was requested before. Raises NotTunable if
        no map is open.
        """

        def update(connection: Connection) -> tuple[str, int | None]:
            run = found(connection, run_id)
            refuse_removing(run)
            if run.finished is not None:
                raise NotTunable(f"run {run_id} has ended: it is {run.status}")
            stage = connection.execute(
                "SELECT position, name FROM stages WHERE run = ? AND finished IS NULL"
                " AND kind = 'map'",
                (run_id,),
            ).fetchone()
            if stage is None:
                raise NotTunable(
                    f"no map of run {run_id} is running now: only maps have a concurrency"
                )
            position, name = stage
            connection.execute(
                "UPDATE runs SET tuned_stage = ?, concurrency = ? WHERE id = ?",
                (position, concurrency, run_id),
            )
            self._journal.commits.look_again()
            return name, run.concurrency if run.tuned_stage == position else None

        return self._journal.claim(run_id, now, update)

    def _open(self, connection: Connection, run_id: str) -> RunRecord:
        """A run that has not ended. Raises NotPausable."""
        run = found(connection, run_id)
        refuse_removing(run)
        if run.finished is not None:
            raise NotPausable(f"run {run_id} has ended: it is {run.status}")
        return run


def end_paused(connection: Connection, run_id: str, now: float, seen: float | None = None) -> None:
    """Record that a run of a queue is paused, and that no process has it.

    ``seen`` is the last sign of life of a process that is gone.
    """
    connection.execute(
        "UPDATE runs SET status = 'paused', owner = NULL, leased_until = NULL,"
        " pause_requested = coalesce(pause_requested, ?) WHERE id = ?",
        (now, run_id),
    )
    connection.execute("UPDATE jobs SET queued = NULL WHERE run = ?", (run_id,))
    detail = None if seen is None else json.dumps({"seen": seen})
    add_event(connection, run_id, now, "run_paused", detail=detail)
