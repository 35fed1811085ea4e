"""Results as JSON, without running user code.

A result is a pickle. Only Python's own data types are created here; nothing else is ever called. A
value that contains another type is described by its type, and can be downloaded as it is.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import math
import pickle
import uuid
from collections.abc import Callable
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
"""Most bytes of the pickle of a value that is shown."""
_LONGEST_STORED = 1_010_000
"""A payload with more bytes certainly has a longer pickle, compressed or not."""
_LARGE = "a large value"
_MOST_VALUES = 200_000
_MOST_PRINTED = 5_000_000


class _Foreign(Exception):
    """A value contains a type that is not one of Python's own."""


class _NoItem(Exception):
    """A list is shorter than that."""


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


def _itself(value: Any) -> Any:
    return value


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
    """A packed value of Python's own types, of limited size. Raises NotShown."""
    return _loaded(packed)[0]


def shown(packed: bytes) -> dict[str, Any]:
    """A packed value as ``{"json": …}``, or as ``{"type": …, "bytes": …}``."""
    try:
        return {"json": _loaded(packed)[1]}
    except NotShown as error:
        return error.description


def shown_item(packed: bytes, index: int) -> dict[str, Any] | None:
    """An item of a packed list, like `shown`; None if there is no such item."""

    def item(value: Any) -> Any:
        try:
            return value[index]
        except IndexError:
            raise _NoItem from None

    try:
        return {"json": _loaded(packed, item)[1]}
    except _NoItem:
        return None
    except NotShown as error:
        return error.description


def check_length(stored: int | None) -> None:
    """Raise NotShown for a payload of this length, if it is known to be too large."""
    if stored is not None and stored > _LONGEST_STORED:
        raise NotShown(_LARGE, stored)


def whole(raw: bytes) -> Any:
    """The JSON value of a pickle of any length. Raises NotShown."""
    return _read(raw, _MOST_PRINTED)[1]


def text(value: Any) -> str:
    """A value as printed, with the end of line."""
    return f"{value}\n".encode("utf-8", "backslashreplace").decode()


def _loaded(packed: bytes, part: Callable[[Any], Any] = _itself) -> tuple[Any, Any]:
    """A part of a value, and the JSON value of that."""
    try:
        raw = pickle_in(packed, _LONGEST)
    except PayloadTooLarge as error:
        raise NotShown(_LARGE, error.size) from None
    return _read(raw, _MOST_VALUES, part)


def _read(raw: bytes, most: int, part: Callable[[Any], Any] = _itself) -> tuple[Any, Any]:
    """A part of a value, and its JSON value, if that has at most this many values."""
    try:
        value = part(_plain(raw))
        return value, plain(_Plainer(most).plain(value))
    except _Foreign as error:
        raise NotShown(str(error), len(raw)) from None
    except _NoItem:
        raise
    except Exception:  # JSON cannot hold it, or it is too deep
        raise NotShown("a value that JSON cannot hold", len(raw)) from None


class _Plainer:
    """Makes a JSON value of a value; an error if it becomes too large."""

    def __init__(self, most: int) -> None:
        self._left = most

    def plain(self, value: Any, deep: int = DEEPEST) -> Any:
        """A value as a JSON value; sets and tuples become lists, times ISO 8601."""
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
