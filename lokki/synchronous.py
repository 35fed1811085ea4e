"""Waits for coroutines in code that is not async."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

from lokki.ipython import show_like

R = TypeVar("R")


def blocking(work: Coroutine[Any, Any, R]) -> R:
    """Wait for a coroutine, whether or not an event loop runs here.

    Ctrl-C cancels it, and waits for its end.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _run_beside(work)


def _run_beside(work: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine in the event loop of another thread, and wait for it."""
    outcome: Future[R] = Future()
    main: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[R] | None]] = Future()

    async def run() -> R:
        main.set_result((asyncio.get_running_loop(), asyncio.current_task()))
        return await work

    def in_thread() -> None:
        try:
            outcome.set_result(asyncio.run(run()))
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=copy_context().run, args=(in_thread,), name="lokki-run")
    thread.start()
    try:
        return outcome.result()
    except KeyboardInterrupt as interrupt:
        loop, task = main.result()
        if task is not None and not outcome.done():
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        show_like(interrupt, outcome.exception())
        raise
