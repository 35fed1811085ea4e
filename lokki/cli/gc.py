"""Removing old runs with all that is stored of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from time import time

import click

from lokki.config import Config, journal_path, payloads_path
from lokki.errors import RunOwned
from lokki.store.history import read_history
from lokki.store.journal import Journal
from lokki.store.keys import run_prefix
from lokki.store.leases import is_worked_on
from lokki.store.local import LocalStore
from lokki.store.schema import RunRow


def collect(
    config: Config, flow: str | None, older_than: float | None, keep: int | None, dry_run: bool
) -> None:
    """Remove the runs that are older and not among the newest; say what that was and gave."""
    path = journal_path(config)
    with read_history(path) as history:
        old = _old(history.runs(flow=flow), older_than, keep)
    if dry_run:
        for run in old:
            click.echo(f"{run.id}  {run.status:9}  {run.flow}")
        click.echo(f"{_runs(len(old))} would be removed", err=True)
    elif not old:
        click.echo("nothing to remove", err=True)
    else:
        removed, told = asyncio.run(_remove(path, LocalStore(payloads_path(path, config)), old))
        click.echo(f"{_runs(removed)} removed, {told}", err=True)


def _old(runs: list[RunRow], older_than: float | None, keep: int | None) -> list[RunRow]:
    """Of runs, newest first, those that may go."""
    now = time()
    return [
        run
        for run in runs[keep or 0 :]
        if (older_than is None or (run.finished or run.created) < older_than)
        and not is_worked_on(run, now)
    ]


async def _remove(path: Path, store: LocalStore, old: Sequence[RunRow]) -> tuple[int, str]:
    """Remove runs, but for those that another process has meanwhile; gives how many, what it gave.

    The row goes last: a run that is half removed is still there, and goes the next time.
    """
    removed = 0
    with closing(Journal(path)) as journal:
        before = journal.size()
        for run in old:
            if not journal.lease(run.id, time()).result():
                continue
            writer = journal.own(run.id, lambda error: None)
            try:
                await store.delete_prefix(run_prefix(run.flow, run.id))
            finally:
                journal.commits.release(writer)
            with suppress(RunOwned):  # this process was suspended for longer than its lease
                journal.remove(run.id).result()
                removed += 1
        going_on = journal.history.runs(statuses=["running"])
        if any(is_worked_on(run, time()) for run in going_on):  # it would have to wait
            return removed, "their space kept for later runs, since a run goes on"
        journal.shrink()
        return removed, f"{max(0, before - journal.size()):,} bytes of the journal given back"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"
