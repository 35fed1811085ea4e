"""Running a flow from the terminal: signals, what is printed where, and the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from lokki.engine.engine import Engine, RunHandle
from lokki.errors import LokkiError, RunCancelled, RunFailed

INTERRUPTED = 130

Start = Callable[[Engine], Awaitable[RunHandle[Any]]]


def execute(start: Start, again: str) -> int:
    """Start a run in an engine, wait for it, print its result on stdout; return the exit code.

    ``again`` is the command that resumes a run, but for the id. Everything but the result goes to
    stderr, what the steps print included.
    """
    return asyncio.run(_execute(start, again))


async def _execute(start: Start, again: str) -> int:
    code = 0
    try:
        async with Engine(echo=sys.stderr) as engine:
            handle = await start(engine)
            say(f"run {handle.run_id}")
            async with anyio.create_task_group() as group:
                group.start_soon(_on_signals, handle, again)
                code = await _outcome(handle, again)
                group.cancel_scope.cancel()
    except LokkiError as error:
        return _failed(error, again)
    return code


async def _outcome(handle: RunHandle[Any], again: str) -> int:
    try:
        result = await handle.result()
    except LokkiError as error:
        return _failed(error, again)
    if result is not None:
        print(result, flush=True)
    return 0


async def _on_signals(handle: RunHandle[Any], again: str) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        count = 0
        async for _ in signals:
            count += 1
            if count > 1:
                os._exit(INTERRUPTED)
            handle.cancel()
            say(
                "cancelling: waiting for the calls in threads to end; "
                f"to go on later: {again} {handle.run_id} (Ctrl-C again quits at once)"
            )


def _failed(error: Exception, again: str) -> int:
    if isinstance(error, RunCancelled):
        say(f"{error}; resume: {again} {error.run_id}")
        return INTERRUPTED
    if isinstance(error, RunFailed):
        say(error.traceback.rstrip())
        say(f"Error: {error}\nresume: {again} {error.run_id}")
        return 1
    say(f"Error: {error}")
    return 1


def say(text: str) -> None:
    """Print on stderr, if there is something to say."""
    if text:
        print(text, file=sys.stderr, flush=True)
