"""The rows of spans: written, and read in order or by item."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from lokki.store.connection import Reader
from lokki.store.rows import INDEX_MASK, item_range
from lokki.store.spans import Span
from lokki.store.sql import Connection

_COLUMNS = "id, count, started, times, results"
_PAGE = 64
"""How many spans are in memory at a time."""


def insert(connection: Connection, spans: Sequence[tuple[int, Span]], *, new: Set[int]) -> None:
    """Record spans, each of a stage, in place of what is recorded of their items.

    Nothing is of the ``new`` stages.
    """
    replaced = [(stage << 32 | span.first, span) for stage, span in spans if stage not in new]
    if replaced:
        connection.executemany(
            "DELETE FROM items WHERE id BETWEEN ? AND ?",
            [(first, first + span.length - 1) for first, span in replaced],
        )
    rows = [(stage << 32 | span.first, *span[1:]) for stage, span in spans]
    connection.replace("spans", _COLUMNS, rows)


def spans(read: Reader, stage: int, after: int = -1) -> Iterator[Span]:
    """The spans of a stage that have items behind the index ``after``, in order."""
    first, last = item_range(stage)
    start = first + after + 1
    rows = read(
        "SELECT * FROM (SELECT * FROM spans WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1)"
        " AS nearest WHERE id + count > ?",
        (first, start, start),
    )
    while True:
        yield from (Span(row[0] & INDEX_MASK, *row[1:]) for row in rows)
        start = max(start, rows[-1][0]) if rows else start
        rows = read(
            f"SELECT * FROM spans WHERE id > ? AND id <= ? ORDER BY id LIMIT {_PAGE}",  # noqa: S608
            (start, last),
        )
        if not rows:
            return


def extents(read: Reader, stage: int) -> list[range]:
    """The indices in each span of a stage, in order."""
    rows = read(
        f"SELECT id & {INDEX_MASK}, count FROM spans"  # noqa: S608
        " WHERE id BETWEEN ? AND ? ORDER BY id",
        item_range(stage),
    )
    return [range(first, first + count) for first, count in rows]


def span_with(read: Reader, stage: int, index: int) -> Span | None:
    """The span with an item, if it is in one."""
    found = next(spans(read, stage, index - 1), None)
    return found if found is not None and index in found.indices else None
