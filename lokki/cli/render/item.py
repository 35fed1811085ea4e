"""One item: what came in, what went wrong, what came out, what it printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from textwrap import indent
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lokki.cli.render.console import plain, stdout_console
from lokki.durations import duration
from lokki.logging import clock, counted
from lokki.model.item import ItemDetail
from lokki.model.log import LogLine
from lokki.model.run import Stage
from lokki.model.times import seconds

_MOST_LETTERS = 2_000
_MOST_LINES = 200
_WIDEST_FLOAT = 8


def show_item(stage: Stage, item: ItemDetail, lines: Iterable[LogLine]) -> None:
    """Print an item; long values and many lines only in part."""
    tell = partial(stdout_console().print, soft_wrap=True)
    tell(_head(stage, item))
    for title, value in (("input", item.input), ("output", item.output)):
        if value is not None:
            tell(Text(title, style="bold"))
            tell(Text(_indented(_shown(value))))
            if "preview" in value:
                show_table(value["preview"])
    for each in item.failures:
        tell(Text(f"attempt {each.attempt} of {each.step}", style="bold"))
        text = each.traceback or f"{each.type}: {each.message}"
        tell(Text(_indented(plain(text.rstrip())), style="red"))
    found = list(islice(lines, _MOST_LINES + 1))
    if found:
        tell(Text("lines", style="bold"))
        for line in _lines(found):
            tell(Text(line))


def _head(stage: Stage, item: ItemDetail) -> Text:
    text = Text().append(f"item {item.index:,} of {stage.name}", style="bold")
    parts = [item.status, counted(item.attempts, "attempt")]
    last = "the last " if item.attempts > 1 else ""
    if item.duration is not None:
        took = duration(item.duration)
        parts.append(f"{last}took {took}" if last else took)
    if item.started is not None:
        began = f"began at {clock(seconds(item.started))}"
        parts.append(began if item.duration is not None else last + began)
    return text.append(f"  {', '.join(parts)}")


def _shown(value: Mapping[str, Any]) -> str:
    """A value, or what it is if it cannot be shown."""
    if "json" not in value:
        size = f", {value['bytes']:,} bytes" if "bytes" in value else ""
        return f"{value['type']}{size}"
    text = json.dumps(value["json"], ensure_ascii=False, indent=2)
    if len(text) <= _MOST_LETTERS:
        return plain(text)
    return f"{plain(text[:_MOST_LETTERS])}…\n({len(text):,} letters: see --json)"


def show_table(preview: Mapping[str, Any], *, stderr: bool = False) -> None:
    """Print the beginning of a DataFrame."""
    table = Table(*(plain(name) for name in preview["columns"]), box=None)
    for row in preview["rows"]:
        table.add_row(*(Text(plain(_cell(each))) for each in row))
    console = stdout_console(stderr=stderr)
    console.print(Padding(table, (0, 0, 0, 2), expand=False))
    if preview["cut"]:
        console.print(Text(_indented(preview["cut"])), soft_wrap=True)


def _cell(value: Any) -> str:
    """A cell of a table; of a float with many digits, the first six."""
    if value is None:
        return ""
    text = str(value)
    if not isinstance(value, float) or len(text) <= _WIDEST_FLOAT:
        return text
    return f"{value:.6g}" if not 1e6 <= abs(value) < 1e15 else f"{value:.0f}"


def _lines(found: Sequence[LogLine]) -> Iterator[str]:
    for line in found[:_MOST_LINES]:
        yield _indented(plain(f"{clock(line.at)} [{line.level}] {line.message}"))
    if len(found) > _MOST_LINES:
        yield _indented("… and more: `lokki logs` prints all")


def _indented(text: str) -> str:
    return indent(text, "  ")
