"""Pickles for workers that name what a module has, and hold by value only what none has.

A function is found in the worker's module by the name it has in the engine's, also where a step or
a decorator stands there in its place. Of one that has no name (lambdas, functions in functions) the
code and closure are sent; its globals are those of the worker's module. What a worker finds is
called only if its code is the engine's.
"""

from __future__ import annotations

import builtins
import dis
import io
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from inspect import isfunction
from sys import modules
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from lokki.chain import Step
from lokki.engine.importing import imported
from lokki.engine.program import Origin, Program
from lokki.errors import PayloadError
from lokki.location import installed
from lokki.store.codec import value_pickler, why_unwritable

_PROTOCOL = 5
_KEPT = ("__name__", "__qualname__", "__module__", "__doc__", "__defaults__", "__kwdefaults__")


class Unfound(Exception):
    """The worker's module has not what the engine's has by that name."""


def dumps_by_name(value: Any, program: Program) -> bytes:
    """The pickle of a value, for a worker that has imported the program.

    Raises PayloadError as ``lokki.store.codec.dumps`` does.
    """
    buffer = io.BytesIO()
    try:
        _pickler()(buffer, program).dump(value)
    except Exception as error:
        raise PayloadError(why_unwritable(value, error)) from error
    return buffer.getvalue()


@cache
def _pickler() -> Any:
    class Pickler(value_pickler()):  # type: ignore[misc]
        def __init__(self, buffer: io.BytesIO, program: Program) -> None:
            super().__init__(buffer, _PROTOCOL)
            self._program = program

        def reducer_override(self, obj: Any) -> Any:
            if not callable(obj) or issubclass(type(obj), Step):
                return super().reducer_override(obj)
            module = _module_of(obj)
            origin = None if module is None else self._program.has(module)
            if module is not None and origin is not None:
                name = _name_in(module, obj)
                if name is not None and isinstance(obj, type):
                    return NotImplemented
                if name is not None:
                    if _is_fixed(origin) and _at(module, name) is obj:
                        return NotImplemented  # pickle's own way
                    return _found, (origin, name, _fingerprint(obj))
                if isfunction(obj) and obj.__globals__ is vars(module):
                    return _parts(obj, origin)
            return super().reducer_override(obj)

    return Pickler


def _is_fixed(origin: Origin) -> bool:
    """Whether a module is the same in every process: it is no user's, and has no steps."""
    return origin.file is None or installed(origin.file) or origin.name.startswith("lokki.")


def _module_of(obj: Any) -> ModuleType | None:
    try:
        name = obj.__module__
    except Exception:  # whatever the user's __getattr__ raises
        return None
    return modules.get(name) if isinstance(name, str) else None


def _name_in(module: ModuleType, obj: Any) -> str | None:
    """The dotted name by which a module has a class or a function, or the step made of it."""
    try:
        name = obj.__qualname__
    except Exception:
        return None
    if not isinstance(name, str):
        return None
    if _plain(_at(module, name)) is obj:
        return name
    if isinstance(obj, type):
        return None
    return next((key for key, value in [*vars(module).items()] if _plain(value) is obj), None)


def _at(module: ModuleType, name: str) -> Any:
    here: Any = module
    for part in name.split("."):
        here = getattr(here, part, None)
    return here


def _plain(value: Any) -> Any:
    return value.fn if issubclass(type(value), Step) else value


def _found(origin: Origin, name: str, fingerprint: str) -> Any:
    """What the worker's module has by this name. Raises Unfound when it is something else."""
    value = _plain(_at(imported(origin), name))
    if not callable(value) or _fingerprint(value) != fingerprint:
        raise Unfound(f"{origin.file or origin.name} has another '{name}' now, or none")
    if isfunction(value):
        _check_globals(value)
    return value


def _fingerprint(function: Any) -> str:
    """What tells whether two functions, and those they wrap, have the same code."""
    told: list[str] = []
    while function is not None:
        if isfunction(function):
            told += _told(function.__code__)
        else:
            told.append(type(function).__name__)
        function = getattr(function, "__wrapped__", None)
    return sha256("\n".join(told).encode(errors="surrogatepass")).hexdigest()


def _told(code: CodeType) -> Iterator[str]:
    yield f"{code.co_name} {code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _told(constant)
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
    except NameError:  # names for type checkers alone, from Python 3.14 on
        return {}


def _content(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # nothing has been assigned to the variable yet
        return ()


def _made(origin: Origin, code: CodeType, cells: int) -> FunctionType:
    closure = tuple(CellType() for _ in range(cells))
    function = FunctionType(code, vars(imported(origin)), code.co_name, None, closure or None)
    _check_globals(function)
    return function


def _completed(function: FunctionType, state: dict[str, Any]) -> None:
    for name, value in state["attributes"].items():
        setattr(function, name, value)
    function.__annotations__ = state["annotations"]
    vars(function).update(state["own"])
    for cell, content in zip(function.__closure__ or (), state["cells"], strict=True):
        if content:
            (cell.cell_contents,) = content


# ---- globals -----------------------------------------------------------------------------------


def _check_globals(function: FunctionType) -> None:
    """Raise Unfound when the function, or one that it may call, lacks a global here.

    It may have been set in the engine after the import, such as under ``__name__ == "__main__"``.
    """
    here, seen, left = function.__globals__, set(), [function.__code__]
    while left:
        for name in _globals_of(left.pop()):
            if name not in here and not hasattr(builtins, name):
                raise Unfound(f"'{name}' is not set by importing {here.get('__file__')}")
            inner = _plain(here.get(name))
            if isfunction(inner) and inner.__globals__ is here and inner not in seen:
                seen.add(inner)
                left.append(inner.__code__)


@cache
def _globals_of(code: CodeType) -> frozenset[str]:
    names = {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL"}
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    return frozenset(names.union(*map(_globals_of, inner)))
