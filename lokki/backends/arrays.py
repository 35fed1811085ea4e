"""Arrays and numbers of NumPy in pickles, read without NumPy, and without calling any of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

_CODES = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I",
    "u8": "Q", "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip
"""How `struct` names the types of numbers."""
_CHARACTER_BYTES = 4
_MOST_DIMENSIONS = 64
_DIGITS = 8
"""Of numbers with less precision than Python's."""


class Unknown(Exception):
    """An array of another type than numbers, truth values and texts."""


class _Type:
    """What a pickle tells of a ``numpy.dtype``."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name
        self.order = "<"

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def values(self, data: bytes) -> Sequence[Any]:
        """The values in the bytes of an array. Raises Unknown."""
        if self.name[0] == "U":
            step = _CHARACTER_BYTES * int(self.name[1:])
            code = "utf-32-be" if self.order == ">" else "utf-32-le"
            parts = (data[start : start + step] for start in range(0, len(data), step))
            return [part.decode(code).rstrip("\0") for part in parts]
        code = _CODES.get(self.name, "")
        if not code:
            raise Unknown
        count = len(data) // struct.calcsize(f"={code}")
        values = struct.unpack(f"{self.order}{count}{code}", data)
        return [float(f"{each:.{_DIGITS}g}") for each in values] if code in "ef" else values


class Array:
    """An array, or a number of NumPy, as it was pickled."""

    def __init__(
        self, data: Any = b"", kind: Any = None, shape: Any = (), order: str = "C"
    ) -> None:
        self._data = data
        self._kind = kind
        self._shape = shape
        self._order = order

    def __setstate__(self, state: Any) -> None:
        _, self._shape, self._kind, is_fortran, self._data = state
        self._order = "F" if is_fortran else "C"

    def nested(self) -> Any:
        """Its values in lists. Raises Unknown, ValueError for wrong sizes."""
        if not (isinstance(self._kind, _Type) and isinstance(self._data, bytes | bytearray)):
            raise Unknown
        values = self._kind.values(bytes(self._data))
        if len(self._shape) > _MOST_DIMENSIONS or prod(self._shape) != len(values):
            raise ValueError("an array has another number of values than its shape says")
        if not values:
            return []
        shape = list(self._shape)
        at = range(len(shape))
        if self._order == "F":
            strides = [prod(shape[:each]) for each in at]
        else:
            strides = [prod(shape[each + 1 :]) for each in at]
        return _lists(values, shape, strides, 0)

    def __str__(self) -> str:
        """As a key."""
        return str(self.nested())


def _lists(values: Sequence[Any], shape: list[int], strides: list[int], start: int) -> Any:
    if not shape:
        return values[start]
    (size, *sizes), (stride, *others) = shape, strides
    return [_lists(values, sizes, others, start + each * stride) for each in range(size)]


def _empty(*_: object) -> Array:
    """An array that gets its state later."""
    return Array()


def _scalar(kind: Any, data: Any = b"") -> Array:
    """A number, truth value or text of NumPy: an array without dimensions."""
    return Array(data, kind)


READERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _empty,  # only named, as what to reconstruct
    **{
        (f"numpy.{core}.{module}", name): reader
        for core in ("_core", "core")
        for module, name, reader in (
            ("numeric", "_frombuffer", Array),
            ("multiarray", "_reconstruct", _empty),
            ("multiarray", "scalar", _scalar),
        )
    },
}
"""What stands for the functions and classes that pickles of arrays name."""
