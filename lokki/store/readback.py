"""Whether what has been pickled can be read back, looked at when a result is made.

Pickle writes many a value that it cannot read: an exception whose ``__init__`` wants more than it
has passed on, a class whose ``__setstate__`` fails. Found at once, that is a failure of the item;
found when the result is needed, it would be one of the whole run.
"""

from __future__ import annotations

from collections.abc import Iterable
from copyreg import _extension_registry  # type: ignore[attr-defined]
from datetime import date, datetime, time, timedelta, timezone
from itertools import chain, islice
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, TypeAlias

from lokki.errors import PayloadError, ValueUnreadable, text_of
from lokki.store.codec import Chunks, dumps, dumps_chunks, loads, loads_chunks, type_name

_REFERENCE = b"\x93\x94"
"""STACK_GLOBAL, MEMOIZE: how a pickle of protocol 5 refers to a class or a function.

Other data may have these bytes by chance; nothing without them calls any code.
"""
_PLAIN = frozenset(
    {int, float, complex, str, bytes, bytearray, bool, type(None), range}
    | {date, timedelta, timezone, PosixPath, PurePosixPath, PureWindowsPath}
)
_KNOWN = {("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID")}
"""Types whose objects can be read back if they can be pickled; by name where an import costs."""
_OF_ZONES = ("datetime", "zoneinfo")
_CONTAINERS = frozenset({list, tuple, set, frozenset})
_MOST_LOOKED_AT = 1_000
_DEEPEST = 5


Copy: TypeAlias = tuple[Any]
"""What a pickle gave when it was read back."""


def written(value: Any, *, large: bool = False) -> tuple[bytes | Chunks, Copy | None]:
    """The pickle of a value, in chunks if ``large``, and what it gave where it was read back.

    Raises PayloadError as `dumps` does, and ValueUnreadable that names the type that cannot be
    read back, with the cause attached.
    """
    raw = dumps_chunks(value) if large else dumps(value)
    if _is_sure(value, raw):
        return raw, None
    try:
        return raw, (loads_chunks(raw) if isinstance(raw, list) else loads(raw),)
    except PayloadError as error:
        raise ValueUnreadable(_why(value, error)) from error.__cause__


def _is_sure(value: Any, raw: bytes | Chunks) -> bool:
    """Whether a pickle can be read back without a try; looks first where it costs less."""
    if _extension_registry:
        return False
    if isinstance(raw, bytes):
        return not (0x93 in raw and _REFERENCE in raw) or _is_known(value)
    return _is_known(value) or not any(_REFERENCE in chunk for chunk in raw)


def _is_known(value: Any) -> bool:
    """Whether a value consists of known types alone, as far as a look at a part of it shows."""
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
    """What a container of Python's own holds, or the first of it."""
    if isinstance(container, dict):
        return islice(chain(container, container.values()), _MOST_LOOKED_AT)
    return islice(container, _MOST_LOOKED_AT)


def _is_known_type(kind: type, value: Any) -> bool:
    """Whether a value is of a known type, or of NumPy's and holds no objects of others."""
    if kind is datetime or kind is time:
        zone = value.tzinfo  # which may be of the user's own type
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
        f"a value of type '{type_name(kind)}' holds a '{type_name(part)}', which cannot be "
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
