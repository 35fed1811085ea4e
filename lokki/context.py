"""Contexts of calls: each call of a step begins in a copy of its run's context variables.

What a call sets is gone with it: no other call sees it, nor does whoever started the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any


def fresh_contexts() -> Callable[[], Context]:
    """Gives a function that gives copies of the present context, as it is now.

    Values are shared by the copies, as context variables always share them, save for the context
    of `decimal`, which is changed in place as a rule: each copy has its own.
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
    """Gives a function that tells whether the present context is still as it is now.

    Where it holds a context of `decimal`, it is taken for changed: it may be, in place.
    """
    before = copy_context()
    if _decimal_contexts(before):
        return lambda: False

    def unchanged() -> bool:
        try:
            return copy_context() == before
        except Exception:  # of values that cannot be compared
            return False

    return unchanged
