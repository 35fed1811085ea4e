"""The globals that a step uses, as the engine's process has set them since the import.

A worker imports the step's module and does not know later assignments: those under
``if __name__ == "__main__":``, of a caller, or of another step. Plain values are sent along; they
replace those of the import where they differ from the values that the worker imported.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from copy import deepcopy
from functools import cache, cached_property
from inspect import isfunction
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

from lokki.steps import StepDefinition

_SCALARS = frozenset({int, float, complex, str, bytes, bool, type(None)})
_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})
_MOST = 1000
"""Most elements of a container that is sent along, including inner ones."""


class Unfound(Exception):
    """A worker's module lacks something that the engine's has."""


Settings: TypeAlias = dict[str, tuple[bool, Any]]
"""By name: True and a plain value; otherwise False and the name of the value's type, or None for
what only an import makes: functions, classes and modules.
"""

_known: dict[int, tuple[ModuleType, dict[str, Any]]] = {}
"""The plain globals of a module, by its id, as last known from the engine's process."""


def settings_of(function: FunctionType) -> Settings:
    """The globals that a function and the functions it may call in its module use."""
    here = function.__globals__
    names = (name for name in _used_globals(function) if not name.startswith("__"))
    return {name: _setting(here[name]) for name in names if name in here}


def _setting(value: Any) -> tuple[bool, Any]:
    if is_plain(value):
        return True, value
    return False, None if callable(value) or _is(value, ModuleType) else type(value).__qualname__


def remember(module: ModuleType) -> None:
    """Record what a module has after its import here."""
    if id(module) not in _known:
        plain = {name: value for name, value in vars(module).items() if is_plain(value)}
        _known[id(module)] = module, deepcopy(plain)


def adopt(module: ModuleType, settings: Settings) -> None:
    """Set what the engine's process has set. Raises Unfound for what is missing.

    Nothing is set if values that are not plain were set there, too, such as a connection beside the
    flag that says it is open: a step without the connection must not see the flag.
    """
    here, known = vars(module), _known[id(module)][1]
    for name, (plain, value) in settings.items():
        if not plain and name not in here:
            raise Unfound(f"'{name}' is not set by importing {here.get('__file__')}")
        if not plain and value not in (None, type(here[name]).__qualname__):
            return
    for name, (plain, value) in settings.items():
        if plain and not (name in known and _is_same(known[name], value)):
            here[name], known[name] = value, deepcopy(value)


def _used_globals(function: FunctionType) -> set[str]:
    """The names of globals in a function and in the functions it may call in its module."""
    here = function.__globals__
    names: set[str] = set()
    seen, left = {function.__code__}, [function.__code__]
    while left:
        news = _globals_of(left.pop()) - names
        names |= news
        for inner in {each for name in news for each in _functions_in(here.get(name))}:
            if inner.__globals__ is here and inner.__code__ not in seen:
                seen.add(inner.__code__)
                left.append(inner.__code__)
    return names


def _functions_in(value: Any) -> Iterator[FunctionType]:
    """The functions of a global: of a step, of a class, or wrapped by a decorator."""
    members = [value.fn if _is(value, StepDefinition) else value]
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


def is_plain(value: Any) -> bool:
    """Whether a value consists only of Python's own types, and is small."""
    count, left = 0, [value]
    while left:
        each = left.pop()
        kind = type(each)
        if kind in _CONTAINERS and len(each) <= _MOST - count:
            count += len(each)
            left += [*each, *each.values()] if kind is dict else each
        elif kind not in _SCALARS:
            return False
    return True


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _is(value: Any, kind: type) -> bool:
    """Like isinstance, but without asking the value, which may be a proxy."""
    return issubclass(type(value), kind)
