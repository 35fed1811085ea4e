"""Lanes: who runs the items. A lane claims a slice of a stage, runs it, reports, claims again.

A thread lane never touches the event loop; an async lane is a task on it; a process lane is a
thread lane whose calls are made by a worker process. Lanes belong to the engine, and after each
slice the next stage in turn is served, so a small run is never stuck behind a large one.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import EventLoopToken, current_token

from lokki.call import call_step, end_lines, running
from lokki.chain import Lane
from lokki.engine.items import CallCancelled, Put, Request, Slice, StageWork, perform
from lokki.engine.workers import WorkerPool
from lokki.store.codec import compress_parts
from lokki.store.commits import Committer
from lokki.store.protocol import BlockingStore, TransientStore

SLICE_SECONDS = 0.002
"""How long a lane aims to work before it reports: long enough that the report costs little."""
_MOST_ITEMS = 4096
_MOST_TURNS = 8
"""Async lanes take turns on one loop: a slice may last the turns of so many of the others, too."""
_PATIENCE_SECONDS = 0.02
"""A slice that takes longer has met a long item: what it has not begun is for other lanes."""
_SHORT_LANES = 2
"""Short items are bound by the interpreter's lock: more than two lanes would only pass it around,
and keep the event loop and the journal waiting. Slices past their time do not count."""


class Lanes:
    """The lanes of one engine; made and closed on its event loop.

    ``limits`` is the most lanes of each kind at work at a time, ``total`` the most of all kinds
    together (None: the sum).
    """

    def __init__(
        self,
        commits: Committer,
        payloads: TransientStore,
        limits: dict[Lane, int],
        total: int | None,
    ) -> None:
        self.commits = commits
        self.payloads = payloads
        self._write = payloads.write if isinstance(payloads, BlockingStore) else None
        self.limits = limits
        self.total = total or sum(limits.values())
        self.workers = WorkerPool(limits["process"])
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._works: deque[StageWork] = deque()
        self._granted: deque[Slice] = deque()
        self._busy: dict[Lane, int] = {"thread": 0, "process": 0, "async": 0}
        self._threads: list[threading.Thread] = []
        self._most_threads = limits["thread"] + limits["process"]
        self._idle = 0
        self._watched = False
        self._held_back = False
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
        self._start_lanes()

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
            self._news.notify_all()
        if self._timer is not None:
            self._timer.cancel()
        for thread in self._threads:
            await anyio.to_thread.run_sync(thread.join)
        await anyio.to_thread.run_sync(self.workers.close)

    def call_on_loop(self, function: Callable[[], None]) -> None:
        """Have the event loop call ``function`` soon; from any thread."""
        self._loop.call_soon_threadsafe(function)

    def _next(self) -> Slice | None:
        """The next slice of work, from the stages in turn; the caller holds the lock."""
        if sum(self._busy.values()) >= self.total or self._closing:
            return None
        now = monotonic()
        self._held_back = False
        for _ in range(len(self._works)):
            work = self._works[0]
            self._works.rotate(-1)
            if self._busy[work.lane] >= self.limits[work.lane]:
                continue
            fresh = sum(now - began < _PATIENCE_SECONDS for began in work.slices.values())
            if fresh:
                self._held_back = True
            if not (fresh >= _SHORT_LANES and work.short):
                steal = fresh < len(work.slices)
                claim = work.state.claim(self._slice(work), now, steal=steal)
                if claim is not None:
                    self._busy[work.lane] += 1
                    granted = Slice(work, claim)
                    work.slices[granted] = now
                    return granted
        return None

    def _slice(self, work: StageWork) -> int:
        """How many items fill a slice, judging by the one before; grows from one."""
        if work.batch_size is not None:
            return work.batch_size
        if not work.last_size:
            return 1
        side_by_side = min(len(work.slices), _MOST_TURNS) if work.lane == "async" else 1
        fitting = int(SLICE_SECONDS * side_by_side / work.seconds_per_item)
        return max(1, min(fitting, 4 * work.last_size, _MOST_ITEMS))

    def _finish(self, done: Slice, seconds: float) -> None:
        """Report a slice and give its turn back."""
        work = done.work
        with self._lock:
            self._busy[work.lane] -= 1
            del work.slices[done]
            if len(done):
                work.seconds_per_item = max(seconds / len(done), 1e-9)
                work.last_size = len(done)
            work.report(done, monotonic())
            ended = self._remove_if_done(work)
        if ended:
            work.on_done()

    def _remove_if_done(self, work: StageWork) -> bool:
        if work in self._works and (work.state.complete or work.state.ended):
            self._works.remove(work)
            return True
        return False

    def _first_due(self) -> float | None:
        """When to look again for work that cannot be had now; the caller holds the lock.

        None where a limit is reached: the lane that gives its turn back looks by itself.
        """
        if sum(self._busy.values()) >= self.total:
            return None
        dues = [
            due
            for work in self._works
            if self._busy[work.lane] < self.limits[work.lane]
            and (due := work.state.next_due) is not None
        ]
        if self._held_back:
            dues.append(monotonic() + _PATIENCE_SECONDS)
        return min(dues, default=None)

    # ---- thread and process lanes ----------------------------------------------------------------

    def _thread_lane(self) -> None:
        while (grant := self._wait_for_work()) is not None:
            began = monotonic()
            self._drive(grant)
            running.set(None)
            self._finish(grant, monotonic() - began)
            self.commits.wait_for_room()

    def _wait_for_work(self) -> Slice | None:
        """The next slice for this thread; slices for the event loop are sent there."""
        while True:
            with self._lock:
                grant = self._granted.popleft() if self._granted else self._next()
                if grant is not None:
                    self._call_another()
                elif self._closing:
                    return None
                else:
                    self._sleep()
            if grant is not None:
                if grant.work.lane != "async":
                    return grant
                self.call_on_loop(partial(self._start_task, grant))

    def _sleep(self) -> None:
        """Wait for news; one idle thread until something is due. The caller holds the lock."""
        due = None if self._watched else self._first_due()
        self._watched |= due is not None
        self._idle += 1
        self._news.wait(None if due is None else max(0, due - monotonic()))
        self._idle -= 1
        self._watched &= due is None

    def _call_another(self) -> None:
        """See that one more thread looks for work; the caller holds the lock."""
        if self._idle:
            self._news.notify()
        elif len(self._threads) < self._most_threads:
            name = f"lokki-lane-{len(self._threads)}"
            thread = threading.Thread(target=self._thread_lane, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _drive(self, done: Slice) -> None:
        items = perform(done)
        plain = done.work.lane == "thread"
        try:
            request = next(items)
            while True:
                try:
                    if plain and not isinstance(request, Put):
                        result = call_step(*request)
                    else:
                        result = self._answer(request, done.work)
                except BaseException as error:
                    request = items.throw(error)
                else:
                    request = items.send(result)
        except StopIteration:
            pass

    def _answer(self, request: Request, work: StageWork) -> Any:
        if isinstance(request, Put):
            data = compress_parts(request.parts)
            if self._write is not None:
                return self._write(request.key, data)
            return anyio.from_thread.run(self.payloads.put, request.key, data, token=self._token)
        if request[0].lane == "process":
            return self.workers.call(work, *request)
        return call_step(*request)

    # ---- async lanes -----------------------------------------------------------------------------

    def _start_lanes(self) -> None:
        """Start a lane for every slice that may run now, and a timer for those due later."""
        while (grant := self._next_on_loop()) is not None:
            self._start_task(grant)
        with self._lock:
            due = self._first_due()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self._loop.call_later(max(0, due - monotonic()), self._start_lanes)

    def _next_on_loop(self) -> Slice | None:
        """The next slice for the event loop; slices for threads are sent there."""
        with self._lock:
            while (grant := self._next()) is not None and grant.work.lane != "async":
                self._granted.append(grant)
                self._call_another()
            return grant

    def _start_task(self, grant: Slice) -> None:
        task = self._loop.create_task(self._async_lane(grant), context=copy_context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _async_lane(self, first: Slice) -> None:
        grant: Slice | None = first
        while grant is not None:
            began = monotonic()
            with anyio.CancelScope() as scope:
                grant.work.scopes.add(scope)
                await self._adrive(grant, scope)
            grant.work.scopes.discard(scope)
            self._finish(grant, monotonic() - began)
            if self.commits.congested:
                await anyio.to_thread.run_sync(self.commits.wait_for_room)
            grant = self._next_on_loop()
        self._start_lanes()

    async def _adrive(self, done: Slice, scope: anyio.CancelScope) -> None:
        items = perform(done)
        plain = all(call.lane == "async" and call.timeout is None for call in done.work.calls)
        try:
            request = next(items)
            while True:
                try:
                    if plain and not isinstance(request, Put):
                        result = await call_step(*request)
                        end_lines()
                    else:
                        result = await self._aanswer(request, done.work)
                except KeyboardInterrupt:
                    raise
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

    async def _aanswer(self, request: Request, work: StageWork) -> Any:
        if isinstance(request, Put):
            data = await anyio.to_thread.run_sync(compress_parts, request.parts)
            return await self.payloads.put(request.key, data)
        call = request[0]
        if call.lane == "async":
            with anyio.move_on_after(call.timeout):
                result = await call_step(*request)
                end_lines()
                return result
            raise TimeoutError(f"the call took longer than {call.timeout:g} s")
        if call.lane == "thread":
            return await anyio.to_thread.run_sync(call_step, *request, limiter=self._hops)
        return await anyio.to_thread.run_sync(
            self.workers.call, work, *request, limiter=self.workers.limiter
        )
