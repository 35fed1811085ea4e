"""The globals that a step uses: what the engine's process has set them to after the import.

A worker imports the step's module, and does not know what was assigned since: under
``if __name__ == "__main__":``, by a caller, or by another step. Plain values are sent along, and
take the place of the import's where they differ from what these were in the worker at first.
"""

from __future__ import annotations

import builtins
import dis
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from inspect import isfunction
from types import CodeType, FunctionType, ModuleType
from typing import Any, TypeAlias

from lokki.chain import Step

_SCALARS = frozenset({int, float, complex, str, bytes, bool, type(None)})
_CONTAINERS = frozenset({list, tuple, set, frozenset, dict})
_MOST = 1000
"""Elements of a container that is sent along, those of inner ones included."""

Settings: TypeAlias = dict[str, tuple[bool, Any]]
"""By name: True and a plain value, or False and the name of the type of another one."""

_known: dict[int, tuple[ModuleType, dict[str, Any]]] = {}
"""The plain globals of a module, by its id, as the engine's process has them for all we know."""


def settings_of(function: FunctionType) -> Settings:
    """The globals that a function uses, and the functions of its module that it may call."""
    here = function.__globals__
    found: Settings = {}
    for name in used_globals(function):
        value = here.get(name)
        if name not in here or callable(value) or isinstance(value, ModuleType | Step):
            continue
        plain = is_plain(value)
        found[name] = plain, value if plain else type(value).__qualname__
    return found


def remember(module: ModuleType) -> None:
    """Keep what a module has when it has been imported here."""
    if id(module) not in _known:
        plain = {name: value for name, value in vars(module).items() if is_plain(value)}
        _known[id(module)] = module, deepcopy(plain)


def adopt(module: ModuleType, settings: Settings) -> None:
    """Set what the engine's process has set.

    Not if other than plain values have been set there, too, such as a connection and the flag that
    says so: what a step does without the one it must not believe of the other.
    """
    here, known = vars(module), _known[id(module)][1]
    for name, (plain, value) in settings.items():
        if not plain and type(here.get(name)).__qualname__ != value:
            return
    for name, (plain, value) in settings.items():
        if plain and not (name in known and _is_same(known[name], value)):
            here[name], known[name] = value, deepcopy(value)


def lacking(function: FunctionType) -> str | None:
    """A global that a function uses, or one that it may call, and that is not there."""
    here = function.__globals__
    names = used_globals(function)
    return next((name for name in names if name not in here and not hasattr(builtins, name)), None)


def used_globals(function: FunctionType) -> Iterator[str]:
    """The names of globals in a function and in the functions of its module that it may call."""
    here = function.__globals__
    seen, left = {function.__code__}, [function.__code__]
    while left:
        for name in _globals_of(left.pop()):
            yield name
            value = here.get(name)
            inner: Any = value.fn if isinstance(value, Step) else value
            inner = getattr(inner, "__wrapped__", inner) if callable(inner) else inner
            if isfunction(inner) and inner.__globals__ is here and inner.__code__ not in seen:
                seen.add(inner.__code__)
                left.append(inner.__code__)


@cache
def _globals_of(code: CodeType) -> frozenset[str]:
    names = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(names.union(*map(_globals_of, inner)))


def is_plain(value: Any) -> bool:
    """Whether a value is of Python's own types through and through, and small."""
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
