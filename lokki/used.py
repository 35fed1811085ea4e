"""What a function uses of its module: the globals in it, and in the functions that it may call."""

from __future__ import annotations

import dis
from collections.abc import Iterator
from functools import cache, cached_property
from inspect import isfunction
from types import CodeType, FunctionType
from typing import Any

from lokki.steps import StepDefinition

SCALARS = frozenset({int, float, complex, str, bytes, bool, type(None)})
_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})


def used_globals(function: FunctionType) -> set[str]:
    """The names of globals in a function and in the functions it may call in its module."""
    here = function.__globals__
    names: set[str] = set()
    seen, left = {function.__code__}, [function.__code__]
    while left:
        news = _globals_of(left.pop()) - names
        names |= news
        for inner in {each for name in news for each in functions_in(here.get(name))}:
            if inner.__globals__ is here and inner.__code__ not in seen:
                seen.add(inner.__code__)
                left.append(inner.__code__)
    return names


def functions_in(value: Any) -> Iterator[FunctionType]:
    """The functions of a global: of a step, of a class, or wrapped by a decorator."""
    members = [value.fn if is_a(value, StepDefinition) else value]
    if isinstance(value, type):
        members = [getattr(each, "__func__", each) for each in vars(value).values()]
        members += [each.fget for each in members if isinstance(each, property)]
        members += [each.func for each in members if isinstance(each, cached_property)]
    for each in members:
        if callable(each) and not isinstance(each, type):
            yield from filter(isfunction, (each, getattr(each, "__wrapped__", None)))


@cache
def _globals_of(code: CodeType) -> frozenset[str]:
    names = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(names.union(*map(_globals_of, inner)))


def is_plain(value: Any, most: int) -> bool:
    """Whether a value consists only of Python's own types, and of at most ``most`` elements."""
    count, left = 0, [value]
    while left:
        each = left.pop()
        kind = type(each)
        if kind in _CONTAINERS and len(each) <= most - count:
            count += len(each)
            left += [*each, *each.values()] if kind is dict else each
        elif kind not in SCALARS:
            return False
    return True


def is_a(value: Any, kind: type) -> bool:
    """Like isinstance, but without asking the value, which may be a proxy."""
    return issubclass(type(value), kind)
