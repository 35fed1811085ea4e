"""What steps print and log, as the journal keeps it: up to a thousand lines per row.

Ten thousand lines may come per second, and a row costs more than its content. A row's columns have
what readers filter by, so that they skip rows without matching lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lokki.logging import Line, rank, reaches
from lokki.model.log import LogLine
from lokki.store.sql import Connection
from lokki.store.storable import storable

COLUMNS = "run, count, first, last, gravest, least_item, most_item, lines"
_BITS = 10
_MOST = 1 << _BITS
_MOST_CHARACTERS = 1_000_000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter for lines: by step, item, attempt, time and text, and from ``level`` up.

    Times are seconds since the epoch; a level with another name counts as INFO. ``search`` is part
    of a message, in upper or lower case.
    """

    step: str | None = None
    item: int | None = None
    attempt: int | None = None
    level: str = "DEBUG"
    since: float | None = None
    until: float | None = None
    search: str | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """The SQL condition for rows that may have such lines, to append to another one."""
        asked: list[tuple[str, Any]] = [("gravest >= ?", rank(self.level))]
        if self.item is not None:
            asked.append(("? BETWEEN least_item AND most_item", self.item))
        if self.since is not None:
            asked.append(("last >= ?", self.since))
        if self.until is not None:
            asked.append(("first <= ?", self.until))
        return "".join(f" AND {text}" for text, _ in asked), [value for _, value in asked]

    def may_be_in(self, packed: str) -> bool:
        """Whether a packed row may have lines with the text; far cheaper than to unpack it."""
        return self.search is None or _encode(self.search)[1:-1].lower() in packed.lower()

    def has(self, line: LogLine) -> bool:
        """Whether a line matches."""
        return (
            reaches(line.level, self.level)
            and (self.step is None or line.step == self.step)
            and (self.item is None or line.item == self.item)
            and (self.attempt is None or line.attempt == self.attempt)
            and (self.since is None or line.at >= self.since)
            and (self.until is None or line.at <= self.until)
            and (self.search is None or self.search.lower() in line.message.lower())
        )


def insert(connection: Connection, lines: Sequence[tuple[str, Sequence[Line]]]) -> None:
    """Write lines of runs, in this order."""
    rows = [(run_id, *pack(row)) for run_id, found in lines for row in _rows(found)]
    connection.insert("logs", COLUMNS, rows)


def _rows(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """Lines in groups, each as many as fit in a row."""
    if len(lines) > _MOST or (len(lines) > 1 and sum(map(_length, lines)) > _MOST_CHARACTERS):
        half = len(lines) // 2
        yield from _rows(lines[:half])
        yield from _rows(lines[half:])
    elif lines:
        yield lines


def _length(line: Line) -> int:
    return len(line[-1])


def pack(lines: Sequence[Line]) -> tuple[Any, ...]:
    """A row of lines, without the run.

    They are JSON: for each of a line's values a list, or the value itself if all lines share it.
    Times are microseconds after the first.
    """
    times, steps, items, attempts, levels, sources, messages = zip(*lines, strict=True)
    first = min(times)
    after = tuple([round((at - first) * 1e6) for at in times])
    columns = [
        column[0] if column.count(column[0]) == len(column) else column
        for column in (after, steps, items, attempts, levels, sources, messages)
    ]
    text = _encode(columns)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return pack([storable(line) for line in lines])
    known = [item for item in items if item is not None]
    bounds = (min(known), max(known)) if known else (None, None)
    return (len(lines), first, max(times), max(map(rank, set(levels))), *bounds, text)


def unpack(row: int, first: float, count: int, text: str) -> Iterator[LogLine]:
    """The lines of a row."""
    after, *others = (
        column if isinstance(column, list) else [column] * count for column in json.loads(text)
    )
    for number, (later, *values) in enumerate(zip(after, *others, strict=True)):
        yield LogLine(row << _BITS | number, round(first + later / 1e6, 6), *values)


def row_of(line: int) -> int:
    """The row that the line with this id is in."""
    return line >> _BITS


def last_id(row: int, count: int) -> int:
    """The id of the last line of a row."""
    return row << _BITS | (count - 1)
