"""The commands over what is recorded: runs, show, logs, cancel, gc, and config."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from time import sleep, time
from typing import TYPE_CHECKING, Any

import click

from lokki.cli.options import (
    PLACE,
    Command,
    Program,
    run_named,
    run_parameters,
)
from lokki.config import journal_path, load
from lokki.logging import LEVELS
from lokki.secret import HIDDEN

if TYPE_CHECKING:
    from lokki.store.history import History, LogLine
    from lokki.store.schema import RunRow, StageRow

_STATUSES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LOOK_SECONDS = 0.5
_MOST = 2**62


class _Number(click.IntRange):
    """A number that the journal can count to."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = super().convert(value, param, ctx)
        if number > _MOST:
            self.fail(f"{number} is too large: the most is {_MOST}.", param, ctx)
        return number


class _Ago(click.ParamType[float]):
    """``90s``, ``30m``, ``2h``, ``7d``, ``4w`` ago, or a time as ISO 8601 has it, local."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            if ago := re.fullmatch(r"(\d+)([smhdw])", value):
                return time() - timedelta(**{_UNITS[ago[2]]: int(ago[1])}).total_seconds()
            return datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            self.fail(
                f"'{value}' is neither like 30m, 2h or 7d nor a time like 2026-02-03T10:30.",
                param,
                ctx,
            )


def _history() -> AbstractContextManager[History]:
    from lokki.store.history import read_history

    return read_history(journal_path(load()))


_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print JSON.")
_COUNT = click.Option(
    ["-n", "--n", "count"],
    type=_Number(1),
    default=20,
    metavar="INT",
    help="How many.  [default: 20]",
)


@click.command(
    "runs",
    cls=Command,
    example="--status failed --since 7d",
    params=[
        click.Option(["--flow"], metavar="NAME", help="Of this flow alone."),
        click.Option(
            ["--status"], type=click.Choice(_STATUSES), multiple=True, help="May be repeated."
        ),
        click.Option(["--since"], type=_Ago(), help="Created since then: 7d ago, 2026-02-03."),
        _COUNT,
        _JSON,
        PLACE,
    ],
)
@click.pass_obj
def runs(
    program: Program,
    /,
    flow: str | None,
    status: tuple[str, ...],
    since: float | None,
    count: int,
    as_json: bool,
    on: str,
) -> None:
    """List runs, the newest first."""
    _list(flow or program.flow, status, since, count, as_json)


def _list(
    flow: str | None, status: tuple[str, ...], since: float | None, count: int, as_json: bool
) -> None:
    with _history() as history:
        found = history.runs(flow=flow, statuses=status, since=since, limit=count + 1)
        more, found = found[count:], found[:count]
        stages = history.stages(*(run.id for run in found))
    by_run: dict[str, list[StageRow]] = {run.id: [] for run in found}
    for stage in stages:
        by_run[stage.run].append(stage)
    if as_json:
        from lokki.store.shapes import run_shape

        shapes = [run_shape(run, by_run[run.id], time()) for run in found]
        _print_json({"runs": shapes, "next": found[-1].id if more else None})
        return
    from lokki.cli.show import show_runs

    show_runs(found, by_run, time(), more=bool(more))


@click.command(
    "show",
    cls=Command,
    example="last --watch",
    params=[
        *run_parameters(required=False),
        _COUNT,
        click.Option(["--watch"], is_flag=True, help="Draw it again until the run has ended."),
        _JSON,
        PLACE,
    ],
)
@click.pass_obj
def show(
    program: Program,
    /,
    run: str | None,
    run_option: str | None,
    count: int,
    watch: bool,
    as_json: bool,
    on: str,
) -> None:
    """Show a run's stages, items and failures.

    Without RUN, the runs are listed; with --watch, it is the last one.
    """
    if watch and as_json:
        raise click.UsageError("--watch draws for people: leave --json out")
    if run is run_option is None and not watch:
        _list(program.flow, (), None, count, as_json)
        return
    with _history() as history:
        row = history.find(run_named(run, run_option, "last"), program.flow)
        if as_json:
            _print_json(_shape(history, row))
            return
        from lokki.cli.show import show_run, watch_run

        (watch_run if watch else show_run)(history, row.id, program.name)


def _shape(history: History, run: RunRow) -> dict[str, Any]:
    from lokki.store.shapes import group_shape, run_shape

    stages = history.stages(run.id)
    shape = run_shape(run, stages, time())
    for stage, each in zip(stages, shape["stages"], strict=True):
        each["failures"] = [group_shape(group) for group in history.groups(stage)]
    return shape


@click.command(
    "logs",
    cls=Command,
    example="last --step flap_bird --follow",
    params=[
        *run_parameters(required=False),
        click.Option(["--step"], metavar="NAME", help="Of this step alone."),
        click.Option(
            ["--item"], type=_Number(0), metavar="INDEX", help="Of this item of a map alone."
        ),
        click.Option(
            ["--attempt"], type=_Number(1), metavar="INT", help="Of these attempts alone."
        ),
        click.Option(
            ["--level"],
            type=click.Choice(LEVELS, case_sensitive=False),
            default="DEBUG",
            metavar="|".join(LEVELS),
            help="Of this level and graver ones.",
        ),
        click.Option(
            ["--since", "--start"],
            type=_Ago(),
            help="Written since then: 10m ago, 2026-02-03T10:30.",
        ),
        click.Option(["--end"], type=_Ago(), help="Written until then."),
        click.Option(["--follow", "--tail", "-f"], is_flag=True, help="Go on until the run ends."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON lines."),
        PLACE,
    ],
)
@click.pass_obj
def logs(
    program: Program,
    /,
    run: str | None,
    run_option: str | None,
    end: float | None,
    follow: bool,
    as_json: bool,
    on: str,
    **wanted: Any,
) -> None:
    """Print what a run's steps have printed and logged.

    Without RUN, it is the last one. Times are local, in JSON UTC.
    """
    from lokki.store.leases import is_worked_on
    from lokki.store.shapes import line_shape

    with _history() as history:
        found, after = history.find(run_named(run, run_option, "last"), program.flow), 0
        told = False
        while True:
            goes_on = is_worked_on(history.find(found.id), time())
            goes_on = goes_on and (end is None or time() <= end + _LOOK_SECONDS)
            last = history.last_line(found.id)  # up to which all are looked at now
            for line in history.lines(found.id, **wanted, until=end, after=after):
                last, told = max(last, line.id), True
                print(json.dumps(line_shape(line)) if as_json else _human(line))
            print(end="", flush=True)
            if not (goes_on and follow):
                break
            after = last
            sleep(_LOOK_SECONDS)
    if not told:
        click.echo("no lines", err=True)


def _human(line: LogLine) -> str:
    from lokki import logging

    return f"{logging.local(line.at)} {logging.human(logging.step_line(*line[1:]))}"


@click.command("cancel", cls=Command, example="last", params=[*run_parameters(), PLACE])
@click.pass_obj
def cancel(program: Program, /, run: str | None, run_option: str | None, on: str) -> None:
    """Cancel a run, also one of another process.

    Waits for the calls that go on in its threads. What has finished is kept for a resume.
    """
    with _history() as history:
        row = history.find(run_named(run, run_option), program.flow)
        if row.finished is not None:
            raise click.ClickException(f"run {row.id} has ended before: it is {row.status}")
        _cancel(row)
        status = history.find(row.id).status
    if status == "running":
        raise click.ClickException(f"run {row.id} is another process's now, and left to it")
    if status != "cancelled":
        raise click.ClickException(f"run {row.id} has ended meanwhile: it is {status}")
    click.echo(f"run {row.id} is cancelled; resume: {program.name} resume {row.id}", err=True)


def _cancel(run: RunRow) -> None:
    """Ask its owner for it until it is done; a run whose process dies meanwhile is cancelled here.

    A run that has another owner meanwhile is left alone.
    """
    from contextlib import closing

    from lokki.store.journal import Journal

    with closing(Journal(journal_path(load()))) as journal:
        told = False
        while journal.request_cancel(run.id, time(), run.owner).result():
            if not told:
                click.echo(f"cancelling run {run.id}: waiting for its calls to end", err=True)
                told = True
            sleep(_LOOK_SECONDS)


@click.command(
    "gc",
    cls=Command,
    example="--older-than 30d --keep 100",
    params=[
        click.Option(["--older-than"], type=_Ago(), help="Ended before then: 30d ago."),
        click.Option(
            ["--keep"], type=_Number(0), metavar="INT", help="Keep so many of the newest."
        ),
        click.Option(["--flow"], metavar="NAME", help="Of this flow alone."),
        click.Option(["--dry-run"], is_flag=True, help="Say what would be removed, and stop."),
        PLACE,
    ],
)
@click.pass_obj
def gc(
    program: Program,
    /,
    older_than: float | None,
    keep: int | None,
    flow: str | None,
    dry_run: bool,
    on: str,
) -> None:
    """Remove old runs with all that is stored of them.

    A run that goes on is never removed.
    """
    if older_than is None and keep is None:
        raise click.UsageError("say which: --older-than 30d, --keep 100, or both")
    from lokki.cli.gc import collect

    collect(load(), flow or program.flow, older_than, keep, dry_run)


@click.command("config", cls=Command, example="--json", params=[_JSON])
def config(as_json: bool) -> None:
    """Show every setting, its value and where it came from.

    What is in [lambda.env] and [batch.env] may be secret, and is not shown.
    """
    from lokki.config import KEYS

    here = load()
    rows: dict[str, Any] = {}
    for name, value in here.values().items():
        origin: Any = here.origins[name]
        if KEYS[name].is_table:
            origin = {entry: here.origins[f"{name}.{entry}"] for entry in value}
            value = dict.fromkeys(value, HIDDEN)
        rows[name] = {"value": value, "from": origin}
    if as_json:
        _print_json(rows)
        return
    from lokki.cli.show import show_config

    show_config(rows)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


COMMANDS = (runs, show, logs, cancel, gc, config)
