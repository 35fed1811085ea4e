"""Tables that leave out columns where there is no room."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

_WIDEST = 10_000


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; an empty one is left out.

    Where there is no room, columns with ``goes`` are left out, the highest first, and one with a
    ``least`` width is cut down to that.
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


def table(columns: Iterable[Column], room: int) -> Text:
    """Columns side by side under their names, in lines of at most ``room`` columns.

    Lines are longer only where uncut columns need more.
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
    wide = max(least, min(room, _width((each.width for each in shown), gap)))
    return _drawn(table, Console(width=wide))


def unwrapped(table: Table) -> Text:
    """A table as wide as its cells need, for where nobody reads it on a terminal."""
    console = Console(width=_WIDEST)
    return _drawn(table, Console(width=console.measure(table).maximum))


def _drawn(table: Table, console: Console) -> Text:
    lines = [Text.assemble(*line) for line in _lines(console, table)]
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


def count_cells(counts: Iterable[int], style: str) -> list[Text]:
    return [Text(f"{count:,}" if count else "", style=style) for count in counts]


def plain_table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold")
