"""One run, with its stages and failures."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from time import sleep

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lokki.backends.backend import Backend
from lokki.cli.program import Program
from lokki.cli.render.console import MOST_LINES, room, stdout_console
from lokki.cli.render.failures import failures_of, last_words
from lokki.cli.render.head import head_of
from lokki.cli.render.shown import MOST_SHOWN, shown_of
from lokki.cli.render.stages import map_of, stages_of
from lokki.model.run import Run

_REFRESH_SECONDS = 0.5
_LEAST_HEAD = 3
"""Lines of a run's head in a low window: id and flow, and its status."""


def show_run(backend: Backend, run_id: str, program: Program) -> None:
    """Print one run as it is now."""
    console = stdout_console()
    head, stages, more = _run(backend, backend.run(run_id), program, console)
    shown = shown_of(backend.attachments(run_id, limit=MOST_SHOWN + 1), run_id, program)
    console.print(_joined(_lines_of(head), stages, more, shown))


def watch_run(backend: Backend, run_id: str, program: Program) -> None:
    """Redraw a run until it has ended, then print it in full."""
    console = stdout_console()
    for each in (signal.SIGTERM, signal.SIGHUP):  # otherwise the cursor stays hidden
        signal.signal(each, lambda number, frame: sys.exit(128 + number))
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while (run := backend.run(run_id)).goes_on:
                parts = _run(backend, run, program, console)
                live.update(_fitting(*parts, console), refresh=True)
                sleep(max(_REFRESH_SECONDS, backend.poll_interval))
    finally:
        show_run(backend, run_id, program)


def _run(
    backend: Backend, run: Run, program: Program, console: Console
) -> tuple[dict[str, list[Text]], Text, Text]:
    """A run's head, its stages and their items, and how to resume it."""
    stages = run.stages
    found = [(group, stage) for stage in stages for group in stage.failures]
    found.sort(key=lambda each: not each[0].failed)
    more = [
        *(map_of(backend, run, stage, console) for stage in stages if stage.kind == "map"),
        *failures_of(found, run, program, MOST_LINES * room(console)),
        *last_words(run, [group for group, _ in found], program),
    ]
    return head_of(run, console), stages_of(stages, console), _joined(*more)


def _joined(*parts: Text) -> Text:
    """Parts below each other, without empty ones."""
    return Text("\n\n").join(part for part in parts if part)


def _lines_of(head: Mapping[str, Sequence[Text]]) -> Text:
    return Text("\n").join(line for lines in head.values() for line in lines)


def _fitting(
    head: Mapping[str, Sequence[Text]], stages: Text, more: Text, console: Console
) -> Text:
    """As much of a run as fits its window: at least its status and a stage."""
    height = console.height - 1
    names, *rows = stages.wrap(console, console.width)
    rest = list(more.wrap(console, console.width))
    lines = sum(map(len, head.values())) + 1 + len(rows) + len(rest)
    if lines + 2 <= height:
        return _joined(_lines_of(head), stages, more)
    rows = rows[-max(1, height - _LEAST_HEAD - 3) :]
    top = _beginning(head, max(_LEAST_HEAD, height - len(rows) - 3))
    rest = rest[: max(0, height - len(top) - len(rows) - 4)]
    hidden = lines - len(top) - 1 - len(rows) - len(rest)
    note = Text(f"{hidden} more lines", style="dim")
    return Text("\n").join([*top, Text(), names, *rows, *rest, note])


def _beginning(head: Mapping[str, Sequence[Text]], most: int) -> list[Text]:
    """The first lines of a head, always including its status."""
    others = most - len(head["status"])
    lines: list[Text] = []
    for name, entry in head.items():
        if name == "status":
            lines += entry
        else:
            lines += entry[: max(0, others)]
            others -= len(entry)
    return lines
