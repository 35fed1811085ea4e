"""The globals that a step uses, as the engine's process has set them since the import.

A worker imports the step's module and does not know later assignments: those under
``if __name__ == "__main__":``, of a caller, or of another step. Plain values are sent along; they
replace those of the import where they differ from the values that the worker imported.
"""

from __future__ import annotations

from copy import deepcopy
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

from lokki.used import is_a, is_plain, used_globals

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
    names = (name for name in used_globals(function) if not name.startswith("__"))
    return {name: _setting(here[name]) for name in names if name in here}


def _setting(value: Any) -> tuple[bool, Any]:
    if is_plain(value, _MOST):
        return True, value
    return False, None if callable(value) or is_a(value, ModuleType) else type(value).__qualname__


def remember(module: ModuleType) -> None:
    """Record what a module has after its import here."""
    if id(module) not in _known:
        plain = {name: value for name, value in vars(module).items() if is_plain(value, _MOST)}
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


def _is_same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
