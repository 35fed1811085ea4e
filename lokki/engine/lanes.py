"""Lanes: who runs the items. A lane claims a slice of a stage, runs it, reports, claims again.

A thread lane never touches the event loop; an async lane is a task on it; a process lane is a
thread lane whose calls are made by a worker process. Lanes belong to the engine, and after each
slice the next stage in turn is served, so a small run is never stuck behind a large one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Literal, TypeAlias

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import EventLoopToken, current_token

from time import monotonic

from lokki.call import call_step, running
from lokki.engine.items import CallCancelled, Outcomes, Put, Request, StageWork, perform
from lokki.engine.state import Claim
from lokki.engine.workers import WorkerPool
from lokki.store.codec import compress
from lokki.store.journal import Journal
from lokki.store.protocol import TransientStore

SLICE_SECONDS = 0.002
"""How long a lane aims to work before it reports: long enough that the report costs little."""
_MOST_ITEMS = 4096

Lane: TypeAlias = Literal["thread", "process", "async"]
Grant: TypeAlias = tuple[StageWork, Claim]


class Lanes:
    """The lanes of one engine; made and closed on its event loop.

    ``limits`` is the most lanes of each kind at work at a time, ``total`` the most of all kinds
    together (None: the sum).
    """

    def __init__(
        self,
        journal: Journal,
        payloads: TransientStore,
        limits: dict[Lane, int],
        total: int | None,
    ) -> None:
        self.journal = journal
        self.payloads = payloads
        self.limits = limits
        self.total = total or sum(limits.values())
        self.workers = WorkerPool(limits["process"])
        self._lock = threading.Lock()
        self._work_or_close = threading.Condition(self._lock)
        self._works: deque[StageWork] = deque()
        self._busy: dict[Lane, int] = {"thread": 0, "process": 0, "async": 0}
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._token: EventLoopToken = current_token()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._hops = anyio.CapacityLimiter(limits["thread"])

    # ---- work in and out -------------------------------------------------------------------------

    def add(self, work: StageWork) -> None:
        """Begin to serve a stage that has items to run."""
        with self._lock:
            self._works.append(work)
        self._wake(work.lane)

    def cancel(self, work: StageWork) -> None:
        """Cancel the run of ``work``: stop claiming, stop what can be stopped. On the loop."""
        with self._lock:
            work.state.cancel()
            ended = self._remove_if_done(work)
        for scope in tuple(work.scopes):
            scope.cancel()
        self.workers.kill(work)
        if ended:
            work.on_done()

    async def close(self) -> None:
        """End the lanes, once every run has ended."""
        with self._lock:
            self._closing = True
            self._work_or_close.notify_all()
        if self._timer is not None:
            self._timer.cancel()
        for thread in self._threads:
            await anyio.to_thread.run_sync(thread.join)
        await anyio.to_thread.run_sync(self.workers.close)

    def call_on_loop(self, function: Callable[[], None]) -> None:
        """Have the event loop call ``function`` soon; from any thread."""
        self._loop.call_soon_threadsafe(function)

    def _next(self, *lanes: Lane) -> Grant | None:
        """The next slice of work for a lane of one of these kinds; the caller holds the lock."""
        if sum(self._busy.values()) >= self.total:
            return None
        now = monotonic()
        for _ in range(len(self._works)):
            work = self._works[0]
            self._works.rotate(-1)
            if work.lane in lanes and self._busy[work.lane] < self.limits[work.lane]:
                claim = work.state.claim(self._slice(work), now)
                if claim is not None:
                    self._busy[work.lane] += 1
                    return work, claim
        return None

    def _slice(self, work: StageWork) -> int:
        """How many items fill a slice, judging by those before; grows from one."""
        if work.batch_size is not None:
            return work.batch_size
        if not work.seconds_per_item:
            return 1
        counts = work.state.counts
        left = counts.total - counts.succeeded - counts.tolerated
        share = left // (2 * self.limits[work.lane])
        size = min(int(SLICE_SECONDS / work.seconds_per_item), work.last_size * 4, _MOST_ITEMS, share)
        return max(1, size)

    def _finish(self, grant: Grant, out: Outcomes, seconds: float) -> None:
        """Report a slice and give its turn back."""
        work, claim = grant
        done = len(out.succeeded) + len(out.lost)
        with self._lock:
            self._busy[work.lane] -= 1
            if done:
                work.seconds_per_item = max(seconds / done, 1e-9)
                work.last_size = done
            work.report(claim, out, monotonic())
            ended = self._remove_if_done(work)
            if out.lost and self._idle:
                self._work_or_close.notify()  # to wait until the retry is due
        if ended:
            work.on_done()

    def _remove_if_done(self, work: StageWork) -> bool:
        if work in self._works and (work.state.complete or work.state.ended):
            self._works.remove(work)
            return True
        return False

    def _wake(self, lane: Lane) -> None:
        """See that a lane looks for work, if one more may run."""
        if lane == "async":
            self._loop.call_soon_threadsafe(self._start_tasks)
            return
        with self._lock:
            if self._idle:
                self._work_or_close.notify()
            elif len(self._threads) < self.limits["thread"] + self.limits["process"]:
                thread = threading.Thread(
                    target=self._thread_lane, name=f"lokki-lane-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    # ---- thread and process lanes ----------------------------------------------------------------

    def _thread_lane(self) -> None:
        while (grant := self._wait_for_work()) is not None:
            work, claim = grant
            self._wake(work.lane)
            out = Outcomes()
            began = monotonic()
            self._drive(perform(work, claim, out), work)
            running.set(None)
            self._finish(grant, out, monotonic() - began)
            self.journal.wait_for_room()
            if self._busy["async"] or work.lane != "thread":
                self._wake("async")

    def _wait_for_work(self) -> Grant | None:
        with self._lock:
            while (grant := self._next("thread", "process")) is None:
                if self._closing:
                    return None
                due = [work.state.next_due for work in self._works if work.lane != "async"]
                first = min((at for at in due if at is not None), default=None)
                self._idle += 1
                self._work_or_close.wait(None if first is None else max(0, first - monotonic()))
                self._idle -= 1
            return grant

    def _drive(self, items: Generator[Request, Any, None], work: StageWork) -> None:
        try:
            request = next(items)
            while True:
                try:
                    if request.__class__ is Put:
                        result = self._put(request)
                    elif request[0].lane == "process":
                        result = self.workers.call(work, *request)
                    else:
                        result = call_step(*request)
                except BaseException as error:
                    request = items.throw(error)
                else:
                    request = items.send(result)
        except StopIteration:
            pass

    def _put(self, put: Put) -> None:
        data = compress(put.raw)
        anyio.from_thread.run(self.payloads.put, put.key, data, token=self._token)

    # ---- async lanes -----------------------------------------------------------------------------

    def _start_tasks(self) -> None:
        """Start an async lane for every slice that may run now, and a timer for those due later."""
        while True:
            with self._lock:
                grant = None if self._closing else self._next("async")
            if grant is None:
                break
            task = self._loop.create_task(self._async_lane(grant), context=copy_context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._set_timer()

    def _set_timer(self) -> None:
        with self._lock:
            due = [work.state.next_due for work in self._works if work.lane == "async"]
        first = min((at for at in due if at is not None), default=None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if first is not None:
            self._timer = self._loop.call_later(max(0, first - monotonic()), self._start_tasks)

    async def _async_lane(self, grant: Grant | None) -> None:
        while grant is not None:
            work, claim = grant
            out = Outcomes()
            began = monotonic()
            with anyio.CancelScope() as scope:
                work.scopes.add(scope)
                await self._adrive(perform(work, claim, out), work, scope)
            work.scopes.discard(scope)
            self._finish(grant, out, monotonic() - began)
            if self.journal.congested:
                await anyio.to_thread.run_sync(self.journal.wait_for_room)
            with self._lock:
                grant = self._next("async")
        self._start_tasks()
        self._wake("thread")

    async def _adrive(
        self, items: Generator[Request, Any, None], work: StageWork, scope: anyio.CancelScope
    ) -> None:
        try:
            request = next(items)
            while True:
                try:
                    if request.__class__ is Put:
                        data = await anyio.to_thread.run_sync(compress, request.raw)
                        result = await self.payloads.put(request.key, data)
                    elif request[0].lane == "async":
                        timeout = request[0].timeout
                        if timeout is None:
                            result = await call_step(*request)
                        else:
                            result = await self._timed(request, timeout)
                    elif request[0].lane == "thread":
                        result = await anyio.to_thread.run_sync(
                            call_step, *request, limiter=self._hops
                        )
                    else:
                        result = await anyio.to_thread.run_sync(
                            self.workers.call, work, *request, limiter=self.workers.limiter
                        )
                except BaseException as error:
                    if scope.cancel_called and isinstance(error, asyncio.CancelledError):
                        with suppress(StopIteration):
                            items.throw(CallCancelled())
                        raise
                    request = items.throw(error)
                else:
                    request = items.send(result)
        except StopIteration:
            pass

    async def _timed(self, request: Any, timeout: float) -> Any:
        with anyio.move_on_after(timeout) as scope:
            return await call_step(*request)
        assert scope.cancelled_caught
        raise TimeoutError(f"the call took longer than {timeout:g} s")
