"""Checks that a pickle can be read back, when its result is made.

Pickle writes some values that it cannot read: an exception whose ``__init__`` needs more than it
passed on, a class whose ``__setstate__`` fails. Found at once, this is a failure of the item; found
when the result is needed, it would end the whole run.
"""

from __future__ import annotations

from collections.abc import Iterable
from copyreg import _extension_registry  # type: ignore[attr-defined]
from datetime import date, datetime, time, timedelta, timezone
from itertools import chain, islice
from typing import Any, TypeAlias

from lokki.errors import PayloadError, ValueUnreadable, text_of
from lokki.store.codec import Chunks, dumps, dumps_chunks, loads, loads_chunks, type_name

_REFERENCE = b"\x93\x94"
"""STACK_GLOBAL, MEMOIZE: how a pickle of protocol 5 refers to a class or a function.

Other data may contain these bytes by chance; a pickle without them calls no code.
"""
_PLAIN = frozenset(
    {int, float, complex, str, bytes, bytearray, bool, type(None), range}
    | {date, timedelta, timezone}
)
_KNOWN = {("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID")} | {
    (module, name)
    for module in ("pathlib", "pathlib._local")
    for name in ("PosixPath", "PurePosixPath", "PureWindowsPath")
}
"""Types whose objects can be read back if pickled; by name where an import is slow."""
_OF_ZONES = ("datetime", "zoneinfo")
_CONTAINERS = frozenset({list, tuple, set, frozenset})
_MOST_LOOKED_AT = 1_000
_DEEPEST = 5


Copy: TypeAlias = tuple[Any]
"""The copy that was read back from a pickle."""


def written(value: Any, *, large: bool = False) -> tuple[bytes | Chunks, Copy | None]:
    """The pickle of a value, in chunks if ``large``, and the copy read back from it, if any.

    Raises PayloadError like `dumps`, and ValueUnreadable, naming the type that cannot be read back,
    with the cause attached.
    """
    raw = dumps_chunks(value) if large else dumps(value)
    if _is_sure(value, raw):
        return raw, None
    try:
        return raw, (loads_chunks(raw) if isinstance(raw, list) else loads(raw),)
    except PayloadError as error:
        raise ValueUnreadable(_why(value, error)) from error.__cause__


def _is_sure(value: Any, raw: bytes | Chunks) -> bool:
    """Whether a pickle can certainly be read back; does the cheaper check first."""
    if _extension_registry:
        return False
    if isinstance(raw, bytes):
        return not (0x93 in raw and _REFERENCE in raw) or _is_known(value)
    return _is_known(value) or not any(_REFERENCE in chunk for chunk in raw)


def _is_known(value: Any) -> bool:
    """Whether a value consists only of known types, judged by a part of it."""
    kind = type(value)
    if kind is not dict and kind not in _CONTAINERS:
        return kind in _PLAIN or _is_known_type(kind, value)
    waiting = [value]
    for _ in range(_MOST_LOOKED_AT):
        if not waiting:
            return True
        each = waiting.pop()
        kind = type(each)
        if kind is dict or kind in _CONTAINERS:
            waiting += _held(each)
        elif kind not in _PLAIN and not _is_known_type(kind, each):
            return False
    return False


def _held(container: Any) -> Iterable[Any]:
    """The first elements of one of Python's own containers."""
    if isinstance(container, dict):
        return islice(chain(container, container.values()), _MOST_LOOKED_AT)
    return islice(container, _MOST_LOOKED_AT)


def _is_known_type(kind: type, value: Any) -> bool:
    """Whether a value is of a known type, or a NumPy value without objects of other types."""
    if kind is datetime or kind is time:
        zone = value.tzinfo  # it may be of a user's type
        return zone is None or type(zone).__module__ in _OF_ZONES
    module = kind.__module__
    if module == "numpy":
        return getattr(getattr(value, "dtype", None), "hasobject", True) is False
    return (module, kind.__qualname__) in _KNOWN


# ---- why not -------------------------------------------------------------------------------------


def _why(value: Any, error: PayloadError) -> str:
    kind, part = type(value), type(_unreadable_part(value, _DEEPEST))
    cause = error.__cause__ or error
    error_text = f"{type(cause).__name__}: {text_of(cause)}"
    if part is kind:
        return f"a value of type '{type_name(kind)}' cannot be unpickled: {error_text}"
    return (
        f"a value of type '{type_name(kind)}' contains a '{type_name(part)}', which cannot be "
        f"unpickled: {error_text}"
    )


def _unreadable_part(value: Any, deep: int) -> Any:
    """The innermost part of a value that cannot be read back."""
    for part in _parts(value) if deep else ():
        try:
            loads(dumps(part))
        except PayloadError:
            return _unreadable_part(part, deep - 1)
    return value


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict) or type(value) in _CONTAINERS:
        return tuple(_held(value))
    return tuple(getattr(value, "__dict__", {}).values())
