"""Rows that a notebook shows as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, SupportsIndex, overload

from lokki.errors import LokkiError

_MOST_ROWS = 20
_LONGEST_TEXT = 100


class Table(Sequence[dict[str, Any]]):
    """Rows as dicts with the same keys, the ``columns``; a notebook shows the first 20."""

    def __init__(self, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
        self.columns = tuple(columns)
        self._rows = [*rows]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> Table: ...
    def __getitem__(self, index: SupportsIndex | slice) -> dict[str, Any] | Table:
        if isinstance(index, slice):
            return Table(self.columns, self._rows[index])
        return self._rows[index]

    def to_pandas(self) -> Any:
        """A pandas DataFrame of all rows. Raises LokkiError if pandas is not installed."""
        try:
            from pandas import DataFrame
        except ImportError:
            raise LokkiError(
                "to_pandas() needs pandas, which is not installed: pip install pandas"
            ) from None
        return DataFrame(self._rows, columns=[*self.columns])

    def __repr__(self) -> str:
        shown = [self.columns, *([*map(_text, row.values())] for row in self._rows[:_MOST_ROWS])]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in shown
        ]
        return "\n".join([*lines, *self._more()])

    def _repr_html_(self) -> str:
        head = "".join(_cell("th", name) for name in self.columns)
        rows = [
            "".join(_cell("td", _text(value)) for value in row.values())
            for row in self._rows[:_MOST_ROWS]
        ]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        more = "".join(f"<div>{escape(line)}</div>" for line in self._more())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"

    def _more(self) -> list[str]:
        """What is said of rows that are not shown."""
        left = len(self) - _MOST_ROWS
        return [f"and {left:,} more: .to_pandas() has all"] if left > 0 else []


def _cell(tag: str, text: str) -> str:
    return f'<{tag} style="text-align: left; white-space: nowrap">{escape(text)}</{tag}>'


def _text(value: Any) -> str:
    """A value on a line, not too long."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    text = "" if value is None else " ".join(str(value).split())
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
