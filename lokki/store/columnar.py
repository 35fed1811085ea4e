"""Pickles columns of pyarrow and polars without the data that they do not show.

An Arrow slice refers to the buffers of the whole, and pickle writes whole buffers: two hundred
slices of a table would be stored as two hundred tables. NumPy, pandas and polars store what a view
or a slice shows. A polars LazyFrame stores all its input, which may be more than its output.
"""

from __future__ import annotations

import pickle
import sys
from functools import cache
from typing import Any

from lokki.errors import PayloadError

_WORTHWHILE = 4_096
_MUCH_MORE = 1.25
"""From this many bytes of buffers on, and if it shows far less, an array is copied first."""
_MOST_LAZY = 1024 * 1024
"""Most bytes of a LazyFrame: its plan, and the frames in memory that it reads."""

_modules = sys.modules


def present() -> bool:
    """Whether a value may contain such columns: only if their library is imported."""
    return "pyarrow" in _modules or "polars" in _modules


class Pickler(pickle.Pickler):
    """A pickler that stores what columns show. Raises PayloadError like `reduced`."""

    def reducer_override(self, obj: Any) -> Any:
        return reduced(obj)


def reduced(value: Any) -> Any:
    """What a pickler's ``reducer_override`` returns for a value.

    Raises PayloadError for a LazyFrame with much data in memory.
    """
    if not isinstance(value, _kinds("pyarrow" in _modules, "polars" in _modules)):
        return NotImplemented
    reduction = _compact(value).__reduce_ex__(5)
    if type(value).__name__ == "LazyFrame" and (size := len(reduction[2])) > _MOST_LAZY:
        raise PayloadError(
            f"a polars LazyFrame is stored with all its input, {size:,} bytes in memory: "
            "return frame.collect(), or a LazyFrame that scans a file"
        )
    return reduction


@cache
def _kinds(pyarrow: bool, polars: bool) -> tuple[type, ...]:
    kinds: list[type] = []
    if pyarrow:
        from pyarrow import Array

        kinds.append(Array)
    if polars:
        from polars import LazyFrame

        kinds.append(LazyFrame)
    return tuple(kinds)


def _compact(value: Any) -> Any:
    """An array with its own buffers, if its present ones have much more than it shows."""
    if not hasattr(value, "get_total_buffer_size"):
        return value
    size = value.get_total_buffer_size()
    if size <= _WORTHWHILE:
        return value
    import pyarrow as pa
    from pyarrow import types

    kind = value.type
    try:
        if types.is_string_view(kind):
            copy = value.cast(pa.large_string()).cast(kind)
        elif types.is_binary_view(kind):
            copy = value.cast(pa.large_binary()).cast(kind)
        elif types.is_union(kind) and kind.mode == "dense":
            copy = value.take(pa.array(range(len(value)), pa.int64()))
        elif types.is_list_view(kind) or types.is_large_list_view(kind):
            copy = pa.concat_arrays([value])  # nbytes counts the whole, too
        elif size <= _MUCH_MORE * value.nbytes:
            return value
        else:
            copy = pa.concat_arrays([value])
    except pa.ArrowException:  # a type that cannot be copied like this
        return value
    return copy if copy.get_total_buffer_size() < size else value
