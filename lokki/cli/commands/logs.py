"""``logs``: what the steps of a run printed and logged."""

from __future__ import annotations

import json
from time import sleep, time
from typing import TYPE_CHECKING, Any

import click

from lokki.cli.backends import opened
from lokki.cli.command import Command
from lokki.cli.options import ANYWHERE, run_named, run_parameters
from lokki.cli.program import Program
from lokki.cli.types import Ago, Choice, Number
from lokki.logging import LEVELS
from lokki.model.base import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lokki.backends.backend import Backend
    from lokki.model.log import LogLine
    from lokki.model.run import Run

_LOOK_SECONDS = 0.5


@click.command(
    "logs",
    cls=Command,
    example="last --step flap_bird --follow",
    params=[
        *run_parameters(required=False),
        click.Option(["--step"], metavar="NAME", help="Only lines of this step."),
        click.Option(
            ["--item"], type=Number(0), metavar="INDEX", help="Only lines of this item of a map."
        ),
        click.Option(
            ["--attempt"],
            type=Number(1),
            metavar="INT",
            help="Only lines of this attempt of each call.",
        ),
        click.Option(
            ["--level"],
            type=Choice(LEVELS),
            default="DEBUG",
            metavar="|".join(LEVELS),
            help="Only lines of this level or above.",
        ),
        click.Option(
            ["--search"],
            metavar="TEXT",
            help="Only lines with this text, in upper or lower case.",
        ),
        click.Option(
            ["--since", "--start"],
            type=Ago(),
            help="Only lines written since then: 10m (ago) or 2026-02-03T10:30.",
        ),
        click.Option(["--end"], type=Ago(), help="Only lines written up to then."),
        click.Option(
            ["--follow", "--tail", "-f"],
            is_flag=True,
            help="Print new lines, too, until the run ends.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, one object per line."),
        ANYWHERE,
    ],
)
@click.pass_obj
def command(
    program: Program,
    /,
    run: str | None,
    run_option: str | None,
    end: float | None,
    follow: bool,
    as_json: bool,
    on: str | None,
    **wanted: Any,
) -> None:
    """Print what a run's steps printed and logged.

    Without RUN, that of the newest run. Times are local, in JSON UTC.
    """
    from lokki.model.log import Line

    with opened(on, waits=follow) as backend:
        found = backend.find(run_named(run, run_option, "last"), program.flow)
        if wanted["step"] is not None or wanted["item"] is not None:
            whole = backend.run(found.id)
            _check_step(backend, whole, wanted["step"])
            _check_item(backend, whole, wanted["item"])
        printed = False
        for line in _lines(backend, found.id, follow, end, wanted):
            text = json.dumps(Line.of(line), default=fields_of) if as_json else _human(line)
            print(text, flush=follow)
            printed = True
        if not printed:
            click.echo("no lines", err=True)
        if follow:
            _tell_lost(backend.find(found.id), program.at(on or found.where))


def _check_step(backend: Backend, run: Run, step: str | None) -> None:
    """Raise UsageError for a step that a run neither has nor had before a structure change."""
    steps = [name for stage in run.structure for name in stage.steps]
    if step is None or step in steps or any(backend.lines(run.id, step=step)):
        return
    raise click.UsageError(f"run {run.id} has no step '{step}'; it has {', '.join(steps)}")


def _check_item(backend: Backend, run: Run, item: int | None) -> None:
    """Raise UsageError for an item that no map of a run has, had or may still get."""
    maps = [stage for stage in run.stages if stage.kind == "map"]
    most = max((stage.total for stage in maps), default=0)
    in_flow = sum(stage.kind == "map" for stage in run.structure)
    to_come = run.finished is None and len(maps) < in_flow
    if item is None or item < most or to_come or any(backend.lines(run.id, item=item)):
        return
    has = f"its {'largest ' * (len(maps) > 1)}map has {most:,}, counted from 0"
    raise click.UsageError(f"run {run.id} has no item {item}; {has if maps else 'it has none'}")


def _lines(
    backend: Backend, run_id: str, follow: bool, end: float | None, wanted: dict[str, Any]
) -> Iterator[LogLine]:
    """The lines of a run, with ``follow`` also those that come until it ends."""
    after, more = 0, True
    while more:
        more = follow and _may_come(backend, backend.find(run_id), end)
        last = backend.last_line(run_id)  # all lines up to this one are read now
        for line in backend.lines(run_id, **wanted, until=end, after=after):
            last = max(last, line.id)
            yield line
        after = max(after, last)
        if more:
            sleep(max(_LOOK_SECONDS, backend.poll_interval))


def _may_come(backend: Backend, run: Run, end: float | None) -> bool:
    """Whether more lines written before ``end`` may come."""
    from lokki.model.times import seconds

    ended = None if run.finished is None else seconds(run.finished)
    settling = ended is not None and time() < ended + backend.settling_time
    return (run.goes_on or settling) and (end is None or time() <= end + _LOOK_SECONDS)


def _tell_lost(run: Run, program: Program) -> None:
    if run.is_lost:
        resume = program.command("resume", run.id)
        click.echo(f"the process of run {run.id} is gone; resume: {resume}", err=True)


def _human(line: LogLine) -> str:
    from lokki import logging

    return f"{logging.local(line.at)} {logging.human(logging.step_line(*line[1:]))}"
