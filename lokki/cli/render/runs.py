"""Lists of runs."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from datetime import datetime

from rich.text import Text

from lokki.cli.render.console import plain, room, stdout_console
from lokki.cli.render.status import elsewhere, status, took
from lokki.cli.render.tables import Column, count_cells, table
from lokki.logging import local
from lokki.model.run import Run, Stage
from lokki.model.times import seconds


def show_runs(runs: Sequence[Run], now: float, *, more: bool) -> None:
    """Print a list of runs; ``more``: older ones exist."""
    console = stdout_console()
    maps = [[stage for stage in run.stages if stage.kind == "map"] for run in runs]
    failed = [sum(stage.failed for stage in own) for own in maps]
    tolerated = [sum(stage.tolerated for stage in own) for own in maps]
    columns = [
        Column("run", [Text(run.id) for run in runs]),
        Column("flow", [Text(plain(run.flow)) for run in runs], least=12, goes=2),
        Column("where", _wheres(runs), goes=8),
        Column("status", [status(run) for run in runs], goes=1),
        Column("started", [Text(_when(seconds(run.created), now)) for run in runs], goes=6),
        Column("items", [_done(own) for own in maps], right=True, goes=5),
        Column("failed", count_cells(failed, "red"), right=True, goes=3),
        Column("tolerated", count_cells(tolerated, "yellow"), right=True, goes=4),
        Column("took", [took(run) for run in runs], right=True, goes=7),
        Column("tags", [Text(", ".join(run.tags)) for run in runs], goes=9),
    ]
    console.print(table(columns, room(console)))
    if more:
        print(f"for older runs: a larger --n, or --before {runs[-1].id}", file=sys.stderr)


def show_removable(runs: Sequence[Run], ends: Sequence[float], resumable: Collection[str]) -> None:
    """Print the runs that would be removed, when they ended, and which can be resumed."""
    columns = [
        Column("run", [Text(run.id) for run in runs]),
        Column("flow", [Text(plain(run.flow)) for run in runs]),
        Column("status", [status(run) for run in runs]),
        Column("ended", [Text(local(end)) for end in ends]),
        Column("", [Text("can be resumed" * (run.id in resumable)) for run in runs]),
    ]
    stdout_console().print(table(columns, sys.maxsize), soft_wrap=True)


def _wheres(runs: Sequence[Run]) -> list[Text]:
    """Where runs are; empty if all are in the journal."""
    are_named = any(map(elsewhere, runs))
    return [Text(run.where if are_named else "") for run in runs]


def _when(at: float, now: float) -> str:
    moment, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    if moment.date() == today.date():
        return f"{moment:%H:%M:%S}"
    return f"{moment:%d %b %H:%M}" if moment.year == today.year else f"{moment:%d %b %Y}"


def _done(stages: Sequence[Stage]) -> Text:
    """How many items have their outcome, and of how many unless all have."""
    done = sum(stage.done for stage in stages)
    total = sum(stage.total for stage in stages)
    return Text(f"{done:,}/{total:,}" if done < total else f"{total:,}" if total else "")
