"""Lanes run the items. A lane takes a slice of a stage, runs it, reports, and takes another.

A thread lane never touches the event loop; an async lane is a task on it; a process lane is a
thread lane whose calls a worker process makes. Lanes belong to the engine. A lane that asks for
work may get a slice for another kind and hands it over, so that all kinds share the limits in turn
(`turns.py`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any
from weakref import WeakSet

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import EventLoopToken, current_token

from lokki import forks
from lokki.call import BoundCall, await_step, awaited, call_step
from lokki.context import watched
from lokki.engine.elsewhere import Elsewhere
from lokki.engine.items import Slice, StageWork
from lokki.engine.lookups import Reuse
from lokki.engine.perform import Call, CallCancelled, Performing, Request, drive, perform
from lokki.engine.storing import Lookup, Put, StoreRequest
from lokki.engine.threads import in_thread
from lokki.engine.turns import Turns
from lokki.engine.watch import ADVICE, LoopWatch
from lokki.engine.witness import Witness
from lokki.steps import Lane, running
from lokki.store.commits import Committer
from lokki.store.local import LocalStore
from lokki.store.protocol import BlockingStore, PayloadStore
from lokki.store.sql import Read

_open: WeakSet[Lanes] = WeakSet()


class _AsyncLane:
    """The current slice of an async lane, and how far it is; ``finished``: it was reported."""

    def __init__(self, grant: Slice) -> None:
        self.take(grant)

    def take(self, grant: Slice) -> None:
        self.grant = grant
        self.items = perform(grant)
        self.finished = False


class Lanes:
    """The lanes of one engine; made and closed on its event loop.

    ``limits`` is the most lanes of each kind that work at a time, ``total`` the most of all kinds
    together (None: the sum). ``elsewhere`` makes the calls of process lanes and of a cluster's.
    ``read`` reads the journal, for results to reuse.
    """

    def __init__(
        self,
        commits: Committer,
        payloads: PayloadStore,
        limits: dict[Lane, int],
        total: int | None,
        elsewhere: dict[Lane, Elsewhere],
        read: Read,
    ) -> None:
        self.commits = commits
        self.payloads = payloads
        self.elsewhere = elsewhere
        self._write = payloads.write if isinstance(payloads, BlockingStore) else None
        self._reuse = Reuse(read, self._get)
        self._folder = payloads.folder if isinstance(payloads, LocalStore) else None
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._turns = Turns(limits, total or sum(limits.values()))
        self._granted: deque[Slice] = deque()
        self._threads: list[threading.Thread] = []
        self._most_threads = _threads(limits)
        self._idle = 0
        self._watched = False
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._token: EventLoopToken = current_token()
        self._tasks: set[asyncio.Task[Request | None]] = set()
        self._watch = LoopWatch()
        self._timer: asyncio.TimerHandle | None = None
        self._hoppers: deque[asyncio.Future[None]] = deque()
        self._process = forks.count
        self._witness = Witness()
        commits.guard = self._witness.check
        self._thread = threading.get_ident()
        _open.add(self)
        self._hop_threads = anyio.CapacityLimiter(limits["thread"])

    # ---- work in and out -------------------------------------------------------------------------

    def add(self, work: StageWork) -> None:
        """Begin to serve a stage with items to run."""
        with self._lock:
            self._turns.add(work)
        self._start_lanes()

    def cancel(self, work: StageWork) -> None:
        """Cancel the run of ``work``: stop claiming, stop what can be stopped. On the loop."""
        with self._lock:
            work.state.cancel()
            ended = self._turns.remove_if_done(work)
        for scope in tuple(work.scopes):
            scope.cancel()
        for each in self.elsewhere.values():
            each.kill(work)
        if ended:
            work.on_done()

    def pause(self, work: StageWork) -> None:
        """Begin nothing more of ``work``; it is done when what has begun has ended."""
        with self._lock:
            work.state.pause()
            rests = self._turns.remove_if_done(work)
        if rests:
            work.on_done()

    def unpause(self, work: StageWork) -> None:
        """Begin items of ``work`` again, if it has not been done with meanwhile. On the loop."""
        with self._lock:
            work.state.unpause()
        self._start_lanes()

    def tune(self, work: StageWork, concurrency: int) -> None:
        """Run this many items of ``work`` at a time, like `Turns.tune`. On the loop."""
        with self._lock:
            self._turns.tune(work, concurrency)
            self._most_threads = max(self._most_threads, _threads(self._turns.limits))
        self._start_lanes()

    def widen(self, lane: Lane, limit: int) -> None:
        """Let this many lanes of a kind work at a time; from any thread."""
        with self._lock:
            self._turns.widen(lane, limit)
            self._most_threads = max(self._most_threads, _threads(self._turns.limits))
        self.look_again()

    def look_again(self) -> None:
        """Have lanes look for work that has become available; from any thread."""
        self.call_on_loop(self._start_lanes)

    def change(self, change: Callable[[], None], after: float = 0.0) -> None:
        """Change, under the lock, what work may begin, some seconds later; from any thread."""

        def changed() -> None:
            if not self._closing:
                with self._lock:
                    change()
                self._start_lanes()

        def wait() -> None:
            self._loop.call_later(after, changed)

        self.call_on_loop(wait if after else changed)

    async def close(self) -> None:
        """End the lanes; every run has ended."""
        _open.discard(self)
        with self._lock:
            self._closing = True
            self._news.notify_all()
        if self._timer is not None:
            self._timer.cancel()
        for thread in self._threads:
            await anyio.to_thread.run_sync(thread.join)
        await anyio.to_thread.run_sync(self._watch.close)
        self._witness.close()
        for each in self.elsewhere.values():
            await anyio.to_thread.run_sync(each.close)

    def call_on_loop(self, function: Callable[[], None]) -> None:
        """Have the event loop call ``function`` soon; from any thread."""
        self._loop.call_soon_threadsafe(function)

    def _stay_in_process(self) -> None:
        """End a child that a step's result has forked, instead of working there, too."""
        if forks.count != self._process:
            forks.end_child()

    def end_child_on_loop(self) -> None:
        """In a child that was forked on the event loop: end it as soon as the loop continues."""
        if threading.get_ident() == self._thread:
            forks.end_child_on(self._loop)

    def _finish(self, done: Slice, error: BaseException | None) -> None:
        """Report a slice and return its turn; an ``error`` of lokki's own ends its run.

        Called once for every slice, whatever its outcome.
        """
        now = monotonic()
        self._stay_in_process()
        try:
            done.close()
        except BaseException as caught:  # there is no memory left
            error = error or caught
        work = done.work
        if work.traced is not None:
            failed = [each.failed.index for each in done.failed]
            work.traced.slice(done.succeeded, failed, now - done.began)
        self._witness.stage = work.state.stage.name
        with self._lock:
            if error is not None:
                work.end(error)
            ended = self._turns.finish(done, now - done.began, now)
            self._call_hopper()
        if ended:
            work.on_done()

    # ---- thread and process lanes ----------------------------------------------------------------

    def _thread_lane(self) -> None:
        while (grant := self._wait_for_work()) is not None:
            grant.began = monotonic()
            error = None
            try:
                self._drive(grant)
            except BaseException as caught:
                error = caught
            self._finish(grant, error)
            del grant  # it has the inputs of its stage
            self.commits.wait_for_room()

    def _wait_for_work(self) -> Slice | None:
        """The next slice for this thread; slices for the event loop are sent there."""
        while True:
            with self._lock:
                grant = self._granted.popleft() if self._granted else self._turns.next(monotonic())
                if grant is not None:
                    if self._granted or self._turns.has_more:
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
        """Wait for news; one idle thread, until something is due. The caller holds the lock."""
        now = monotonic()
        due = None if self._watched else self._turns.first_due(now)
        self._watched |= due is not None
        self._idle += 1
        self._news.wait(None if due is None else max(0, due - now))
        self._idle -= 1
        self._watched &= due is None

    def _call_another(self) -> None:
        """Make sure that one more thread looks for work; the caller holds the lock."""
        if self._idle:
            self._news.notify()
        elif len(self._threads) < self._most_threads:
            name = f"lokki-lane-{len(self._threads)}"
            thread = threading.Thread(target=self._thread_lane, name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads: continue with the existing ones
                if not self._threads:
                    raise
                self._most_threads = len(self._threads)
            else:
                self._threads.append(thread)

    def _drive(self, done: Slice) -> None:
        work = done.work
        self._reuse.serve(done, self._answer)
        if work.remote:
            folder = self._folder if work.lane == "process" else None  # not of another machine
            self.elsewhere[work.lane].run(done, folder, self._answer)
        else:
            call = call_step if work.plain else partial(self._call, work)
            drive(done, work.fresh, call, self._answer)

    def _call(self, work: StageWork, call: BoundCall, value: Any, index: int, attempt: int) -> Any:
        if call.lane == "thread":
            return call_step(call, value, index, attempt)
        return self.elsewhere[call.lane].call(work, call, value, index, attempt)

    def _answer(self, request: StoreRequest) -> Any:
        self._stay_in_process()
        if isinstance(request, Lookup):
            return self._reuse.find(request)
        data, ref = request.packed()
        if self._write is not None:
            self._write(request.key, data)
        else:
            anyio.from_thread.run(self.payloads.put, request.key, data, token=self._token)
        return ref

    def _get(self, key: str) -> bytes:
        if isinstance(self.payloads, BlockingStore):
            return self.payloads.read(key)
        return anyio.from_thread.run(self.payloads.get, key, token=self._token)

    # ---- async lanes -----------------------------------------------------------------------------

    def _start_lanes(self) -> None:
        """Start a lane for every slice that may run now, and a timer for those due later."""
        while (grant := self._next_on_loop()) is not None:
            self._start_task(grant)
        now = monotonic()
        with self._lock:
            due = self._turns.first_due(now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._closing:
            self._timer = self._loop.call_later(max(0, due - now), self._start_lanes)

    def _next_on_loop(self) -> Slice | None:
        """The next slice for the event loop; slices for threads are sent there."""
        while True:
            with self._lock:
                grant = self._turns.next(monotonic())
            if grant is None or grant.work.lane == "async":
                return grant
            try:
                with self._lock:
                    self._call_another()
                    self._granted.append(grant)
            except RuntimeError as error:  # there is no thread at all: the run ends
                self._finish(grant, error)

    def _start_task(self, grant: Slice) -> None:
        self._go_on(_AsyncLane(grant), None)

    def _go_on(self, lane: _AsyncLane, request: Request | None) -> None:
        """Run a lane's slice, or the rest of it from ``request`` on, in a task of its own."""
        work = self._async_lane(lane, request)
        task = self._loop.create_task(work, context=lane.grant.work.fresh())
        if not self._tasks:
            self._watch.begin()
        self._tasks.add(task)
        task.add_done_callback(partial(self._end_task, lane))

    def _end_task(self, lane: _AsyncLane, task: asyncio.Task[Request | None]) -> None:
        error = None if task.cancelled() else task.exception()
        rest = None if task.cancelled() or error is not None else task.result()
        if rest is not None:
            self._go_on(lane, rest)
        self._tasks.discard(task)
        if not self._tasks:
            self._watch.rest()
        if rest is None:
            if not lane.finished:
                self._finish(lane.grant, error)
            elif error is not None:
                raise error
            self._start_lanes()

    async def _async_lane(self, lane: _AsyncLane, request: Request | None) -> Request | None:
        """Run a slice and more of its stage, until a call has changed the context (`_adrive`).

        Other calls must not see what these leave in their task.
        """
        self._stay_in_process()
        task = asyncio.current_task()
        assert task is not None
        running.set(None)
        unchanged = watched()
        while True:
            grant = lane.grant
            if request is None:
                if self.commits.congested:
                    await anyio.to_thread.run_sync(self.commits.wait_for_room)
                if grant.work.calls[0].caching is not None:
                    await anyio.to_thread.run_sync(self._reuse.serve, grant, self._answer)
                grant.began = monotonic()
            with anyio.CancelScope() as scope:
                grant.work.scopes.add(scope)
                try:
                    request = await self._adrive(grant, lane.items, request, scope, unchanged)
                except GeneratorExit:  # from a future that a step awaited; it failed the item
                    return None
                finally:
                    grant.work.scopes.discard(scope)
            if request is not None or scope.cancel_called:
                return request
            running.set(None)
            if task.cancelling() or not unchanged() or not self._next_of_lane(lane):
                return None

    def _next_of_lane(self, lane: _AsyncLane) -> bool:
        """Finish a lane's slice; whether the lane has another one of the stage."""
        work = lane.grant.work
        lane.finished = True
        self._finish(lane.grant, None)
        grant = self._next_on_loop()
        if grant is None:
            return False
        if grant.work is not work:
            self._start_task(grant)
            return False
        lane.take(grant)
        return True

    async def _adrive(
        self,
        done: Slice,
        items: Performing,
        request: Request | None,
        scope: anyio.CancelScope,
        unchanged: Callable[[], bool],
    ) -> Request | None:
        """Make calls in the context of this task as long as they leave it ``unchanged``.

        Returns the next call, which needs another context; None at the end of the slice. A context
        for each call would cost as much as a short call.
        """
        plain, process = done.work.plain, self._process
        try:
            if request is None:
                request = next(items)
            elif done.work.state.cancelled:  # since the previous call
                items.throw(CallCancelled())
            while True:
                try:
                    if isinstance(request, Put):
                        result = await self._aput(request)
                    elif isinstance(request, Lookup):
                        result = await anyio.to_thread.run_sync(self._reuse.find, request)
                    elif plain:
                        result = awaited(request[0], await call_step(*request))
                    else:
                        result = await self._aanswer(request, done.work)
                except BaseException as error:
                    self._stay_in_process()
                    kind = type(error)
                    if scope.cancel_called and issubclass(kind, asyncio.CancelledError):
                        with suppress(StopIteration):
                            items.throw(CallCancelled())
                        raise
                    if issubclass(kind, KeyboardInterrupt) and done.work.state.halted:
                        raise  # a second Ctrl-C, not the step's own
                    request = items.throw(error)
                    if issubclass(kind, GeneratorExit):  # nothing more can be awaited
                        items.throw(CallCancelled())
                else:
                    if forks.count != process:
                        forks.end_child()
                    request = items.send(result)
                if request.__class__ is tuple:
                    running.set(None)
                    if not unchanged():
                        return request
        except StopIteration:
            return None

    async def _aanswer(self, request: Call, work: StageWork) -> Any:
        call = request[0]
        if call.lane == "thread":
            return await self._hop(request, work.fresh())
        if call.lane in self.elsewhere:
            there = self.elsewhere[call.lane]
            return await in_thread(there.call, work, *request, limiter=there.limiter)
        late = f"the call took longer than {call.timeout} s"
        with anyio.move_on_after(call.timeout) as scope:
            try:
                result = await await_step(*request)
            except Exception as error:
                if scope.cancel_called:
                    raise TimeoutError(late) from error
                raise
            if anyio.current_time() < scope.deadline:
                return result
        if not scope.cancel_called:
            late += f": it blocked the event loop, so nothing could interrupt it; {ADVICE}"
        raise TimeoutError(late)

    async def _aput(self, put: Put) -> Any:
        with anyio.CancelScope(shield=True):  # keeps what has finished
            data, ref = await anyio.to_thread.run_sync(put.packed)
            await self.payloads.put(put.key, data)
            return ref
        raise AssertionError("a shielded scope runs to its end")

    async def _hop(self, request: Call, context: Context) -> Any:
        """Make a sync call of an async lane in a thread, which counts as a thread lane."""
        while True:
            with self._lock:
                if self._turns.enter_thread():
                    break
                turn: asyncio.Future[None] = self._loop.create_future()
                self._hoppers.append(turn)
            await turn
        try:
            return await in_thread(context.run, call_step, *request, limiter=self._hop_threads)
        finally:
            with self._lock:
                self._turns.leave_thread()
                self._call_hopper()
                self._news.notify()

    def _call_hopper(self) -> None:
        """Wake one call that waits for a thread; the caller holds the lock."""
        while self._hoppers:
            turn = self._hoppers.popleft()
            if not turn.cancelled():
                self._loop.call_soon_threadsafe(_wake, turn)
                return


def _threads(limits: dict[Lane, int]) -> int:
    """How many threads lanes may need."""
    return sum(limit for lane, limit in limits.items() if lane != "async")


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def _end_child_on_loop() -> None:
    if running.get() is not None:  # a call of a step has forked this process
        for lanes in tuple(_open):
            lanes.end_child_on_loop()


os.register_at_fork(after_in_child=_end_child_on_loop)
