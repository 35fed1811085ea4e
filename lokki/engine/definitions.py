"""Describes the calls of a stage to worker processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from inspect import getclosurevars, isfunction
from itertools import count
from typing import Any, NamedTuple

from lokki.call import BoundCall
from lokki.engine.by_name import Way, dumps_call, dumps_input
from lokki.engine.program import Program
from lokki.engine.sliced import Traits
from lokki.errors import PayloadError
from lokki.secret import sendable
from lokki.store.codec import dumps_by_value

_ids = count()


class Described(NamedTuple):
    """Calls as a worker receives them, under a unique key, pickled in one ``way``."""

    key: int
    definition: bytes
    way: Way


class Definitions:
    """The descriptions of one stage's calls. Methods raise PayloadError."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.way = Way.ANY_NAME
        self._unfound = ""
        self._lock = threading.Lock()
        self._described: dict[tuple[tuple[BoundCall, ...], Way], Described] = {}

    def describe(self, calls: tuple[BoundCall, ...], traits: Traits) -> Described:
        """The description of calls and of their stage; made once for each way."""
        way = self.way
        found = self._described.get((calls, way))
        if found is not None:
            return found
        with self._lock:
            if (calls, way) not in self._described:
                definition = self._definition(calls, traits, way)
                self._described[calls, way] = Described(next(_ids), definition, way)
            return self._described[calls, way]

    def _definition(self, calls: tuple[BoundCall, ...], traits: Traits, way: Way) -> bytes:
        try:
            with sendable():
                return dumps_call((calls, traits), self.program, way)
        except PayloadError as error:
            call, why = _unsendable_of(calls) or (calls[0], error)
            raise PayloadError(
                f"the function of step '{call.name}' cannot be sent to a worker process: "
                f"{why}; make it inside the step, or in a module that the step imports"
                f"{self._unfound}"
            ) from error

    def try_next(self, way: Way, why: str) -> None:
        """Send calls in another way from now on, since a worker could not load one."""
        if way is Way.VALUE:
            raise PayloadError(f"a worker process cannot load the call: {why}")
        self.way, self._unfound = Way(way + 1), f" ({why})"

    def input(self, call: BoundCall, value: Any, way: Way) -> bytes:
        """The pickle of an input."""
        try:
            return dumps_input(value, self.program, way)
        except PayloadError as error:
            raise PayloadError(
                f"the input of step '{call.name}' cannot be sent to a worker process: {error}"
            ) from error


def _unsendable_of(calls: tuple[BoundCall, ...]) -> tuple[BoundCall, str] | None:
    """The first call whose function takes along what cannot be sent, and what that is."""
    found = ((call, _unsendable(call.invoke)) for call in calls)
    return next(((call, why) for call, why in found if why is not None), None)


def _unsendable(function: Any) -> str | None:
    """What a function takes along that cannot be sent, and why; plain values first."""
    for name, value in sorted(_taken_along(function), key=lambda taken: callable(taken[1])):
        try:
            dumps_by_value(value)
        except PayloadError as error:
            return f"{name}: {error}"
    return None


def _taken_along(function: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(function, partial):
        yield from ((f"its argument '{name}'", value) for name, value in function.keywords.items())
        yield from (("an argument", value) for value in function.args)
        for inner in (function.func, *function.args):
            yield from _taken_along(inner)
    elif isfunction(function):
        used = getclosurevars(function)
        yield from ((f"the global '{name}'", value) for name, value in used.globals.items())
        yield from ((f"the variable '{name}'", value) for name, value in used.nonlocals.items())
