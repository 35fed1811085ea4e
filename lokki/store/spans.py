"""Spans: consecutive items that succeeded at their first attempt, recorded in one row.

Most items of a large map are like this. A row of their own would cost more than a short call.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias

from lokki.errors import PayloadError
from lokki.store.codec import PROTOCOL, SMALL, dumps_plain

MOST_ITEMS = 4096
"""The most items of a span."""
_LEAST_INT, _MOST_INT = -(2**63), 2**63 - 1
_INTEGERS, _SIZED, _UNLIMITED = (
    frozenset(map(id, kinds)) for kinds in ((int,), (str, bytes), (float, bool, type(None)))
)

Entry: TypeAlias = Any
"""A result in a span: itself if `is_plain`; otherwise what `compress_small` makes of its pickle, at
most `SMALL` bytes, in a tuple of one."""


def is_plain(value: Any) -> bool:
    """Whether a value is a small number or text, which a span has as it is."""
    kind = type(value)
    if kind is int:
        return bool(_LEAST_INT <= value <= _MOST_INT)
    if kind is str or kind is bytes:
        return len(value) <= SMALL
    return kind is float or kind is bool or value is None


def are_plain(values: Sequence[Any]) -> bool:
    """Whether all values are plain: `is_plain` of each takes long for many."""
    kinds = set(map(id, map(type, values)))  # by id: a metaclass may have a hash of its own
    if kinds == _INTEGERS:
        return bool(min(values) >= _LEAST_INT and max(values) <= _MOST_INT)
    if kinds and kinds <= _SIZED:
        return max(map(len, values)) <= SMALL
    return kinds <= _UNLIMITED or all(map(is_plain, values))


class Span(NamedTuple):
    """A recorded span. ``times`` are those at which each item finished, ``results`` its entries.

    An item began when the one before it had finished, the first one at ``started``. Times are
    seconds since the epoch, stored as little-endian doubles.
    """

    first: int
    length: int
    started: float
    times: bytes
    results: bytes

    @classmethod
    def of(cls, first: int, started: float, ends: Sequence[float], results: list[Entry]) -> Span:
        count = len(ends)
        times = struct.pack(f"<{count}d", *ends)
        return cls(first, count, started, times, dumps_plain(results, PROTOCOL))

    @property
    def indices(self) -> range:
        """The indices of its items."""
        return range(self.first, self.first + self.length)

    def ends(self) -> tuple[float, ...]:
        """The times at which its items finished."""
        return struct.unpack(f"<{self.length}d", self.times)

    def finished(self) -> float:
        """The time at which its last item finished."""
        found: float = struct.unpack("<d", self.times[-8:])[0]
        return found

    def entries(self) -> list[Entry]:
        """The results. Raises PayloadError for damaged ones; calls no code of the user's."""
        try:
            found = _Loader(io.BytesIO(self.results)).load()
        except Exception as error:
            raise PayloadError(f"stored data is damaged: {error}") from error
        if type(found) is not list or len(found) != self.length:
            raise PayloadError("stored data is damaged: results are missing")
        return found

    def packed(self) -> Iterator[bytes]:
        """Its results, each packed."""
        for entry in self.entries():
            yield entry[0] if type(entry) is tuple else dumps_plain(entry, PROTOCOL)


class _Loader(pickle.Unpickler):
    """Reads entries, which need no classes."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise PayloadError(f"it refers to {module}.{name}")
