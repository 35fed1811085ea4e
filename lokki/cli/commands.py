"""The commands over what is recorded: runs, show, logs, cancel, gc, and config."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from time import sleep, time
from typing import TYPE_CHECKING, Any

import click

from lokki.cli import completing
from lokki.cli.options import (
    ANYWHERE,
    JSON,
    Command,
    configured,
    run_named,
    run_parameters,
)
from lokki.cli.program import Program
from lokki.logging import LEVELS
from lokki.places import LOCAL
from lokki.places.chains import steps_of
from lokki.secret import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lokki.places.place import Place
    from lokki.places.shapes import RunShape
    from lokki.store.lines import LogLine

_STATUSES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
_ENDED = {"succeeded": "succeeded", "failed": "failed", "cancelled": "been cancelled"}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LOOK_SECONDS = 0.5
_MOST = 2**62
_MOST_FLOWS = 5


class _Number(click.ParamType[int]):
    """A whole number, from ``least`` to what the journal can count to."""

    name = "int"

    def __init__(self, least: int) -> None:
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"'{value}' is not a whole number.", param, ctx)
        if number < self._least:
            self.fail(f"{number} is too small: the least is {self._least}.", param, ctx)
        if number > _MOST:
            self.fail(f"{number} is too large: the most is {_MOST}.", param, ctx)
        return number


class _Choice(click.Choice[str]):
    """One of some words, whose case does not matter."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words, case_sensitive=False)

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return f"'{value}' is not one of {', '.join(map(repr, self.choices))}."


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


def _place(on: str | None, *, waits: bool = False) -> AbstractContextManager[Place]:
    from lokki.cli.places import opened

    return opened(on, waits=waits)


_FLOW = click.Option(
    ["--flow"],
    metavar="NAME",
    help="Only runs of this flow.",
    shell_complete=completing.flow_names,
)
_COUNT = click.Option(
    ["-n", "--n", "count"],
    type=_Number(1),
    default=20,
    metavar="INT",
    help="How many runs to list at most.  [default: 20]",
)


@click.command(
    "runs",
    cls=Command,
    example="--status failed --since 7d",
    params=[
        _FLOW,
        click.Option(
            ["--status"],
            type=_Choice(_STATUSES),
            multiple=True,
            help="Only runs of this status; may be repeated.",
        ),
        click.Option(
            ["--since"], type=_Ago(), help="Only runs created since then: 7d (ago) or 2026-02-03."
        ),
        click.Option(
            ["--before"],
            metavar="RUN",
            help="Only runs older than this one: the next page.",
            shell_complete=completing.runs,
        ),
        _COUNT,
        JSON,
        ANYWHERE,
    ],
)
@click.pass_obj
def runs(
    program: Program,
    /,
    flow: str | None,
    status: tuple[str, ...],
    since: float | None,
    before: str | None,
    count: int,
    as_json: bool,
    on: str | None,
) -> None:
    """List runs, the newest first."""
    with _place(on) as place:
        if flow is not None:
            _tell_unknown(place, flow)
        _list(place, flow or program.flow, status, since, before, count, as_json)


def _tell_unknown(place: Place, flow: str) -> None:
    """Say so when a flow has no runs at all, and which flow may be meant."""
    from difflib import get_close_matches

    if place.runs(flow=flow, limit=1)["runs"]:
        return
    known = place.flows()
    near = get_close_matches(flow, known)
    hint = f"; there are runs of {', '.join(known[:_MOST_FLOWS])}" if known else ""
    if near:
        hint = f"; did you mean {' or '.join(map(repr, near))}?"
    click.echo(f"no runs of flow '{flow}'{hint}", err=True)


def _list(
    place: Place,
    flow: str | None,
    status: tuple[str, ...],
    since: float | None,
    before: str | None,
    count: int,
    as_json: bool,
) -> None:
    page = place.runs(flow=flow, statuses=status, since=since, before=before, limit=count)
    if as_json:
        _print_json(page)
        return
    if not page["runs"]:
        such = "such runs" if status or since or before else "runs"
        of = f" of {flow}" if flow else ""
        click.echo(f"no {such}{of} in {place.name}")
        return
    from lokki.cli.show import show_runs

    show_runs(page["runs"], time(), more=page["next"] is not None)


@click.command(
    "show",
    cls=Command,
    example="last --watch",
    params=[
        *run_parameters(required=False),
        _COUNT,
        click.Option(["--watch"], is_flag=True, help="Redraw the run until it ends."),
        JSON,
        ANYWHERE,
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
    on: str | None,
) -> None:
    """Show a run's stages, items and failures.

    Without RUN, the newest runs are listed; with --watch, the last one is drawn.
    """
    if watch and as_json:
        raise click.UsageError("--watch draws for people: leave --json out")
    with _place(on, waits=watch) as place:
        if run is run_option is None and not watch:
            _list(place, program.flow, (), None, None, count, as_json)
            return
        found = place.find(run_named(run, run_option, "last"), program.flow)
        run_id = found["id"]
        if as_json:
            _print_json(place.run(run_id))
            return
        from lokki.cli.show import show_run, watch_run

        (watch_run if watch else show_run)(place, run_id, program.at(on or found["where"]))


@click.command(
    "logs",
    cls=Command,
    example="last --step flap_bird --follow",
    params=[
        *run_parameters(required=False),
        click.Option(["--step"], metavar="NAME", help="Only lines of this step."),
        click.Option(
            ["--item"], type=_Number(0), metavar="INDEX", help="Only lines of this item of a map."
        ),
        click.Option(
            ["--attempt"],
            type=_Number(1),
            metavar="INT",
            help="Only lines of this attempt of each call.",
        ),
        click.Option(
            ["--level"],
            type=_Choice(LEVELS),
            default="DEBUG",
            metavar="|".join(LEVELS),
            help="Only lines of this level and more severe ones.",
        ),
        click.Option(
            ["--since", "--start"],
            type=_Ago(),
            help="Only lines written since then: 10m (ago) or 2026-02-03T10:30.",
        ),
        click.Option(["--end"], type=_Ago(), help="Only lines written until then."),
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
def logs(
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
    """Print what a run's steps have printed and logged.

    Without RUN, those of the newest run. Times are local, in JSON UTC.
    """
    from lokki.places.shapes import line_shape

    with _place(on, waits=follow) as place:
        found = place.find(run_named(run, run_option, "last"), program.flow)
        if wanted["step"] is not None or wanted["item"] is not None:
            whole = place.run(found["id"])
            _check_step(place, whole, wanted["step"])
            _check_item(place, whole, wanted["item"])
        told = False
        for line in _lines(place, found["id"], follow, end, wanted):
            print(json.dumps(line_shape(line)) if as_json else _human(line), flush=follow)
            told = True
        if not told:
            click.echo("no lines", err=True)
        if follow:
            _tell_lost(place.find(found["id"]), program.at(on or found["where"]))


def _check_step(place: Place, run: RunShape, step: str | None) -> None:
    """Raise UsageError for a step that a run neither has nor had before its structure changed."""
    steps = [name for stage in steps_of(run["chain"]) for name in stage]
    if step is None or step in steps or any(place.lines(run["id"], step=step)):
        return
    raise click.UsageError(f"run {run['id']} has no step '{step}'; it has {', '.join(steps)}")


def _check_item(place: Place, run: RunShape, item: int | None) -> None:
    """Raise UsageError for an item that no map of a run has, nor had before, nor may still get."""
    maps = [stage for stage in run["stages"] if stage["kind"] == "map"]
    most = max((stage["total"] for stage in maps), default=0)
    to_come = run["finished"] is None and len(maps) < run["chain"].count("map(")
    if item is None or item < most or to_come or any(place.lines(run["id"], item=item)):
        return
    has = f"its {'largest ' * (len(maps) > 1)}map has {most:,}, counted from 0"
    raise click.UsageError(f"run {run['id']} has no item {item}; {has if maps else 'it has none'}")


def _lines(
    place: Place, run_id: str, follow: bool, end: float | None, wanted: dict[str, Any]
) -> Iterator[LogLine]:
    """The lines of a run there are, and with ``follow`` those that come until it ends."""
    after, more = 0, True
    while more:
        more = follow and _may_come(place, place.find(run_id), end)
        last = place.last_line(run_id)  # up to which all are looked at now
        for line in place.lines(run_id, **wanted, until=end, after=after):
            last = max(last, line.id)
            yield line
        after = max(after, last)
        if more:
            sleep(max(_LOOK_SECONDS, place.look_seconds))


def _may_come(place: Place, run: RunShape, end: float | None) -> bool:
    """Whether lines may come that are written before ``end``."""
    from lokki.places.shapes import goes_on, seconds

    ended = None if run["finished"] is None else seconds(run["finished"])
    settling = ended is not None and time() < ended + place.settle_seconds
    return (goes_on(run) or settling) and (end is None or time() <= end + _LOOK_SECONDS)


def _tell_lost(run: RunShape, program: Program) -> None:
    from lokki.places.shapes import is_lost

    if is_lost(run):
        resume = program.told("resume", run["id"])
        click.echo(f"the process of run {run['id']} is gone; resume: {resume}", err=True)


def _human(line: LogLine) -> str:
    from lokki import logging

    return f"{logging.local(line.at)} {logging.human(logging.step_line(*line[1:]))}"


@click.command("cancel", cls=Command, example="last", params=[*run_parameters(), ANYWHERE])
@click.pass_obj
def cancel(program: Program, /, run: str | None, run_option: str | None, on: str | None) -> None:
    """Cancel a run, whichever process runs it.

    Waits for the calls that are running in threads. What has finished is kept for a resume.
    """
    with _place(on) as place:
        found = place.find(run_named(run, run_option), program.flow)
        run_id = found["id"]
        if found["finished"] is not None:
            raise click.ClickException(f"run {run_id} has already {_ENDED[found['status']]}")
        for waited, _ in enumerate(place.cancel(run_id)):
            if not waited:
                click.echo(f"cancelling run {run_id}: waiting for its calls to end", err=True)
            sleep(max(_LOOK_SECONDS, place.look_seconds))
        status = place.find(run_id)["status"]
    if status == "running":
        raise click.ClickException(f"run {run_id} is another process's now, and left to it")
    if status != "cancelled":
        raise click.ClickException(f"run {run_id} has meanwhile {_ENDED[status]}")
    resume = program.at(on or found["where"]).told("resume", run_id)
    click.echo(f"run {run_id} is cancelled; resume: {resume}", err=True)


@click.command(
    "gc",
    cls=Command,
    example="--older-than 30d --keep 100",
    params=[
        click.Option(
            ["--older-than"], type=_Ago(), help="Only runs that ended before then: 30d (ago)."
        ),
        click.Option(
            ["--keep"], type=_Number(0), metavar="INT", help="How many of the newest runs to keep."
        ),
        _FLOW,
        click.Option(["--dry-run"], is_flag=True, help="Say what would be removed, and stop."),
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
) -> None:
    """Remove old runs and all that is stored for them.

    A run that is still going on is never removed. A lost one, whose process is gone, is removed
    only if its last sign of life is older than --older-than.
    """
    if older_than is None and keep is None:
        raise click.UsageError("say which: --older-than 30d, --keep 100, or both")
    from lokki.cli.gc import collect

    if flow is not None:
        with _place(LOCAL) as place:
            _tell_unknown(place, flow)
    collect(configured(), flow or program.flow, older_than, keep, dry_run)


@click.command("config", cls=Command, example="--json", params=[JSON])
def config(as_json: bool) -> None:
    """Show every setting, its value and where it came from.

    What is in [lambda.env] and [batch.env] may be secret, and is not shown.
    """
    from lokki.config import KEYS

    here = configured()
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
