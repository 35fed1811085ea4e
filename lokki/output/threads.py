"""Makes the threads that a call starts, and its tasks in thread pools, part of the call.

What they print and log belongs to the call, and ``lokki.current()`` works there. An older thread
takes part in a call through the tasks that the call submits to its pool.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial, wraps
from threading import Thread
from typing import Any

from lokki.call import Running, in_thread, running
from lokki.output.hooks import Hook
from lokki.output.sinks import captured_call, end_lines

_Function = Callable[..., Any]


def _within(here: Running | None, function: _Function, /, *args: Any, **kwargs: Any) -> Any:
    """Run a task for a call in a thread of a pool."""
    before = running.set(here)
    try:
        return function(*args, **kwargs)
    finally:
        end_lines()
        running.reset(before)


def _all(here: Running, function: _Function, /, *args: Any, **kwargs: Any) -> None:
    """Everything that a thread does for a call, including the report of its own error."""
    running.set(here)
    try:
        function(*args, **kwargs)
    finally:
        end_lines()


def _bootstrap(thread: Any, bootstrap: Callable[[], None]) -> None:
    """Begin a thread: since Python 3.14, it enters its own context, only for ``run``."""
    context = getattr(thread, "_context", None)
    if context is not None:
        with suppress(RuntimeError):  # another thread is in it, as this one will find out
            context.run(running.set, running.get())
    bootstrap()


def _starting(start: _Function) -> _Function:
    """A ``Thread.start`` for calls.

    The thread begins inside the call before it reaches ``run``, so that the traceback of its error
    has no frame of lokki.
    """

    @wraps(start)
    def replacement(self: Any) -> None:
        if (here := captured_call()) is not None:
            bootstrap = partial(_bootstrap, self, self._bootstrap_inner)
            self._bootstrap_inner = partial(_all, in_thread(here), bootstrap)
        start(self)

    return replacement


def _starting_low_level(start: _Function) -> _Function:
    @wraps(start)
    def replacement(function: _Function, args: Any, /, *kwargs: Any) -> Any:
        here = captured_call()
        if here is not None and callable(function) and isinstance(args, tuple):
            function, args = _all, (in_thread(here), function, *args)
        return start(function, args, *kwargs)

    return replacement


def _submitting(submit: _Function) -> _Function:
    """A ``submit`` whose tasks belong to the call that submits them, or to none.

    They do not belong to the call in which the pool's thread was started.
    """

    @wraps(submit)
    def replacement(self: ThreadPoolExecutor, fn: _Function, /, *args: Any, **kwargs: Any) -> Any:
        if not _has_interpreters(self):
            here = running.get()
            fn = partial(_within, here and in_thread(here), fn)
        return submit(self, fn, *args, **kwargs)

    return replacement


def _has_interpreters(pool: ThreadPoolExecutor) -> bool:
    """Whether a pool (new in Python 3.14) pickles its tasks for other interpreters."""
    module = sys.modules.get("concurrent.futures.interpreter")
    return module is not None and isinstance(pool, module.InterpreterPoolExecutor)


thread_starts = (
    Hook(Thread, "start", _starting),
    Hook(_thread, "start_new_thread", _starting_low_level),
    Hook(ThreadPoolExecutor, "submit", _submitting),
)
