"""Removes old runs with everything stored for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from time import time

import click

from lokki.backends.opening import opened_aws
from lokki.backends.recorded import runs
from lokki.cli.render.runs import show_removable
from lokki.cli.streams import can_ask
from lokki.config import Config, journal_path
from lokki.engine.payloads import payload_store
from lokki.logging import counted
from lokki.postgres_url import Place
from lokki.store.cached import outdated
from lokki.store.connection import Reader
from lokki.store.history import read_history
from lokki.store.journal import Journal
from lokki.store.leases import is_worked_on
from lokki.store.protocol import DeletingStore, PayloadStore
from lokki.store.removal import forget, may_go, remove
from lokki.store.runs import RunRecord


def collect_cache(config: Config, older_than: float | None, dry_run: bool) -> None:
    """Remove the cached results that have expired or, if given, are older; report how many."""
    path = journal_path(config)
    with closing(Reader(path, create=False)) as read:
        found = outdated(read, older_than)
    if found and not dry_run:
        found = asyncio.run(_remove_cached(path, payload_store(path, config), older_than))
    _tell_cached(found, dry_run)


def collect_cache_on_aws(
    config: Config, flow: str | None, older_than: float, dry_run: bool
) -> None:
    """Remove the cached results of a flow, or of all that are deployed, that are older."""
    with opened_aws(config) as backend:
        _tell_cached(backend.forget(older_than, flow, dry_run=dry_run), dry_run)


def _tell_cached(count: int, dry_run: bool) -> None:
    removed = f"{counted(count, 'cached result')} {'would be removed' if dry_run else 'removed'}"
    click.echo(removed if count or dry_run else "nothing to remove", err=True)


async def _remove_cached(path: Place, store: PayloadStore, older_than: float | None) -> int:
    """Remove cached results and their payloads; return how many."""
    with closing(Journal(path)) as journal:
        removed = await asyncio.wrap_future(forget(journal, older_than))
    for key in filter(None, removed):
        if isinstance(store, DeletingStore):
            await store.delete(key)
    await store.close()
    return len(removed)


def collect(
    config: Config,
    flow: str | None,
    older_than: float | None,
    keep: int | None,
    dry_run: bool,
    *,
    confirmed: bool = False,
) -> None:
    """Remove the runs that are older and not among the newest; report them and the freed space.

    At a terminal, asks about runs that could be resumed, unless ``confirmed``.
    """
    path = journal_path(config)
    with read_history(path) as history:
        old = may_go(history.runs(flow=flow), time(), older_than=older_than, keep=keep)
        shapes = runs(history, old) if dry_run else []
    resumable = {run.id for run in old if run.status != "succeeded" and not run.removing}
    if dry_run:
        if old:
            show_removable(shapes, [run.finished or run.seen for run in old], resumable)
        lost = _those_that(len(resumable), "could be resumed")
        click.echo(f"{counted(len(old), 'run')} would be removed{lost}", err=True)
    elif not old:
        click.echo("nothing to remove", err=True)
    elif resumable and not confirmed and can_ask() and not _agreed(len(old), len(resumable)):
        raise click.ClickException("nothing is removed")
    else:
        removed, freed = asyncio.run(_remove(path, payload_store(path, config), old))
        lost = _those_that(len(resumable & removed), "could have been resumed")
        click.echo(f"{counted(len(removed), 'run')} removed, {freed}{lost}", err=True)


def _agreed(count: int, resumable: int) -> bool:
    text = f"Remove {counted(count, 'run')}, of which {resumable:,} could be resumed?"
    return click.confirm(text, err=True)


async def _remove(
    path: Place, store: PayloadStore, old: Sequence[RunRecord]
) -> tuple[set[str], str]:
    """Remove runs, except those that another process has or had meanwhile.

    Returns the removed runs, and a text about the freed space.
    """
    removed: set[str] = set()
    freed = 0
    with closing(Journal(path)) as journal:
        for run in old:
            gave = await remove(journal, store, run)
            if gave is not None:
                freed += gave
                removed.add(run.id)
        await store.close()
        now = time()
        if any(is_worked_on(run, now) for run in journal.history.runs()):  # this would have to wait
            return removed, "their space is kept for later runs, since another process is working"
        journal.shrink()
    return removed, f"{freed:,} bytes of the journal freed"


def _those_that(count: int, what: str) -> str:
    return f"; {count:,} {what}" if count else ""
