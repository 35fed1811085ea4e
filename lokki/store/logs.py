"""What a run's steps printed and logged, line by line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from lokki.model.log import LogLine
from lokki.store.connection import Reader
from lokki.store.lines import Wanted, last_id, row_of, unpack

_PAGE = 16


class Logs:
    """Queries about the lines of a run; errors are JournalErrors."""

    def __init__(self, read: Reader) -> None:
        self._read = read

    def last_line(self, run_id: str) -> int:
        """The id of the last line of a run; 0 if there is none."""
        rows = self._read(
            "SELECT id, count FROM logs WHERE run = ? ORDER BY id DESC LIMIT 1", (run_id,)
        )
        return last_id(*rows[0]) if rows else 0

    def lines(self, run_id: str, *, after: int = 0, **wanted: Any) -> Iterator[LogLine]:
        """What a run's steps printed and logged, in order, from the line after id ``after`` on.

        ``wanted`` are the fields of `Wanted`. Ends with the last line at that time.
        """
        wish, row = Wanted(**wanted), row_of(after)
        while True:
            rows = self._log_rows(run_id, wish, "id >= ?", "ASC", row)
            for found in _promising(rows, wish):
                for line in unpack(*found):
                    if line.id > after and wish.has(line):
                        yield line
            if len(rows) < _PAGE:
                return
            row = rows[-1][0] + 1

    def last_lines(
        self, run_id: str, count: int, *, before: int | None = None, **wanted: Any
    ) -> list[LogLine]:
        """The last ``count`` lines, in order; with ``before``, those before the line with this id.

        ``wanted`` are the fields of `Wanted`.
        """
        wish, end = Wanted(**wanted), self.last_line(run_id) + 1 if before is None else before
        row, last = row_of(end), deque[LogLine]()
        while True:
            rows = self._log_rows(run_id, wish, "id <= ?", "DESC", row)
            for found in _promising(rows, wish):
                for line in reversed(list(unpack(*found))):
                    if line.id < end and wish.has(line):
                        last.appendleft(line)
                        if len(last) == count:
                            return list(last)
            if len(rows) < _PAGE:
                return list(last)
            row = rows[-1][0] - 1

    def _log_rows(self, run_id: str, wish: Wanted, end: str, order: str, row: int) -> list[Any]:
        condition, values = wish.condition()
        return self._read(
            f"SELECT id, first, count, lines FROM logs WHERE run = ? AND {end}{condition}"
            f" ORDER BY id {order} LIMIT {_PAGE}",
            (run_id, row, *values),
        )


def _promising(rows: list[Any], wish: Wanted) -> Iterator[Any]:
    """The rows that may have such lines."""
    return (row for row in rows if wish.may_be_in(row[-1]))
