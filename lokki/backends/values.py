"""Results as JSON, without the code of those who made them.

A result is a pickle. Only types of Python's own that hold data are made here, nothing else is ever
called; a value with another type in it is described by its type, and may be downloaded as it is.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import math
import pickle
import uuid
from typing import Any

from lokki.errors import PayloadTooLarge
from lokki.store.codec import OF_ITEM, pickle_in
from lokki.store.shown import DEEPEST, plain

_SAFE = {
    ("builtins", name): kind
    for name, kind in {
        "set": set, "frozenset": frozenset, "complex": complex, "bytearray": bytearray,
        "range": range, "slice": slice,
    }.items()
} | {
    ("datetime", name): getattr(datetime, name)
    for name in ("date", "datetime", "time", "timedelta", "timezone")
} | {("decimal", "Decimal"): decimal.Decimal, ("uuid", "UUID"): uuid.UUID}  # fmt: skip
_LONGEST = 1_000_000
"""Bytes of the pickle of a value that is shown."""
_LONGEST_STORED = 1_010_000
"""Of more bytes, the pickle in a payload is certainly longer, compressed or not."""
_LARGE = "a large value"
_MOST_VALUES = 200_000
_MOST_PRINTED = 5_000_000


class _Foreign(Exception):
    """A value has a type in it that is not one of Python's own."""


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == OF_ITEM:
            return _plain
        try:
            return _SAFE[module, name]
        except KeyError:
            parts = [*module.split("."), name]
            raise _Foreign(".".join(part for part in parts if not part.startswith("_"))) from None

    def persistent_load(self, pid: Any) -> Any:
        raise _Foreign("persistent")


def _plain(raw: bytes) -> Any:
    return _Plain(io.BytesIO(raw)).load()


class NotShown(Exception):
    """A value that is described only by its ``type`` and ``bytes``."""

    def __init__(self, kind: str, size: int) -> None:
        super().__init__(kind, size)
        self.type = kind
        self.bytes = size

    @property
    def description(self) -> dict[str, Any]:
        return {"type": self.type, "bytes": self.bytes}


def loaded(packed: bytes) -> Any:
    """A packed value of Python's own types, not too much of it. Raises NotShown."""
    return _loaded(packed)[0]


def shown(packed: bytes) -> dict[str, Any]:
    """A packed value as ``{"json": …}``, or as ``{"type": …, "bytes": …}``."""
    try:
        return {"json": _loaded(packed)[1]}
    except NotShown as error:
        return error.description


def check_length(stored: int | None) -> None:
    """Raise NotShown for a payload of so many bytes, if they are known to be too many."""
    if stored is not None and stored > _LONGEST_STORED:
        raise NotShown(_LARGE, stored)


def whole(raw: bytes) -> Any:
    """What JSON has of a pickle, however long it is. Raises NotShown."""
    return _read(raw, _MOST_PRINTED)[1]


def text(value: Any) -> str:
    """A value as it is printed, with its line's end."""
    return f"{value}\n".encode("utf-8", "backslashreplace").decode()


def _loaded(packed: bytes) -> tuple[Any, Any]:
    """A value, and what JSON has of it."""
    try:
        raw = pickle_in(packed, _LONGEST)
    except PayloadTooLarge as error:
        raise NotShown(_LARGE, error.size) from None
    return _read(raw, _MOST_VALUES)


def _read(raw: bytes, most: int) -> tuple[Any, Any]:
    """A value, and what JSON has of it, if it is not of more than so many values."""
    try:
        value = _plain(raw)
        return value, plain(_Plainer(most).plain(value))
    except _Foreign as error:
        raise NotShown(str(error), len(raw)) from None
    except Exception:  # it is no JSON, or too deep
        raise NotShown("a value that JSON has no words for", len(raw)) from None


class _Plainer:
    """Makes JSON of a value; of one that would become too much of it, an error."""

    def __init__(self, most: int) -> None:
        self._left = most

    def plain(self, value: Any, deep: int = DEEPEST) -> Any:
        """A value as JSON has it; sets and tuples become lists, times ISO 8601."""
        self._left -= 1
        if self._left < 0:  # a range, or lists that share their items, are short as pickles
            raise ValueError("too many values")
        if deep < 0:
            raise ValueError("nested too deeply")
        match value:
            case None | bool() | int() | str():
                return value
            case float():
                return value if math.isfinite(value) else str(value)
            case list() | tuple() | set() | frozenset() | range():
                return [self.plain(each, deep - 1) for each in value]
            case dict():
                return {str(key): self.plain(each, deep - 1) for key, each in value.items()}
            case bytes() | bytearray():
                return base64.b64encode(value).decode()
            case datetime.date() | datetime.time():
                return value.isoformat()
            case datetime.timedelta():
                return value.total_seconds()
        return str(value)
