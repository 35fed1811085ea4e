"""Removes runs: selects them, and deletes everything stored for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING

import anyio.to_thread

from lokki.errors import RunNotFound, RunOwned
from lokki.store.cached import outdated_rows
from lokki.store.keys import run_prefix, step_prefix
from lokki.store.leases import is_worked_on
from lokki.store.protocol import DeletingStore
from lokki.store.references import Reference
from lokki.store.rows import run_range

if TYPE_CHECKING:
    from concurrent.futures import Future

    from lokki.store.journal import Journal
    from lokki.store.protocol import PayloadStore
    from lokki.store.runs import RunRecord
    from lokki.store.sql import Connection
    from lokki.store.writer import RunWriter


def may_go(
    runs: Sequence[RunRecord], now: float, *, older_than: float | None, keep: int | None
) -> list[RunRecord]:
    """Those of the runs, newest first, that may be removed; none that a process is working on.

    A run may go if it is not among the ``keep`` newest and ended before ``older_than``, if given.
    One that has not ended may still be resumed: it goes only if its last sign of life is before
    ``older_than``. One whose removal has begun always goes.
    """

    def is_old(run: RunRecord) -> bool:
        if older_than is None:
            return run.finished is not None
        return (run.finished or run.seen) < older_than

    return [
        run
        for position, run in enumerate(runs)
        if (run.removing or (position >= (keep or 0) and is_old(run)))
        and not is_worked_on(run, now)
    ]


async def remove(journal: Journal, store: PayloadStore, run: RunRecord) -> int | None:
    """Remove a run with everything stored for it; the bytes that are free in the journal now.

    None for a run that another process has, or had meanwhile. The row goes last: a run that is half
    removed is still listed, can only be removed, and goes the next time.
    """
    if not journal.begin_removal(run.id, time(), run).result():
        return None
    writer = journal.own(run.id, lambda error: None)
    try:
        await store.delete_prefix(run_prefix(run.flow, run.id))
    finally:
        journal.commits.release(writer)
    with suppress(RunOwned):  # this process was suspended for longer than its lease
        return journal.remove(run.id).result()
    return None


def forget(journal: Journal, before: float | None) -> Future[list[str | None]]:
    """Remove cached results made ``before`` then or, with None, those that have expired.

    Returns the key of the payload of each, or None.
    """
    condition, values = outdated_rows(before)

    def delete(connection: Connection) -> list[str | None]:
        rows = connection.execute(f"DELETE FROM cached WHERE {condition} RETURNING ref", values)  # noqa: S608
        return [None if ref is None else Reference.parse(ref).key for (ref,) in rows.fetchall()]

    return journal.commits.call("", delete)


async def discard(
    journal: Journal, store: PayloadStore, writer: RunWriter, flow: str, steps: Iterable[str]
) -> None:
    """Delete what a writer stored of steps without a row that refers to it; it stores nothing more.

    For a writer that lost its run, to another process or because the run was removed.
    """
    folders = [step_prefix(flow, writer.run_id, step, writer.name) for step in steps]
    stored = [key for folder in folders for key in await store.list(folder)]
    if not stored or not isinstance(store, DeletingStore):
        return
    kept = await anyio.to_thread.run_sync(_recorded, journal, writer.run_id)
    for key in stored:
        if key not in kept:
            await store.delete(key)


def _recorded(journal: Journal, run_id: str) -> set[str]:
    """The keys of the payloads that a run's rows refer to; none if there is no such run."""
    try:
        run = journal.run(run_id)
    except RunNotFound:
        return set()
    return set(journal.payloads(*run_range(run.number)))
