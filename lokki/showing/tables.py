"""Tables of pandas, Polars, Arrow and NumPy, and lists of dicts, as JSON of a bounded size.

None of the libraries is imported: a value's classes say what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from math import isfinite
from typing import Any, NamedTuple


class Bounds(NamedTuple):
    """The most of a table that is read and shown; ``characters``: of all cells together."""

    rows: int
    columns: int
    characters: int
    cell: int


SHOWN = Bounds(rows=1_000, columns=100, characters=1_000_000, cell=1_000)
PREVIEWED = Bounds(rows=20, columns=30, characters=20_000, cell=200)


class Table(NamedTuple):
    """The beginning of a table, with the names of all columns; ``total``: how many rows it has."""

    columns: Sequence[Any]
    rows: Iterable[Sequence[Any]]
    total: int


def table_of(value: Any, most: Bounds = SHOWN) -> Table | None:
    """The table that a value is; None if it is none."""
    for kind in type(value).__mro__:
        read = _FRAMES.get(name := _name(kind)) or _OTHERS.get(name)
        if read is not None:
            return read(value, most)
    if isinstance(value, Mapping):
        return _of_dicts([value], most)
    if isinstance(value, list | tuple) and value and all(isinstance(row, Mapping) for row in value):
        return _of_dicts(value, most)
    return None


def is_frame(value: Any) -> bool:
    """Whether a value is a table of a library that stores columns, whose pickle is its own."""
    return any(_name(kind) in _FRAMES for kind in type(value).__mro__)


def as_json(table: Table, most: Bounds = SHOWN) -> str:
    """A table as JSON: ``columns``, ``rows`` and ``total``, and ``cut``, what is left out."""
    columns = [_text(name, most.cell) for name in table.columns[: most.columns]]
    rows: list[list[Any]] = []
    left = most.characters
    for row in islice(table.rows, most.rows):
        cells = [_cell(each, most.cell) for each in row[: most.columns]]
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


def _cell(value: Any, longest: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 1_000 else _text(hex(value), longest)
    if isinstance(value, float):
        return value if isfinite(value) else str(value)
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return _cell(value.item(), longest)
    return _text(value, longest)


def _text(value: Any, longest: int) -> str:
    text = str(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


# ---- kinds of tables -----------------------------------------------------------------------------


def _of_pandas(frame: Any, most: Bounds) -> Table:
    """A DataFrame; with its index, unless that only counts the rows."""
    indexed = type(frame.index).__name__ != "RangeIndex"
    names = [name for name in frame.index.names if name is not None] if indexed else []
    index = [" / ".join(map(str, names))] if indexed else []
    part = frame.iloc[: most.rows, : most.columns]
    rows = part.itertuples(index=indexed, name=None)
    return Table([*index, *frame.columns], rows, len(frame))


def _of_polars(frame: Any, most: Bounds) -> Table:
    part = frame[: most.rows, : most.columns]
    return Table(frame.columns, part.iter_rows(), frame.height)


def _of_arrow(table: Any, most: Bounds) -> Table:
    part = table.slice(0, most.rows)
    columns = [part.column(at).to_pylist() for at in range(min(part.num_columns, most.columns))]
    return Table(table.schema.names, zip(*columns, strict=True), table.num_rows)


def _of_array(array: Any, most: Bounds) -> Table | None:
    """An array of one or two dimensions."""
    if array.ndim == 1:
        return Table([""], ([each] for each in array[: most.rows].tolist()), len(array))
    if array.ndim == 2:
        return Table(range(array.shape[1]), array[: most.rows].tolist(), len(array))
    return None


def _of_dicts(rows: Sequence[Mapping[Any, Any]], most: Bounds) -> Table:
    first = rows[: most.rows]
    columns = list(dict.fromkeys(chain.from_iterable(first)))
    return Table(columns, _picked(first, columns), len(rows))


def _picked(rows: Iterable[Mapping[Any, Any]], columns: Sequence[Any]) -> Iterator[list[Any]]:
    for row in rows:
        yield [row.get(name) for name in columns]


def _name(kind: type) -> tuple[str, str]:
    return kind.__module__.partition(".")[0], kind.__name__


_FRAMES: dict[tuple[str, str], Callable[[Any, Bounds], Table]] = {
    ("pandas", "DataFrame"): _of_pandas,
    ("pandas", "Series"): lambda series, most: _of_pandas(series.to_frame(), most),
    ("polars", "DataFrame"): _of_polars,
    ("polars", "Series"): lambda series, most: _of_polars(series.to_frame(), most),
    ("pyarrow", "Table"): _of_arrow,
    ("pyarrow", "RecordBatch"): _of_arrow,
}
_OTHERS: dict[tuple[str, str], Callable[[Any, Bounds], Table | None]] = {
    ("numpy", "ndarray"): _of_array,
}
"""By the package and the name of a class."""
