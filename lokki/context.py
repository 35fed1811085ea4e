"""Contexts of calls: each call of a step begins in a copy of its run's context variables.

What a call sets is gone with it: no other call sees it, nor does whoever started the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from types import coroutine
from typing import Any, TypeVar

from lokki import forks

T = TypeVar("T")


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


@coroutine
def run_in(context: Context, work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await ``work`` in a context of its own, within the task that awaits this.

    A task for it alone would cost more than a short call does.
    """
    run, send, here = context.run, work.send, forks.count
    try:
        awaited = run(send, None)
        while True:
            if forks.count != here:
                forks.end_child()
            try:
                answer = yield awaited
            except GeneratorExit:
                run(work.close)
                raise
            except BaseException as error:
                awaited = run(work.throw, error)
            else:
                if forks.count != here:  # by what else is on the loop
                    forks.end_child()
                awaited = run(send, answer)
    except StopIteration as done:
        result: T = done.value
        return result
