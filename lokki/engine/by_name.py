"""Pickles for workers: they name what a module has, and hold the rest by value.

A worker finds a function by the name it has in the engine's module, even where a step or a
decorator stands in its place. For functions without a name (lambdas, nested functions), code and
closure are sent; their globals are those of the worker's module. A worker calls what it finds only
if the code is the engine's.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from functools import cache
from inspect import isfunction
from sys import modules
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from lokki.engine.importing import imported
from lokki.engine.program import Origin, Program
from lokki.engine.settings import Settings, Unfound, adopt, settings_of
from lokki.engine.sources import is_fixed
from lokki.errors import PayloadError
from lokki.steps import StepDefinition
from lokki.store.codec import dumps, dumps_by_value, loads, value_pickler, why_unwritable

_PROTOCOL = 5
_MOST_WRAPPERS = 100
_KEPT = ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__")


class Way(IntEnum):
    """How functions are sent, in the order of the attempts."""

    ANY_NAME = 0
    """By a name that the module has for it, even an alias."""
    OWN_NAME = 1
    """By the name it was defined with: an alias may have been set only after the import."""
    VALUE = 2
    """By value, unless a module other than the main one has it."""


def dumps_call(call: Any, program: Program, way: Way) -> bytes:
    """Calls for a worker that has imported the program, with the globals that their functions use.

    Raises PayloadError as ``lokki.store.codec.dumps`` does.
    """
    if way is Way.VALUE:
        return dumps_by_value((call, {}))
    pickler = _pickler()(program, way)
    try:  # the settings are complete once the call is pickled
        return bytes(pickler.dumps((call, pickler.settings)))
    except Exception as error:
        raise PayloadError(why_unwritable(call, error)) from error


def loads_call(raw: bytes) -> Any:
    """What ``dumps_call`` was given. Raises PayloadError when it is not to be had here."""
    try:
        call, settings = loads(raw)
        for origin, of_module in settings.items():
            adopt(imported(origin), of_module)
    except Unfound as error:
        raise PayloadError(str(error)) from error
    except PayloadError as error:
        if isinstance(error.__cause__, Unfound):
            raise PayloadError(str(error.__cause__)) from error
        raise
    return call


def dumps_input(value: Any, program: Program, way: Way) -> bytes:
    """An input for a worker that has imported the program. Raises PayloadError as ``dumps``."""
    if way is Way.VALUE:
        return dumps_by_value(value)
    with suppress(PayloadError):
        raw = dumps(value)
        if not (b"cloudpickle" in raw or (program.main is None and b"__main__" in raw)):
            return raw
    try:
        return bytes(_pickler()(program, way).dumps(value))
    except Exception as error:
        raise PayloadError(why_unwritable(value, error)) from error


def prepare() -> None:
    """Import what pickles calls, which takes some milliseconds."""
    _pickler()


@cache
def _pickler() -> Any:
    class Pickler(value_pickler()):  # type: ignore[misc]
        def __init__(self, program: Program, way: Way) -> None:
            self._buffer = io.BytesIO()
            super().__init__(self._buffer, _PROTOCOL)
            self._program = program
            self._way = way
            self.settings: dict[Origin, Settings] = {}

        def dumps(self, value: Any) -> bytes:
            self.dump(value)
            return self._buffer.getvalue()

        def reducer_override(self, obj: Any) -> Any:
            if not callable(obj) or issubclass(type(obj), StepDefinition | MethodType):
                return super().reducer_override(obj)
            module = _module_of(obj)
            origin = None if module is None else self._program.has(module)
            if module is not None and origin is not None:
                name = _name_in(module, obj, self._way)
                if name is not None and isinstance(obj, type):
                    return NotImplemented
                if name is not None:
                    if is_fixed(*origin) and _at(module, name) is obj:
                        return NotImplemented  # pickle's own way
                    self._note(module, origin, obj)
                    return _found, (origin, name, _fingerprint(obj))
                if isfunction(obj) and obj.__globals__ is vars(module):
                    self._note(module, origin, obj)
                    return _parts(obj, origin)
            return super().reducer_override(obj)

        def _note(self, module: ModuleType, origin: Origin, obj: Any) -> None:
            for each in _wrapped(obj):
                if isfunction(each) and each.__globals__ is vars(module):
                    self.settings.setdefault(origin, {}).update(settings_of(each))

    return Pickler


def _module_of(obj: Any) -> ModuleType | None:
    try:
        name = obj.__module__
    except Exception:  # whatever the user's __getattr__ raises
        return None
    found = modules.get(name) if isinstance(name, str) else None
    return found if issubclass(type(found), ModuleType) else None


def _name_in(module: ModuleType, obj: Any, way: Way) -> str | None:
    """The dotted name under which a module has a class or a function, or the step made of it."""
    try:
        name = obj.__qualname__
    except Exception:
        return None
    if not isinstance(name, str):
        return None
    if _plain(_at(module, name)) is obj:
        return name
    if isinstance(obj, type) or way is not Way.ANY_NAME:
        return None
    return next((key for key, value in [*vars(module).items()] if _plain(value) is obj), None)


def _at(module: ModuleType, name: str) -> Any:
    here: Any = module
    for part in name.split("."):
        try:
            here = getattr(here, part)
        except Exception:  # a module may have its own __getattr__, too
            return None
    return here


def _plain(value: Any) -> Any:
    """The function in a step or a method."""
    if issubclass(type(value), StepDefinition):
        value = value.fn
    return value.__func__ if type(value) is MethodType else value


def _found(origin: Origin, name: str, fingerprint: str) -> Any:
    """What the worker's module has under this name. Raises Unfound if it is something else."""
    value = _plain(_at(imported(origin), name))
    if not callable(value) or _fingerprint(value) != fingerprint:
        raise Unfound(f"{origin.file or origin.name} has a different '{name}' now, or none")
    return value


def _fingerprint(function: Any) -> str:
    """A text that is equal for functions with the same code, wrapped functions included."""
    described: list[str] = []
    for each in _wrapped(function):
        if isfunction(each):
            described += _described(each.__code__)
        else:
            described.append(type(each).__name__)
    return "\n".join(described)


def _wrapped(function: Any) -> Iterator[Any]:
    """A function and those it wraps, as far as its decorators record them."""
    for _ in range(_MOST_WRAPPERS):  # an object may have every attribute
        if not callable(function):
            return
        yield function
        function = getattr(function, "__wrapped__", None)


def _described(code: CodeType) -> Iterator[str]:
    yield f"{code.co_name} {code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _described(constant)
        else:
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


# ---- functions without a name ------------------------------------------------------------------


def _parts(function: FunctionType, origin: Origin) -> tuple[Any, ...]:
    cells = function.__closure__ or ()
    state = {
        "attributes": {name: getattr(function, name) for name in _KEPT},
        "annotations": _annotations(function),
        "own": vars(function),
        "cells": [_content(cell) for cell in cells],
    }
    return _made, (origin, function.__code__, len(cells)), state, None, None, _completed


def _annotations(function: FunctionType) -> dict[str, Any]:
    try:
        return function.__annotations__
    except Exception:  # since Python 3.14, annotations run here; names may be for type checkers
        return {}


def _content(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # the variable has no value yet
        return ()


def _made(origin: Origin, code: CodeType, cells: int) -> FunctionType:
    closure = tuple(CellType() for _ in range(cells))
    return FunctionType(code, vars(imported(origin)), code.co_name, None, closure or None)


def _completed(function: FunctionType, state: dict[str, Any]) -> None:
    for name, value in state["attributes"].items():
        setattr(function, name, value)
    function.__annotations__ = state["annotations"]
    vars(function).update(state["own"])
    for cell, content in zip(function.__closure__ or (), state["cells"], strict=True):
        if content:
            (cell.cell_contents,) = content
