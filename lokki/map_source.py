"""The source of a map: the list of its items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lokki.call import BoundCall, is_file
from lokki.errors import ResultError
from lokki.frames import users_frames

_TEXT = "return text.splitlines(), json.loads(text) or, for its characters, list(text)"
_BYTES = "return data.splitlines(), a decoded text's lines or, for its numbers, list(data)"
_ROWS = "return frame.to_dict('records') for its rows"
_INSTEAD = {
    ("builtins", "str"): _TEXT,
    ("collections", "UserString"): _TEXT,
    ("builtins", "bytes"): _BYTES,
    ("builtins", "bytearray"): _BYTES,
    ("builtins", "memoryview"): _BYTES,
    ("mmap", "mmap"): _BYTES,
    ("pyarrow", "Buffer"): _BYTES,
    ("pandas", "DataFrame"): _ROWS,
    ("polars", "DataFrame"): "return list(frame.iter_rows(named=True)) for its rows",
    ("polars", "LazyFrame"): "return frame.collect().to_dicts() for its rows",
    ("pyarrow", "Table"): "return table.to_pylist() for its rows, or table.to_batches() for parts",
    ("pyarrow", "RecordBatch"): "return batch.to_pylist() for its rows",
}
"""What to return instead of types that iterate over letters, numbers or columns."""


def listed_items(call: BoundCall, result: Any, mapped: str) -> list[Any]:
    """The items of a map's source, in the order that is recorded with them.

    Raises ResultError for what has no items, and for text, bytes, tables and files, whose items
    would not be what is meant. Errors of an iterable's own code come out unchanged.
    """
    kind = type(result)
    instead = _instead(kind)
    items = None if instead else _iterator(result)
    if items is None:
        advice = f": {instead}" if instead else ""
        raise ResultError(
            "TypeError",
            f"step '{call.name}' returned {kind.__name__}, but .map({mapped}) needs a list or "
            f"another iterable{advice}",
        )
    return list(items)


def _iterator(result: Any) -> Iterator[Any] | None:
    try:
        items: Iterator[Any] = iter(result)
    except TypeError as error:
        if users_frames(error) is not None:
            raise
        return None
    return items


def _instead(kind: type) -> str | None:
    """What to return instead of a type that cannot be a source; None for one that can."""
    for each in kind.__mro__:
        known = _INSTEAD.get((each.__module__.partition(".")[0], each.__name__))
        if known is not None:
            return known
    if hasattr(kind, "__dataframe__"):  # the data frame interchange protocol
        return "return a list of its rows"
    if is_file(kind):
        return "return list(file) for its lines, or read it in the step"
    return None
