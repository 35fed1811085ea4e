"""Defaults of parameters: checked against their annotations, and never shared between runs."""

from __future__ import annotations

import copy
import types
from collections import abc, deque
from collections.abc import Iterable
from contextlib import suppress
from numbers import Complex, Integral, Real
from operator import is_
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

from lokki.secret import Secret

_NUMBERS: dict[object, type] = {int: Integral, float: Real, complex: Complex}
_MOST_ITEMS = 1_000
_PLAIN = frozenset({int, float, complex, bool, str, bytes, types.NoneType})
_CHANGEABLE = (list, dict, set, deque, bytearray)
_RECORDS = ("__dataclass_fields__", "__pydantic_fields__")


def fits(kind: Any, value: Any) -> bool:
    """Whether a value may fit an annotation; False only where it certainly does not.

    What only pydantic can check (constraints, the fields of a record) is not checked.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(member, value) for member in args)
    if origin is Annotated:
        return fits(args[0], value)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in args)
    if isinstance(kind, NewType):
        return fits(kind.__supertype__, value)
    cls = _NUMBERS.get(kind, origin or kind)
    if not isinstance(cls, type):
        return True  # Any, a type variable, an unresolved name
    with suppress(TypeError):  # from a class without isinstance: a Protocol, a TypedDict
        if not isinstance(value, cls) or (kind in _NUMBERS and isinstance(value, bool)):
            return False
        return _items_fit(args, value)
    return not hasattr(cls, "__total__") or isinstance(value, dict)


def _items_fit(args: tuple[Any, ...], value: Any) -> bool:
    if isinstance(value, Secret):
        return all(fits(kind, value.value) for kind in args)
    if isinstance(value, abc.Mapping) and len(args) == 2:
        return _all_fit(args[0], value) and _all_fit(args[1], value.values())
    if isinstance(value, tuple) and args and args[-1] is not Ellipsis and len(args) != 1:
        return len(args) == len(value) and all(map(fits, args, value))
    if isinstance(value, list | tuple | abc.Set) and args:
        return _all_fit(args[0], value)
    return True


def _all_fit(kind: Any, values: Iterable[Any]) -> bool:
    return all(fits(kind, each) for each, _ in zip(values, range(_MOST_ITEMS), strict=False))


def fresh(value: Any) -> Any:
    """A copy of what a run could change: lists, dicts, sets and records, and those in them.

    Anything else, and what cannot be copied, is returned as it is.
    """
    with suppress(RecursionError):  # it contains itself
        return _copied(value)
    return value


def own(default: Any) -> Any:
    """A default for one run: a copy as from `fresh`, also of arrays, whose values are in a buffer.

    Objects of other classes are returned as they are: the copy of a sentinel would be another one.
    """
    if type(default) in _PLAIN:
        return default
    with suppress(TypeError, BufferError, ValueError), memoryview(default) as buffer:
        if not buffer.readonly:
            return copy.deepcopy(default)
    return fresh(default)


def _copied(value: Any) -> Any:
    kind = type(value)
    if kind is set or (kind is list and _PLAIN.issuperset(map(type, value))):
        return value.copy()  # fifty times as fast
    if kind is list:
        return list(map(_copied, value))
    if kind is dict:
        return {key: _copied(each) for key, each in value.items()}
    if kind is tuple:
        copied = tuple(map(_copied, value))
        return value if all(map(is_, copied, value)) else copied
    if issubclass(kind, _CHANGEABLE) or any(hasattr(kind, each) for each in _RECORDS):
        with suppress(Exception):  # of the class's own code
            return copy.deepcopy(value)
    return value
