"""Contexts of calls: each call of a step begins in a copy of its run's context variables.

No other call sees what a call sets, nor does the caller that started the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from operator import attrgetter
from typing import Any

_how = attrgetter("prec", "rounding", "flags", "traps", "Emin", "Emax", "capitals", "clamp")
"""How a context of `decimal` works; two contexts themselves compare by identity."""


def fresh_contexts() -> Callable[[], Context]:
    """Return a function that returns copies of the current context, as it is now.

    The copies share values, as contexts do, except for the context of `decimal`: each copy has its
    own, since code usually changes it in place.
    """
    present = copy_context()
    decimals = _decimal_contexts(present)
    if not decimals:
        return present.copy

    def fresh() -> Context:
        context = present.copy()
        for variable, value in decimals:
            context.run(variable.set, value.copy())
        return context

    return fresh


def _decimal_contexts(context: Context) -> list[tuple[ContextVar[Any], Any]]:
    decimal = sys.modules.get("decimal")
    if decimal is None:  # nobody has one
        return []
    return [
        (variable, value.copy())
        for variable, value in context.items()
        if issubclass(type(value), decimal.Context)
    ]


def watched() -> Callable[[], bool]:
    """Return a function that tells whether the current context is still as it is now.

    It looks into the context of `decimal`, since code usually changes that in place.
    """
    before = copy_context()
    decimals = [(before[variable], was) for variable, was in _decimal_contexts(before)]

    def same() -> bool:
        try:
            return copy_context() == before
        except Exception:  # some values cannot be compared
            return False

    def unchanged() -> bool:
        return same() and all(_how(now) == _how(was) for now, was in decimals)

    return unchanged if decimals else same
