"""The items of a stage, for display: lists, and single ones with attempts and output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import merge
from itertools import islice
from operator import attrgetter, itemgetter
from typing import Any, TypeAlias

from lokki.model.item import Attempt, Item, ItemError
from lokki.model.times import utc
from lokki.store.connection import Reader
from lokki.store.ended import has_ended, recorded_as, status_of
from lokki.store.rows import INDEX_MASK, StageRow, item_range
from lokki.store.span_rows import span_with, spans
from lokki.store.spans import Span
from lokki.store.texts import Texts, shortened

_TROUBLED = ("failed", "tolerated", "retrying", "cancelled")
_COLUMNS = "items.id, status, attempts, started, finished, type, reason"
_LAST_FAILURE = (
    " LEFT JOIN failures ON status IN ('failed', 'tolerated', 'retrying') AND failures.rowid ="
    " (SELECT max(rowid) FROM failures WHERE item = items.id)"
)


_PAGE = 5_000


class Items:
    """Queries about items; errors are JournalErrors."""

    def __init__(self, read: Reader) -> None:
        self._read = read

    def page(
        self,
        stage: StageRow,
        *,
        statuses: Sequence[str] = (),
        group: str | None = None,
        after: int = -1,
        limit: int = 100,
    ) -> list[Item]:
        """Items after an index, in order; with these statuses, and a last failure in ``group``.

        Items that have not begun have no record and are left out.
        """
        first, last = item_range(stage.id)
        ended = has_ended(self._read, stage)
        wanted = recorded_as(statuses, ended=ended)
        if statuses and not wanted:
            return []
        if group is not None and not wanted:
            wanted = list(_TROUBLED)
        source, condition, values = "items", "", []
        if wanted:
            if set(wanted) <= set(_TROUBLED):
                source = "items INDEXED BY items_troubled"
                condition += " AND status <> 'succeeded'"
            condition += f" AND status IN ({', '.join('?' * len(wanted))})"
            values += wanted
        if group is not None:
            condition += " AND grp = ?"
            values.append(group)
        rows = self._read(
            f"SELECT {_COLUMNS} FROM {source}{_LAST_FAILURE}"  # noqa: S608
            f" WHERE items.id BETWEEN ? AND ?{condition} ORDER BY items.id LIMIT ?",
            (first + after + 1, last, *values, limit),
        )
        found = [_item(row, ended=ended) for row in rows]
        if group is None and (not wanted or "succeeded" in wanted):
            inside = islice(self._inside(stage, after), limit)
            found = [*islice(merge(found, inside, key=attrgetter("index")), limit)]
        return self._with_all_attempts(stage, found)

    def _with_all_attempts(self, stage: StageRow, found: list[Item]) -> list[Item]:
        """Items with the attempts before a resume, and of other inner steps, too."""
        if not found:
            return found
        first, _ = item_range(stage.id)
        rows = self._read(
            f"SELECT item & {INDEX_MASK}, count(*) FROM failures"  # noqa: S608
            " WHERE item BETWEEN ? AND ? GROUP BY item",
            (first + found[0].index, first + found[-1].index),
        )
        failed = dict(rows)
        return [
            replace(each, attempts=max(each.attempts, failed[each.index] + _succeeded(each)))
            if each.index in failed
            else each
            for each in found
        ]

    def _inside(self, stage: StageRow, after: int) -> Iterator[Item]:
        """The items in spans after an index, in order."""
        for span in spans(self._read, stage.id, after):
            for item in _items(span):
                if item.index > after:
                    yield item

    def find(self, stage: StageRow, index: int) -> Item | None:
        """One item, if it has a record."""
        rows = self._read(
            f"SELECT {_COLUMNS} FROM items{_LAST_FAILURE} WHERE items.id = ?",  # noqa: S608
            (item_range(stage.id)[0] + index,),
        )
        if rows:
            found = _item(rows[0], ended=has_ended(self._read, stage))
        elif (span := span_with(self._read, stage.id, index)) is not None:
            found = [*_items(span)][index - span.first]
        else:
            return None
        return self._with_all_attempts(stage, [found])[0]

    def attempts(self, stage: StageRow, index: int) -> list[Attempt]:
        """The failed attempts of an item, in order."""
        rows = self._read(
            "SELECT step, attempt, at, type, reason, traceback, whole FROM failures WHERE item = ?"
            " ORDER BY rowid",
            (item_range(stage.id)[0] + index,),
        )
        attempts = []
        for step, attempt, at, kind, *texts in rows:
            message, traceback = Texts(*texts).uncut()
            attempts.append(
                Attempt(
                    attempt=attempt,
                    step=step,
                    at=utc(at),
                    type=kind,
                    message=message,
                    traceback=traceback,
                )
            )
        return attempts

    def output(self, stage: StageRow, index: int) -> tuple[bytes | None, str | None] | None:
        """The result of a succeeded item: packed, or the reference to its payload."""
        span = span_with(self._read, stage.id, index)
        if span is not None:
            return [*span.packed()][index - span.first], None
        rows = self._read(
            "SELECT output, ref FROM items WHERE id = ? AND status = 'succeeded'",
            (item_range(stage.id)[0] + index,),
        )
        return rows[0] if rows else None


Single: TypeAlias = tuple[int, bytes | None, str | None]
"""A result of an item that is in no span: index, packed output or reference."""


def results(read: Reader, stage: int) -> Iterator[Single | Span]:
    """The results of a stage's succeeded items, in order."""
    single = pages(read, "output, ref", "status = 'succeeded'", stage)
    return merge(single, spans(read, stage), key=itemgetter(0))


def outputs(read: Reader, stage: int) -> Iterator[Single]:
    """Like `results`, each by itself."""
    for found in results(read, stage):
        if isinstance(found, Span):
            for index, packed in zip(found.indices, found.packed(), strict=True):
                yield index, packed, None
        else:
            yield found


def pages(read: Reader, columns: str, condition: str, stage: int) -> Iterator[Any]:
    """Rows of a stage's items in order, index first, some thousands in memory at a time."""
    first, last = item_range(stage)
    while True:
        rows = read(
            f"SELECT id & {INDEX_MASK}, {columns} FROM items"  # noqa: S608
            f" WHERE id BETWEEN ? AND ? AND {condition} ORDER BY id LIMIT {_PAGE}",
            (first, last),
        )
        yield from rows
        if len(rows) < _PAGE:
            return
        first = (stage << 32 | rows[-1][0]) + 1


def item_error(kind: str, reason: str) -> ItemError:
    """The last failure of an item, as in a list."""
    return ItemError(type=kind, message=shortened(reason, "")[0])


def _succeeded(item: Item) -> int:
    """How many of its attempts have succeeded."""
    return int(item.status == "succeeded" and not item.reused)


def _item(row: tuple[Any, ...], *, ended: bool = False) -> Item:
    key, status, attempts, started, finished, kind, reason = row
    return Item(
        index=key & INDEX_MASK,
        status=status_of(status, ended=ended),
        attempts=attempts,
        started=utc(started),
        finished=utc(finished),
        duration=round(max(0.0, finished - started), 6),
        error=None if kind is None else item_error(kind, reason),
        reused=status == "succeeded" and attempts == 0,
    )


def _items(span: Span) -> Iterator[Item]:
    """The items of a span."""
    ends = span.ends()
    starts = (span.started, *ends)
    for index, started, finished in zip(span.indices, starts, ends, strict=False):
        yield _item((index, "succeeded", 1, started, finished, None, None))
