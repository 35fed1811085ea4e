"""Finds calls that block the event loop: a thread watches it while async calls run.

A call that awaits nothing for a second makes all others wait, and no timeout can interrupt it.
Nothing is measured in the calls themselves: the thread asks the loop for a sign of life and, if
none comes, looks at what it is running.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from asyncio.events import Handle
from time import monotonic, time
from types import FrameType

from lokki import output
from lokki.call import Running, running
from lokki.frames import is_users

HELD_SECONDS = 1.0
"""A call that blocks the event loop for longer is reported."""
_POLL_INTERVAL = 0.1

ADVICE = (
    "write the step with 'def', which runs in a thread, or in a process with executor=\"process\", "
    "or await the slow part: 'await anyio.to_thread.run_sync(function, …)'"
)


class _Held:
    """A call that blocks the event loop, since when, and the user's line, if any."""

    def __init__(self, here: Running, line: str, since: float, *, shown: bool) -> None:
        self.here = here
        self._line = line
        self._since = since
        self._shown = shown
        self._reported = False

    def look(self) -> None:
        """Report the call once it has lasted too long."""
        if self._reported or monotonic() - self._since < HELD_SECONDS - _POLL_INTERVAL:
            return
        self._reported = True
        timeout = self.here[0].timeout
        late = f", and its timeout of {timeout:g} s cannot interrupt it" if timeout else ""
        self._log(
            f"has blocked the event loop for {HELD_SECONDS:g} s{self._line}: no other async "
            f"call can run{late}; {ADVICE}"
        )

    def end(self) -> None:
        """Report how long the call took, if it was reported before."""
        if self._reported:
            self._log(f"blocked the event loop for {monotonic() - self._since:.1f} s")

    def _log(self, message: str) -> None:
        call, index, attempt = self.here[:3]
        item = index if call.in_map else None
        output.record(call.run_id, (time(), call.name, item, attempt, "WARNING", "lokki", message))
        if self._shown:
            subject = f"step '{call.name}'" + ("" if item is None else f", item {item},")
            output.show(call.run_id, f"[WARNING] {subject} {message}\n")


class LoopWatch:
    """The thread that watches the loop it was made on, from each `begin` to the next `rest`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loops_thread = threading.get_ident()
        self._working = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._shown: dict[tuple[str, str], Running] = {}

    def begin(self) -> None:
        """Async calls run from now on."""
        self._working.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="lokki-watch", daemon=True)
            self._thread.start()

    def rest(self) -> None:
        """No async call runs any more."""
        self._working.clear()

    def close(self) -> None:
        """End the thread; blocks briefly."""
        self._closed.set()
        self._working.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._closed.wait(_POLL_INTERVAL):
            self._working.wait()
            sign = threading.Event()
            try:
                self._loop.call_soon_threadsafe(self._give, sign)
            except RuntimeError:  # the loop is closed
                return
            since = monotonic()
            while not sign.wait(_POLL_INTERVAL):
                since = self._look(sign, since)

    def _give(self, sign: threading.Event) -> None:
        """Give a sign of life; on the loop, so that reports come before the run's end."""
        sign.set()
        with self._lock:
            self._release(None)

    def _look(self, sign: threading.Event, since: float) -> float:
        """Look for the call that blocks the loop; returns since when no other does."""
        with self._lock:
            here, line = (None, "") if sign.is_set() else _call_in(self._frame())
            if self._release(here) or here is None:
                since = monotonic()
            if here is not None:
                if self._held is None:
                    self._held = _Held(here, line, since, shown=self._is_first(here))
                self._held.look()
        return since

    def _release(self, here: Running | None) -> bool:
        """Whether the call that blocked the loop has stopped: ``here`` is the current one."""
        held = self._held
        if held is None or held.here is here:
            return False
        self._held = None
        held.end()
        return True

    def _frame(self) -> FrameType | None:
        """What the loop's thread is running.

        A garbage collection meanwhile could lock up all of Python 3.11 up to 3.11.8:
        https://github.com/python/cpython/issues/106883.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames().get(self._loops_thread)
        finally:
            if collects:
                gc.enable()

    def _is_first(self, here: Running) -> bool:
        """Whether it is the first such call of its step in the run: others are only recorded."""
        return self._shown.setdefault((here[0].run_id, here[0].name), here) is here


def _call_in(frame: FrameType | None) -> tuple[Running | None, str]:
    """The call that a thread is running, and the step's own line; None if there is none."""
    line = ""
    while frame is not None:
        if frame.f_code is Handle._run.__code__:  # a task's work, even of one that a step made
            handle = frame.f_locals["self"]  # None once the task's step is over
            return handle and handle._context.get(running), line
        if is_users(frame):
            line = f", at {os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno}"
        frame = frame.f_back
    return None, line
