"""Running a flow from the terminal: signals, what is printed where, and the exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from lokki.cli.streams import say, stdout_to_stderr
from lokki.engine.engine import Engine, RunHandle
from lokki.errors import LokkiError, RunCancelled, RunFailed

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Start = Callable[[Engine], Awaitable[RunHandle[Any]]]


def execute(start: Start, again: str) -> int:
    """Start a run in an engine, wait for it, print its result on stdout; return the exit code.

    ``again`` is the command that resumes a run, but for the id. Everything but the result goes to
    stderr, what the steps print included. Ctrl-C cancels the run; once more, and the process ends.
    """
    interrupts = _Interrupts(again)
    before = {each: signal.signal(each, interrupts) for each in _SIGNALS}
    try:
        with stdout_to_stderr():
            result = asyncio.run(_result(start, interrupts))
    except LokkiError as error:
        return _failed(error, again)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    return 0 if result is None else _show(result)


async def _result(start: Start, interrupts: _Interrupts) -> Any:
    async with Engine(echo=sys.stderr) as engine:
        handle = await start(engine)
        say(f"run {handle.run_id}")
        interrupts.guard(handle)
        try:
            return await handle.result()
        finally:
            interrupts.release()


def _show(result: object) -> int:
    try:
        print(result, flush=True)
    except BrokenPipeError:  # who reads it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except Exception as error:
        say(f"Error: the run has succeeded, but its result cannot be printed: {error!r}")
        return 1
    return 0


def _leave_signals() -> None:
    """In a child that a step has forked: the signals that end it are its own again.

    At once, since a handler in Python may miss one that comes just before a call that blocks.
    """
    for each in _SIGNALS:
        if isinstance(signal.getsignal(each), _Interrupts):
            signal.signal(each, signal.SIG_DFL)


os.register_at_fork(after_in_child=_leave_signals)


class _Interrupts:
    """The handler of SIGINT and SIGTERM: works even while a step blocks the event loop."""

    def __init__(self, again: str) -> None:
        self._again = again
        self._count = 0
        self._cancel: Callable[[], object] | None = None
        self._run_id = ""

    def guard(self, handle: RunHandle[Any]) -> None:
        """Cancel this run at the first signal, one that has come already included."""
        loop = asyncio.get_running_loop()
        self._run_id = handle.run_id
        self._cancel = partial(loop.call_soon_threadsafe, handle.cancel)
        if self._count:
            self._cancelling()

    def release(self) -> None:
        """The run has ended: a signal has nothing to cancel any more."""
        self._cancel = None

    def __call__(self, number: int, frame: object) -> None:
        self._count += 1
        if self._count > 1:
            os._exit(INTERRUPTED)
        self._cancelling()

    def _cancelling(self) -> None:
        if self._cancel is not None:
            self._cancel()
            text = (
                "cancelling: waiting for the calls in threads to end; to go on later: "
                f"{self._again} {self._run_id} (Ctrl-C again quits at once)\n"
            )
            os.write(2, text.encode())


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
