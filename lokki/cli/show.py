"""Runs, drawn for a terminal: the list, one run with its stages and failures, the settings."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from time import sleep, time
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lokki.store.groups import folded
from lokki.store.history import Group as Failures
from lokki.store.history import History
from lokki.store.leases import host_and_process, is_worked_on
from lokki.store.schema import RunRow, StageRow

_WIDE = 120
"""Columns of output that is not a terminal's."""
_NARROW = 100
_REFRESH_SECONDS = 0.5
_MOST_GROUPS = 10
_MOST_TEXT = 300
_COLOURS = {
    "queued": "dim", "running": "cyan", "paused": "yellow", "succeeded": "green",
    "failed": "red", "cancelled": "yellow",
}  # fmt: skip
_CELLS = {  # from the gravest; the first that a cell holds is drawn
    "failed": ("✗", "x", "red", "failed"),
    "tolerated": ("!", "!", "red", "failed, tolerated"),
    "cancelled": ("◌", "c", "yellow", "cancelled"),
    "retrying": ("↻", "r", "yellow", "retrying"),
    "partly": ("▒", "+", "green", "partly done"),
    "succeeded": ("█", "#", "green", "done"),
    "pending": ("·", ".", "dim", "not yet"),
}


class _Console(Console):
    """A console that leaves it to its caller what a closed pipe means."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console() -> Console:
    console = _Console(highlight=False)
    wide = not (console.is_terminal or "COLUMNS" in os.environ)
    return _Console(highlight=False, width=_WIDE) if wide else console


def _table(*names: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=name not in ("flow", "stage"), overflow="ellipsis")
    for name in right:
        table.add_column(name, no_wrap=True, justify="right")
    return table


def show_runs(
    runs: Sequence[RunRow], stages: Mapping[str, Sequence[StageRow]], now: float, *, more: bool
) -> None:
    """Print a list of runs; ``more``: there are older ones."""
    console = _console()
    if not runs:
        console.print("no runs")
        return
    wide = console.width >= _NARROW
    right = ("items", "failed", "took") if wide else ("items", "failed")
    table = _table("run", "flow", "status", "started", right=right)
    table.collapse_padding = not wide
    for run in runs:
        maps = [stage for stage in stages[run.id] if stage.kind == "map"]
        row: list[RenderableType] = [
            run.id,
            Text(_plain(run.flow)),
            _status(run, now),
            _when(run.created, now),
            _done(maps),
            _count(sum(map(_failed, maps)), "red"),
            _took(run.started, _end(run, now)),
        ]
        table.add_row(*row[: len(table.columns)])
    console.print(table)
    if more:
        console.print("older ones: more with --n", style="dim")


def show_run(history: History, run_id: str, program: str) -> None:
    """Print one run as it is now."""
    console = _console()
    console.print(_run(history, run_id, program, console))


def watch_run(history: History, run_id: str, program: str) -> None:
    """Draw a run again and again until it has ended."""
    console = _console()
    for each in (signal.SIGTERM, signal.SIGHUP):  # else the cursor is left hidden
        signal.signal(each, lambda number, frame: sys.exit(128 + number))
    with Live(console=console, auto_refresh=False) as live:
        while True:
            goes_on = is_worked_on(history.find(run_id), time())
            live.update(_run(history, run_id, program, console), refresh=True)
            if not goes_on:
                return
            sleep(_REFRESH_SECONDS)


def show_config(settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Print settings and where they came from; each entry of a table has a line of its own."""
    rows = [("key", "value", "from")]
    for name, each in settings.items():
        value, origin = each["value"], each["from"]
        if isinstance(origin, dict):
            entries = [(f"{name}.{entry}", value[entry], origin[entry]) for entry in origin]
            rows += entries or [(name, "{}", "default")]
        else:
            shown = "" if value is None else json.dumps(value, ensure_ascii=False)
            rows.append((name, shown, origin))
    widths = [min(max(len(row[column]) for row in rows), _WIDE // 3) for column in (0, 1)]
    for row in rows:
        line = f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}"
        _console().print(Text(line, style="bold" if row is rows[0] else ""), soft_wrap=True)


# One run


def _run(history: History, run_id: str, program: str, console: Console) -> RenderableType:
    run, now = history.find(run_id), time()
    stages = history.stages(run_id)
    parts: list[RenderableType] = [_head(run, stages, now), Text(), _stages(run, stages, now)]
    for stage in stages:
        if stage.kind == "map" and stage.total:
            strip = _strip(history, stage, console.width - 2, console)
            parts += [Text(f"\n{stage.name}", style="bold"), strip]
    found = [(group, stage) for stage in stages for group in history.groups(stage)]
    found.sort(key=lambda each: each[0].tolerated)
    parts += [_failures(group, stage, run, now, program) for group, stage in found[:_MOST_GROUPS]]
    if len(found) > _MOST_GROUPS:
        parts.append(Text(f"\n{len(found) - _MOST_GROUPS} more kinds of failures: --json has them"))
    if run.error and run.status == "failed" and not found:
        parts.append(Text(f"\n{_plain(json.loads(run.error)['message'])}", style="red"))
    hint = _next(run, [group for group, _ in found], now, program)
    if hint:
        parts.append(Text(f"\n{hint}"))
    return Group(*parts)


def _head(run: RunRow, stages: Sequence[StageRow], now: float) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("run", Text(run.id, style="bold"))
    table.add_row("flow", Text(_plain(run.flow)))
    failed = sum(_failed(stage) for stage in stages if stage.kind == "map")
    told = Text(f", {_items(failed)} failed" if failed else "", style="red")
    table.add_row("status", _status(run, now).append_text(told))
    started = f"{datetime.fromtimestamp(run.created):%Y-%m-%d %H:%M:%S}"
    by = f" by {_plain(run.started_by)}" if run.started_by else ""
    table.add_row("started", Text(started + by))
    table.add_row("took", _took(run.started, _end(run, now)))
    params = json.loads(run.params_json)
    if params:
        shown = [
            f"{name} = {_short(json.dumps(value, ensure_ascii=False))}"
            for name, value in params.items()
        ]
        table.add_row("params", Text("\n".join(shown)))
    if run.owner:
        host, process = host_and_process(run.owner)
        table.add_row("owner", Text(f"process {process} on {host}"))
    return table


def _stages(run: RunRow, stages: Sequence[StageRow], now: float) -> RenderableType:
    table = _table("stage", right=("done", "of", "failed", "retrying", "took", "rate"))
    for stage in stages:
        end = stage.finished or _end(run, now)
        seconds = end - stage.started
        rate = stage.succeeded / seconds if stage.kind == "map" and seconds > 0 else 0
        table.add_row(
            Text(_plain(stage.name)),
            f"{stage.succeeded:,}",
            f"{stage.total:,}",
            _count(_failed(stage), "red"),
            _count(stage.retrying, "yellow"),
            _took(stage.started, end),
            _per_second(rate) if rate else "",
        )
    return table


def _strip(history: History, stage: StageRow, width: int, console: Console) -> RenderableType:
    plain = not (console.encoding or "").lower().startswith("utf")
    kinds = [_drawn(cell) for cell in history.strip(stage, width)]
    strip, legend = Text(), Text("\n", style="dim")
    for kind in kinds:
        strip.append(_CELLS[kind][plain], style=_CELLS[kind][2])
    for kind in _CELLS:
        if kind in kinds and set(kinds) != {"succeeded"}:
            legend.append(f"{_CELLS[kind][plain]} {_CELLS[kind][3]}   ")
    return strip.append_text(legend) if len(legend) > 1 else strip


def _drawn(cell: Counter[str]) -> str:
    for status in ("failed", "tolerated", "cancelled", "retrying"):
        if cell[status]:
            return status
    if cell["succeeded"] and cell["pending"]:
        return "partly"
    return "succeeded" if cell["succeeded"] else "pending"


def _failures(
    group: Failures, stage: StageRow, run: RunRow, now: float, program: str
) -> RenderableType:
    text = Text("\n").append(f"{group.id}  ", style="bold")
    of = f"{_items(group.count)} of " if stage.kind == "map" else ""
    text.append(f"{of}{group.step}")
    alike = folded(group.reason)
    text.append(f"  {group.type}: {_short(alike)}", style="red")
    if group.place:
        file, line, function = group.place
        text.append(_plain(f"\n        at {file}:{line} in {function}"), style="dim")
    if stage.kind == "map":
        items = ", ".join(map(str, group.items)) + (", …" if group.count > len(group.items) else "")
        text.append(f"\n        item {items}", style="dim")
        if group.reason != alike:
            text.append(f"\n        item {group.items[0]}: {_short(group.reason)}", style="dim")
    if not is_worked_on(run, now):
        flag = f" --error {group.id}" if group.tolerated else ""
        text.append(f"\n        again: {program} resume {run.id}{flag}")
    return text


def _next(run: RunRow, groups: Sequence[Failures], now: float, program: str) -> str:
    resume = f"{program} resume {run.id}"
    if run.status == "running" and not is_worked_on(run, now):
        return f"its process is gone; go on with it: {resume}"
    if run.status in ("failed", "cancelled") and all(group.tolerated for group in groups):
        return f"go on with it: {resume}"
    several = run.status == "succeeded" and len(groups) > 1
    return f"all that failed again: {resume} --failed" if several else ""


# Words


def _status(run: RunRow, now: float) -> Text:
    text = Text(run.status, style=_COLOURS.get(run.status, ""))
    if run.status == "running" and not is_worked_on(run, now):
        text.append(" (lost)", style="red")
    return text


def _when(at: float, now: float) -> str:
    moment, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    if moment.date() == today.date():
        return f"{moment:%H:%M:%S}"
    return f"{moment:%d %b %H:%M}" if moment.year == today.year else f"{moment:%d %b %Y}"


def _end(run: RunRow, now: float) -> float:
    """When a run has ended; the latest that it may be, of one whose process is gone."""
    return run.finished or min(now, run.leased_until or now)


def _took(started: float | None, end: float) -> str:
    if started is None:
        return ""
    seconds = end - started
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds >= 0.1 else f"{1000 * seconds:.0f}ms"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def _per_second(rate: float) -> str:
    if rate < 0.1:
        return f"{60 * rate:.1f}/min"
    return f"{rate:.1f}/s" if rate < 10 else f"{rate:,.0f}/s"


def _done(stages: Sequence[StageRow]) -> str:
    """How many items have succeeded; of how many, unless all have."""
    done, total = sum(stage.succeeded for stage in stages), sum(stage.total for stage in stages)
    return f"{done:,}/{total:,}" if done < total else f"{total:,}" if total else ""


def _failed(stage: StageRow) -> int:
    return stage.failed + stage.tolerated


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _count(count: int, style: str) -> Text:
    return Text(f"{count:,}" if count else "", style=style)


def _short(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(_plain(text).split())
    return line if len(line) <= _MOST_TEXT else f"{line[: _MOST_TEXT - 1]}…"


_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(10), *range(11, 32), *range(127, 160))}


def _plain(text: str) -> str:
    """A text whose control characters are told, not obeyed by the terminal."""
    return text.translate(_CONTROLS)
