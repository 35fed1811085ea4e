"""Tables of pandas, Polars, Arrow and NumPy, and lists of dicts, as JSON of a bounded size.

None of the libraries is imported: a value's classes say what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from math import isfinite
from typing import Any, NamedTuple

MOST_ROWS = 1_000
MOST_COLUMNS = 100
MOST_CHARACTERS = 1_000_000
"""Of all cells together."""
_LONGEST_CELL = 1_000


class Table(NamedTuple):
    """A table; ``total``: its number of rows, also of those that are not read."""

    columns: Sequence[Any]
    rows: Iterable[Sequence[Any]]
    total: int


def table_of(value: Any) -> Table | None:
    """The table that a value is; None if it is none."""
    for kind in type(value).__mro__:
        read = _KINDS.get((kind.__module__.partition(".")[0], kind.__name__))
        if read is not None:
            return read(value)
    if isinstance(value, Mapping):
        return _of_dicts([value])
    if isinstance(value, list | tuple) and value and all(isinstance(row, Mapping) for row in value):
        return _of_dicts(value)
    return None


def as_json(table: Table) -> str:
    """A table as JSON: ``columns``, ``rows`` and ``total``, and ``cut``, what is left out."""
    columns = [_text(name) for name in table.columns[:MOST_COLUMNS]]
    rows: list[list[Any]] = []
    left = MOST_CHARACTERS
    for row in islice(table.rows, MOST_ROWS):
        cells = [_cell(each) for each in row[:MOST_COLUMNS]]
        left -= sum(len(str(each)) for each in cells)
        if left < 0:
            break
        rows.append(cells)
    parts = []
    if len(rows) < table.total:
        parts.append(f"the first {len(rows):,} of {table.total:,} rows")
    if len(columns) < len(table.columns):
        parts.append(f"the first {len(columns):,} of {len(table.columns):,} columns")
    found = {"columns": columns, "rows": rows, "total": table.total, "cut": ", ".join(parts)}
    return json.dumps(found, ensure_ascii=False)


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 1_000 else _text(hex(value))
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return _cell(value.item())
    return _text(value)


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"


# ---- kinds of tables -----------------------------------------------------------------------------


def _of_pandas(frame: Any) -> Table:
    """A DataFrame; with its index, unless that only counts the rows."""
    indexed = type(frame.index).__name__ != "RangeIndex"
    names = [name for name in frame.index.names if name is not None] if indexed else []
    index = [" / ".join(map(str, names))] if indexed else []
    rows = frame.head(MOST_ROWS).itertuples(index=indexed, name=None)
    return Table([*index, *frame.columns], rows, len(frame))


def _of_polars(frame: Any) -> Table:
    return Table(frame.columns, frame.head(MOST_ROWS).iter_rows(), frame.height)


def _of_arrow(table: Any) -> Table:
    part = table.slice(0, MOST_ROWS)
    columns = [part.column(at).to_pylist() for at in range(part.num_columns)]
    return Table(table.schema.names, zip(*columns, strict=True), table.num_rows)


def _of_array(array: Any) -> Table | None:
    """An array of one or two dimensions."""
    if array.ndim == 1:
        return Table([""], ([each] for each in array[:MOST_ROWS].tolist()), len(array))
    if array.ndim == 2:
        return Table(range(array.shape[1]), array[:MOST_ROWS].tolist(), len(array))
    return None


def _of_dicts(rows: Sequence[Mapping[Any, Any]]) -> Table:
    first = rows[:MOST_ROWS]
    columns = list(dict.fromkeys(chain.from_iterable(first)))
    return Table(columns, _picked(first, columns), len(rows))


def _picked(rows: Iterable[Mapping[Any, Any]], columns: Sequence[Any]) -> Iterator[list[Any]]:
    for row in rows:
        yield [row.get(name) for name in columns]


_KINDS: dict[tuple[str, str], Callable[[Any], Table | None]] = {
    ("pandas", "DataFrame"): _of_pandas,
    ("pandas", "Series"): lambda series: _of_pandas(series.to_frame()),
    ("polars", "DataFrame"): _of_polars,
    ("polars", "Series"): lambda series: _of_polars(series.to_frame()),
    ("pyarrow", "Table"): _of_arrow,
    ("pyarrow", "RecordBatch"): _of_arrow,
    ("numpy", "ndarray"): _of_array,
}
"""By the package and the name of a class."""
