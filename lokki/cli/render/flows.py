"""Flows and schedules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from lokki.backends.backend import Backend
from lokki.cli.render.console import plain, short, stdout_console
from lokki.cli.schema import parameters
from lokki.errors import RunNotFound
from lokki.location import near
from lokki.logging import zoned
from lokki.model.flow import Flow, Schedule
from lokki.model.times import seconds
from lokki.secret import variable

_MOST_CHARACTERS = 74
_MOST_TIMES = 3
_NAMES = 10
"""Columns for the names of a schedule's fields."""


def show_flows(flows: Sequence[Flow]) -> None:
    """Print flows: each with its file, description, schedule, and its parameters as options."""
    _show(map(_flow, flows))


def show_schedules(flows: Sequence[Flow], backend: Backend) -> None:
    """Print the schedules of flows: each with its next times and its last run."""
    _show(_schedule(each, backend) for each in flows)


def _show(blocks: Iterable[Iterable[Text]]) -> None:
    """Print blocks of lines, separated by empty lines."""
    console = stdout_console()
    for index, block in enumerate(blocks):
        if index:
            console.print()
        for line in block:
            console.print(line, soft_wrap=True)


def _flow(flow: Flow) -> Iterator[Text]:
    yield _head(flow)
    if flow.doc:
        yield Text("  " + short(flow.doc.splitlines()[0], _MOST_CHARACTERS))
    if flow.schedule:
        yield Text("  ").append(_when(flow.schedule), style="cyan")
    options = list(parameters(flow))
    words = [
        plain(each.option if each.is_flag else f"{each.option} {each.metavar}") for each in options
    ]
    width = max(map(len, words), default=0)
    for word, each in zip(words, options, strict=True):
        default = f"[default: {each.default_text}]" if each.default_text else ""
        text = short("[required]" if each.required else default, _MOST_CHARACTERS - width)
        yield Text(f"  {word:<{width}}  {text}".rstrip())
    for name in flow.secrets:
        yield Text(f"  {name} is a secret: {variable(name)} sets it")


def _head(flow: Flow) -> Text:
    return Text(flow.name, style="bold").append(f"  {plain(near(flow.file))}", style="dim")


def _when(schedule: Schedule) -> str:
    zone = "" if schedule.expression.startswith("rate(") else f"  {schedule.timezone}"
    return f"{schedule.expression}{zone}"


def _schedule(flow: Flow, backend: Backend) -> Iterator[Text]:
    schedule = flow.schedule
    assert schedule is not None
    yield _head(flow)
    yield Text("  ").append(_when(schedule), style="cyan")
    if schedule.error:
        yield Text(f"  {plain(schedule.error)}", style="red")
    elif schedule.paused:
        yield Text("  paused", style="yellow")
    else:
        following = [zoned(seconds(at)) for at in schedule.next[:_MOST_TIMES]]
        yield _line("next", ", ".join(following) or "none")
    yield _line("last run", _last(schedule.last, backend))
    if schedule.missed_last:
        count, last = schedule.missed, zoned(seconds(schedule.missed_last))
        yield _line("missed", f"{count:,}, the last {last}", "yellow")


def _line(name: str, value: str, style: str = "") -> Text:
    return Text(f"  {name:<{_NAMES}}").append(value, style=style)


def _last(run_id: str | None, backend: Backend) -> str:
    if run_id is None:
        return "none yet"
    try:
        return f"{run_id}, {backend.find(run_id).status}"
    except RunNotFound:
        return f"{run_id}, removed"
