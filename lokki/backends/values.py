"""Results as JSON, without running user code.

A result is a pickle. Only Python's own data types are created here; nothing else is ever called.
Arrays of NumPy are shown as lists. A value that contains another type is described by its type, and
can be downloaded as it is.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import json
import math
import pickle
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Self

from lokki.backends import arrays
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
_LONGEST_LIST = 10_000_000
"""Most bytes of the pickle of a list of which an item is shown."""
_MORE = 1.01
"""A payload that is longer by this factor certainly has a longer pickle, compressed or not."""
_LARGE = "a large value"
OF_LONG_LIST = {"type": "an item of a large list"}
_NOT_JSON = "a value that JSON cannot hold"
_ARRAY = "numpy.ndarray"
_MOST_VALUES = 200_000
_MOST_PRINTED = 5_000_000
_MOST_IN_TEXT = 1_000
"""Most values in an item of which the beginning is shown."""
_LONGEST_TEXT = 120


class _Foreign(Exception):
    """A value contains a type that is not one of Python's own."""


class _Standin:
    """Any object of a type that is not one of Python's own, in a list of which an item is shown."""

    kind = ""

    def __new__(cls, *_: object, **__: object) -> Self:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def _ignored(self, *_: object) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignored

    def __repr__(self) -> str:
        raise _Foreign(self.kind)


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == OF_ITEM:
            return _plain
        try:
            return _SAFE[module, name]
        except KeyError:
            parts = [*module.split("."), name]
            return self._foreign(".".join(part for part in parts if not part.startswith("_")))

    def persistent_load(self, pid: Any) -> Any:
        raise _Foreign("persistent")

    def _foreign(self, kind: str) -> Any:
        raise _Foreign(kind)


class _Shown(_Plain):
    """Also makes an `Array` of an array or number of NumPy."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == OF_ITEM:
            return _shown
        reader = arrays.READERS.get((module, name))
        return super().find_class(module, name) if reader is None else reader


class _PlainList(_Shown):
    """Only the item that is shown must be of types that can be shown."""

    def _foreign(self, kind: str) -> Any:
        return type("Standin", (_Standin,), {"kind": kind})


def _plain(raw: bytes) -> Any:
    return _Plain(io.BytesIO(raw)).load()


def _shown(raw: bytes) -> Any:
    return _Shown(io.BytesIO(raw)).load()


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
    return _read(_unpacked(packed), _plain, _MOST_VALUES)[0]


def shown(packed: bytes) -> dict[str, Any]:
    """A packed value as ``{"json": …}``, or as ``{"type": …, "bytes": …}``."""
    try:
        return {"json": _read(_unpacked(packed), _shown, _MOST_VALUES)[1]}
    except NotShown as error:
        return error.description


def shown_item(packed: bytes, index: int) -> dict[str, Any] | None:
    """An item of a packed list as ``{"json": …}``, or as ``{"type": …}``; None if it has none."""
    try:
        raw = pickle_in(packed, _LONGEST_LIST)
    except PayloadTooLarge:
        return OF_LONG_LIST
    try:
        item = _PlainList(io.BytesIO(raw)).load()[index]
        found = plain(_Plainer(_MOST_VALUES).plain(item))
    except IndexError:
        return None
    except _Foreign as error:
        return {"type": str(error)}
    except Exception:  # JSON cannot hold it, or it is too deep
        return {"type": _NOT_JSON}
    size = len(json.dumps(found))
    return {"json": found} if size <= _LONGEST else {"type": _LARGE, "bytes": size}


def item_texts(packed: bytes, indices: Iterable[int]) -> dict[int, str]:
    """The beginnings of items of a packed list as JSON, or their types; none of a large list."""
    try:
        items = _PlainList(io.BytesIO(pickle_in(packed, _LONGEST_LIST))).load()
        return {index: _beginning(items[index]) for index in indices if index < len(items)}
    except Exception:  # it is too large, or no list
        return {}


def _beginning(item: Any) -> str:
    try:
        found = plain(_Plainer(_MOST_IN_TEXT).plain(item))
        text = json.dumps(found, ensure_ascii=False)
    except _Foreign as error:
        return str(error)
    except Exception:  # JSON cannot hold it, or it is too long for a line
        return type(item).__name__
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def check_length(stored: int | None) -> None:
    """Raise NotShown for a payload of this length, if it is known to be too large."""
    if stored is not None and stored > _LONGEST * _MORE:
        raise NotShown(_LARGE, stored)


def is_too_long_a_list(stored: int | None) -> bool:
    """Whether no item of a payload of this length can be shown."""
    return stored is not None and stored > _LONGEST_LIST * _MORE


def whole(raw: bytes) -> Any:
    """The JSON value of a pickle of any length. Raises NotShown."""
    return _read(raw, _shown, _MOST_PRINTED)[1]


def text(value: Any) -> str:
    """A value as printed, with the end of line."""
    return f"{value}\n".encode("utf-8", "backslashreplace").decode()


def _unpacked(packed: bytes) -> bytes:
    try:
        return pickle_in(packed, _LONGEST)
    except PayloadTooLarge as error:
        raise NotShown(_LARGE, error.size) from None


def _read(raw: bytes, load: Callable[[bytes], Any], most: int) -> tuple[Any, Any]:
    """A value and its JSON value, if that has at most this many values."""
    try:
        value = load(raw)
        return value, plain(_Plainer(most).plain(value))
    except _Foreign as error:
        raise NotShown(str(error), len(raw)) from None
    except Exception:  # JSON cannot hold it, or it is too deep
        raise NotShown(_NOT_JSON, len(raw)) from None


def _nested(array: arrays.Array) -> Any:
    try:
        return array.nested()
    except arrays.Unknown:
        raise _Foreign(_ARRAY) from None


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
            case arrays.Array():
                return self.plain(_nested(value), deep)
        return str(value)
