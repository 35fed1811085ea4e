"""Runs, drawn for a terminal: the list, one run with its stages and failures, the settings."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import sleep
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lokki.cli.console import WIDE, plain, room, short, stdout_console
from lokki.cli.program import Program
from lokki.cli.words import duration, mean, rate, waits_for
from lokki.logging import counted, local
from lokki.places import LOCAL
from lokki.places.place import Place
from lokki.places.shapes import (
    GroupShape,
    InnerShape,
    ResumeShape,
    RunShape,
    StageShape,
    goes_on,
    is_lost,
    seconds,
)
from lokki.store.groups import folded

_REFRESH_SECONDS = 0.5
_MOST_GROUPS = 10
_MOST_LINES = 4
"""Lines of a terminal that a message may take."""
_NAMES = 9
"""Columns of the names in a run's head."""
_LEAST_HEAD = 3
"""Lines of a run's head that a low window has: its status, and before it id and flow."""
_CHAIN_IN_MAP = re.compile(r"map\([^)]* → ")
_COLOURS = {
    "queued": "dim", "running": "cyan", "paused": "yellow", "succeeded": "green",
    "failed": "red", "cancelled": "yellow",
}  # fmt: skip
_CELLS = {  # from the gravest; the first that a cell holds is drawn
    "failed": ("✗", "x", "red", "failed"),
    "tolerated": ("!", "!", "yellow", "tolerated"),
    "cancelled": ("◌", "c", "yellow", "cancelled"),
    "retrying": ("↻", "r", "yellow", "retrying"),
    "partly": ("▒", "+", "green", "partly done"),
    "succeeded": ("█", "#", "green", "done"),
    "pending": ("·", ".", "dim", "not yet"),
}


def show_runs(runs: Sequence[RunShape], now: float, *, more: bool) -> None:
    """Print a list of runs; ``more``: there are older ones."""
    console = stdout_console()
    maps = [[stage for stage in run["stages"] if stage["kind"] == "map"] for run in runs]
    failed = [sum(stage["failed"] for stage in own) for own in maps]
    tolerated = [sum(stage["tolerated"] for stage in own) for own in maps]
    columns = [
        _Column("run", [Text(run["id"]) for run in runs]),
        _Column("flow", [Text(plain(run["flow"])) for run in runs], least=12, goes=2),
        _Column("where", _wheres(runs), goes=8),
        _Column("status", [_status(run) for run in runs], goes=1),
        _Column("started", [Text(_when(seconds(run["created"]), now)) for run in runs], goes=6),
        _Column("items", [_done(own) for own in maps], right=True, goes=5),
        _Column("failed", _counts(failed, "red"), right=True, goes=3),
        _Column("tolerated", _counts(tolerated, "yellow"), right=True, goes=4),
        _Column("took", [_took(run) for run in runs], right=True, goes=7),
    ]
    console.print(_table(columns, room(console)))
    if more:
        print(f"older ones: more with --n, or --before {runs[-1]['id']}", file=sys.stderr)


def show_removable(
    runs: Sequence[RunShape], ends: Sequence[float], resumable: Collection[str]
) -> None:
    """Print the runs that could be removed, when they ended, and which of them can be resumed."""
    columns = [
        _Column("run", [Text(run["id"]) for run in runs]),
        _Column("flow", [Text(plain(run["flow"])) for run in runs]),
        _Column("status", [_status(run) for run in runs]),
        _Column("ended", [Text(local(end)) for end in ends]),
        _Column("", [Text("can be resumed" * (run["id"] in resumable)) for run in runs]),
    ]
    stdout_console().print(_table(columns, sys.maxsize), soft_wrap=True)


def show_run(place: Place, run_id: str, program: Program) -> None:
    """Print one run as it is now."""
    console = stdout_console()
    head, stages, more = _run(place, place.run(run_id), program, console)
    console.print(_joined(_lines_of(head), stages, more))


def watch_run(place: Place, run_id: str, program: Program) -> None:
    """Draw a run again and again until it has ended; it is printed as a whole in the end."""
    console = stdout_console()
    for each in (signal.SIGTERM, signal.SIGHUP):  # else the cursor is left hidden
        signal.signal(each, lambda number, frame: sys.exit(128 + number))
    try:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while goes_on(run := place.run(run_id)):
                parts = _run(place, run, program, console)
                live.update(_fitting(*parts, console), refresh=True)
                sleep(max(_REFRESH_SECONDS, place.look_seconds))
    finally:
        show_run(place, run_id, program)


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
    widths = [min(max(len(row[column]) for row in rows), WIDE // 3) for column in (0, 1)]
    for row in rows:
        line = f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}"
        stdout_console().print(Text(line, style="bold" if row is rows[0] else ""), soft_wrap=True)


# Tables


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of a table, which is left out when it is empty.

    Where there is no room, columns that ``goes`` are left out, the one that does most first, and
    one with a ``least`` width is cut to no less.
    """

    name: str
    cells: Sequence[Text]
    right: bool = False
    least: int = sys.maxsize
    goes: int = 0

    @property
    def width(self) -> int:
        return max(len(self.name), *(cell.cell_len for cell in self.cells))

    @property
    def narrowest(self) -> int:
        return min(self.width, self.least)


def _table(columns: Iterable[_Column], room: int) -> Text:
    """Columns side by side under their names, in lines of at most ``room`` columns.

    Lines are longer only where what must be whole has no room.
    """
    shown = [column for column in columns if any(column.cells)]
    while _width(each.narrowest for each in shown) > room and any(each.goes for each in shown):
        shown.remove(max(shown, key=lambda column: column.goes))
    gap = 2 if _width((column.width for column in shown), 2) <= room else 1
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0))
    for column in shown:
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=column.least >= column.width,
            overflow="ellipsis",
        )
    for row in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*row)
    least = _width(column.narrowest for column in shown)
    drawn = Console(width=max(least, min(room, _width((each.width for each in shown), gap))))
    lines = [Text.assemble(*line) for line in _lines(drawn, table)]
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def _lines(console: Console, table: Table) -> Iterator[list[tuple[str, Style]]]:
    """The lines of a table as parts of a text."""
    for line in console.render_lines(table):
        yield [(segment.text, segment.style or Style.null()) for segment in line]


def _width(widths: Iterable[int], gap: int = 1) -> int:
    """The width of a table."""
    return sum(width + gap for width in widths) - gap


# One run


def _run(
    place: Place, run: RunShape, program: Program, console: Console
) -> tuple[dict[str, list[Text]], Text, Text]:
    """A run's head, its stages, and what there is to say of their items and how to go on."""
    stages = run["stages"]
    found = [(group, stage) for stage in stages for group in stage.get("failures", ())]
    found.sort(key=lambda each: not each[0]["failed"])
    more = [
        *(_map(place, run, stage, console) for stage in stages if stage["kind"] == "map"),
        *_failures(found, run, program, _MOST_LINES * room(console)),
        *_last_words(run, [group for group, _ in found], program),
    ]
    return _head(run, console), _stages(stages, console), _joined(*more)


def _joined(*parts: Text) -> Text:
    """Parts below one another, without the empty ones."""
    return Text("\n\n").join(part for part in parts if part)


def _lines_of(head: Mapping[str, Sequence[Text]]) -> Text:
    return Text("\n").join(line for lines in head.values() for line in lines)


def _fitting(
    head: Mapping[str, Sequence[Text]], stages: Text, more: Text, console: Console
) -> Text:
    """As much of a run as its window holds: in any case its status, and a stage."""
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
    """The first lines of a head, but with its status."""
    others = most - len(head["status"])
    lines: list[Text] = []
    for name, entry in head.items():
        if name == "status":
            lines += entry
        else:
            lines += entry[: max(0, others)]
            others -= len(entry)
    return lines


def _head(run: RunShape, console: Console) -> dict[str, list[Text]]:
    """The lines of each entry."""
    chain = f": {run['chain']}" if _CHAIN_IN_MAP.search(run["chain"]) else ""
    entries = {
        "run": Text(run["id"], style="bold"),
        "flow": Text(plain(run["flow"] + chain)),
        "where": Text(_elsewhere(run)),
        "status": _status(run).append_text(_troubles(run["stages"])),
        "waits": Text(plain(waits_for(run.get("waits_for")))),
        "started": _begun(run["created"], run["started_by"]),
        "folder": Text(plain(run.get("folder") or "")),
        "resumed": _resumed(run.get("resumes", ())),
        "took": _took(run),
        "params": _params(run, _MOST_LINES * room(console)),
        "owner": _owner(run),
    }
    lines: dict[str, list[Text]] = {}
    for name, value in entries.items():
        wrapped = value.wrap(console, max(1, room(console) - _NAMES)) if value else ()
        lines[name] = [
            Text(f"{'' if number else name:{_NAMES}}", style="dim").append_text(line)
            for number, line in enumerate(wrapped)
        ]
    return lines


def _begun(at: str, by: str | None) -> Text:
    told = f" by {plain(by)}" if by else ""
    return Text(f"{datetime.fromtimestamp(seconds(at)):%Y-%m-%d %H:%M:%S}{told}")


def _resumed(resumes: Sequence[ResumeShape]) -> Text:
    """How often a run was resumed, and the last time."""
    if not resumes:
        return Text()
    last = _begun(resumes[-1]["at"], resumes[-1]["by"])
    return last if len(resumes) == 1 else Text(f"{len(resumes)} times, the last ") + last


def _troubles(stages: Sequence[StageShape]) -> Text:
    """How many items have failed, and of how many that is tolerated."""
    maps = [stage for stage in stages if stage["kind"] == "map"]
    failed = sum(stage["failed"] for stage in maps)
    tolerated = sum(stage["tolerated"] for stage in maps)
    text = Text().append(f", {counted(failed, 'item')} failed" if failed else "", style="red")
    if tolerated:
        items = f"{tolerated:,}" if failed else counted(tolerated, "item")
        text.append(f", {items} tolerated", style="yellow")
    return text


def _params(run: RunShape, most: int) -> Text:
    shown = [
        f"{name} = {short(json.dumps(value, ensure_ascii=False), most)}"
        for name, value in run["params"].items()
    ]
    return Text("\n".join(shown))


def _owner(run: RunShape) -> Text:
    owner = run["owner"]
    return Text(f"process {owner['process']} on {owner['host']}") if owner else Text()


def _stages(stages: Sequence[StageShape], console: Console) -> Text:
    rates = [
        stage["succeeded"] / stage["duration"]
        if stage["kind"] == "map" and stage["duration"]
        else 0
        for stage in stages
    ]
    retrying = _counts([stage["retrying"] for stage in stages], "yellow")
    tolerated = _counts([stage["tolerated"] for stage in stages], "yellow")
    times = [Text(duration(stage["duration"])) for stage in stages]
    columns = [
        _Column("stage", [Text(plain(stage["name"])) for stage in stages], least=12),
        _Column("done", [Text(f"{stage['succeeded']:,}") for stage in stages], right=True),
        _Column("of", [Text(f"{stage['total']:,}") for stage in stages], right=True, goes=2),
        _Column("failed", _counts([each["failed"] for each in stages], "red"), right=True),
        _Column("tolerated", tolerated, right=True, goes=1),
        _Column("retrying", retrying, right=True, goes=3),
        _Column("took", times, right=True, goes=4),
        _Column("rate", [Text(rate(each)) for each in rates], right=True, goes=5),
    ]
    return _table(columns, room(console))


def _map(place: Place, run: RunShape, stage: StageShape, console: Console) -> Text:
    """The items of a map, and its inner steps."""
    parts = (_strip(place, run, stage, console), _inner(stage.get("inner", ()), room(console)))
    return Text("\n").join(part for part in parts if part)


def _inner(steps: Sequence[InnerShape], room: int) -> Text:
    """The inner steps of a map: how many items are past each, and what a call takes."""
    if not steps:
        return Text()
    means = [each["mean_seconds"] for each in steps]
    failed = _counts([each["failed_attempts"] for each in steps], "yellow")
    times = [Text("" if each is None else mean(each)) for each in means]
    columns = [
        _Column("inner step", [Text(f"· {plain(each['step'])}") for each in steps], least=12),
        _Column("done", [Text(f"{each['succeeded']:,}") for each in steps], right=True),
        _Column("failed attempts", failed, right=True, goes=1),
        _Column("mean", times, right=True, goes=2),
    ]
    return _table(columns, room)


def _strip(place: Place, run: RunShape, stage: StageShape, console: Console) -> Text:
    """The items of a map in a line of cells, and what the cells mean."""
    ascii_alone = not (console.encoding or "").lower().startswith("utf")
    cells = place.strip(run["id"], stage["position"], console.width - 2)
    kinds = [_drawn(cell) for cell in cells]
    text = Text()
    for kind in kinds:
        text.append(_CELLS[kind][ascii_alone], style=_CELLS[kind][2])
    legend = [
        f"{sign[ascii_alone]} {sign[3]}"
        for kind, sign in _CELLS.items()
        if kind in kinds and set(kinds) != {"succeeded"}
    ]
    lines = [Text(plain(stage["name"]), style="bold"), text, Text("   ".join(legend), style="dim")]
    return Text("\n").join(line for line in lines if line) if kinds else Text()


def _drawn(cell: Mapping[str, int]) -> str:
    for status in ("failed", "tolerated", "cancelled", "retrying"):
        if cell.get(status):
            return status
    if cell.get("succeeded") and cell.get("pending"):
        return "partly"
    return "succeeded" if cell.get("succeeded") else "pending"


def _failures(
    found: Sequence[tuple[GroupShape, StageShape]], run: RunShape, program: Program, most: int
) -> Iterator[Text]:
    """The groups of failures, each with how to run it again."""
    resumable = not goes_on(run) and not run["removing"]
    for group, stage in found[:_MOST_GROUPS]:
        text = _group(group, stage, most)
        if resumable and group["retrying"] < group["count"]:
            flags = ["--error", group["id"]] if _tolerated(group) else []
            text.append(f"\n        resume: {program.told('resume', run['id'], *flags)}")
        yield text
    if len(found) > _MOST_GROUPS:
        yield Text(f"{len(found) - _MOST_GROUPS} more kinds of failures: --json has them")


def _tolerated(group: GroupShape) -> int:
    """How many of the failures do not end the run."""
    return group["count"] - group["failed"] - group["retrying"]


def _group(group: GroupShape, stage: StageShape, most: int) -> Text:
    text = Text().append(f"{group['id']}  ", style="bold")
    count, items = group["count"], group["items"]
    of = f"{counted(count, 'item')} of " if stage["kind"] == "map" else ""
    text.append(f"{of}{group['step']}")
    for some, word in ((_tolerated(group), "tolerated"), (group["retrying"], "retrying")):
        if some:
            text.append(f", {word}" if some == count else f", {some:,} of them {word}")
    message = folded(group["message"]) if group["varies"] else group["message"]
    text.append(f"  {group['type']}: {short(message, most)}", style="red")
    if group["place"]:
        file, line, function = group["place"].values()
        text.append(plain(f"\n        at {file}:{line} in {function}"), style="dim")
    if stage["kind"] == "map":
        listed = ", ".join(map(str, items)) + (", …" if count > len(items) else "")
        text.append(f"\n        item {listed}", style="dim")
        if group["varies"]:
            first = f"\n        item {items[0]}: {short(group['message'], most)}"
            text.append(first, style="dim")
    return text


def _last_words(run: RunShape, groups: Sequence[GroupShape], program: Program) -> Iterator[Text]:
    """What ended a run when no step did, and how to go on with it."""
    if run["error"] and run["status"] == "failed" and not groups:
        yield Text(plain(run["error"]["message"]), style="red")
    resume = program.told("resume", run["id"])
    if run["removing"]:
        yield Text("it is being removed: its payloads are gone, the next gc removes the rest")
    elif is_lost(run):
        yield Text(f"its process is gone; resume: {resume}")
    elif run["status"] in ("failed", "cancelled") and not any(each["failed"] for each in groups):
        yield Text(f"resume: {resume}")
    elif run["status"] == "succeeded" and len(groups) > 1:
        yield Text(f"resume all that failed: {resume} --failed")


# Words


def _status(run: RunShape) -> Text:
    if run["removing"]:
        return Text("removing", style="yellow")
    if is_lost(run):
        return Text("running", style=_COLOURS["running"]).append(" (lost)", style="red")
    if run["status"] == "running" and run["cancel_requested"] is not None:
        return Text("cancelling", style=_COLOURS["cancelled"])
    return Text(run["status"], style=_COLOURS.get(run["status"], ""))


def _elsewhere(run: RunShape) -> str:
    """Where a run is that is not in a journal."""
    return "" if run["where"] == LOCAL else run["where"]


def _wheres(runs: Sequence[RunShape]) -> list[Text]:
    """Where runs are; nothing if all are in the journal."""
    told = any(map(_elsewhere, runs))
    return [Text(run["where"] if told else "") for run in runs]


def _when(at: float, now: float) -> str:
    moment, today = datetime.fromtimestamp(at), datetime.fromtimestamp(now)
    if moment.date() == today.date():
        return f"{moment:%H:%M:%S}"
    return f"{moment:%d %b %H:%M}" if moment.year == today.year else f"{moment:%d %b %Y}"


def _took(run: RunShape) -> Text:
    return Text() if run["duration"] is None else Text(duration(run["duration"]))


def _done(stages: Sequence[StageShape]) -> Text:
    """How many items have succeeded; of how many, unless all have."""
    done, total = (sum(stage[count] for stage in stages) for count in ("succeeded", "total"))
    return Text(f"{done:,}/{total:,}" if done < total else f"{total:,}" if total else "")


def _counts(counts: Iterable[int], style: str) -> list[Text]:
    return [Text(f"{count:,}" if count else "", style=style) for count in counts]
