"""Worker processes, which make the calls of process lanes. The other end is `worker.py`.

A worker serves one request at a time: a call, or a slice of a stage's items. One that dies, is
killed for a timeout or for a cancelled run, or gives no proper answer is replaced at the next
request. Workers lead a process group of their own, so that what a step has started dies with it,
and Ctrl-C at the terminal reaches the engine alone.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any, NoReturn, TypeAlias
from weakref import WeakKeyDictionary

import anyio

from lokki import output
from lokki.call import BoundCall, unstorable
from lokki.config import Local
from lokki.engine import by_name
from lokki.engine.ahead import starter
from lokki.engine.definitions import Definitions, Described
from lokki.engine.items import Slice, StageWork
from lokki.engine.perform import CallCancelled, CallFailed, Put
from lokki.engine.program import Program
from lokki.engine.progress import Progress
from lokki.engine.remote import RemoteSlice, of_ours
from lokki.engine.sliced import Items, Preparation, Traits
from lokki.engine.spawning import cores, megabytes
from lokki.engine.worker_process import WorkerProcess
from lokki.errors import PayloadError, ValueUnreadable, WorkerDied
from lokki.model.failure import Failure
from lokki.secret import redacted
from lokki.store.codec import loads

START_SECONDS = 60.0
"""How long a worker may take to start, import what a call needs and unpickle it."""
_GOODBYE_SECONDS = 5.0


class _NotBegun(WorkerDied):
    """The worker died before it had read the request."""


class _Stale(Exception):
    """The worker has imported code that has changed since."""


class _Unloadable(Exception):
    """The worker cannot load what it was sent."""


class _Unimportable(Exception):
    """The worker could not import the program; another one is asked in a retry."""

    def failure_of(self, call: BoundCall, index: int, attempt: int) -> Failure:
        kind, reason, trace = self.args
        return Failure(
            call.name,
            index if call.in_map else None,
            attempt,
            kind,
            redacted(reason, call.secrets),
            redacted(trace, call.secrets),
            issubclass(WorkerDied, call.exceptions),
        )


class WorkerPool:
    """At most ``most`` worker processes, started when they are first needed.

    ``local`` says how many threads the libraries in a worker may use, and when a worker ends: after
    some time without a call, after a number of calls, or when it has grown too large.
    """

    def __init__(self, most: int, local: Local) -> None:
        self._starter = starter(local.worker_threads or max(1, cores() // most))
        self._idle_seconds = local.worker_idle
        self._most_calls = local.worker_calls
        self._most_megabytes = local.worker_memory
        self._timer: threading.Timer | None = None
        self._preparing: threading.Thread | None = None
        self.limiter = anyio.CapacityLimiter(most)
        self._slots = threading.Semaphore(most)
        self._lock = threading.Lock()  # the event loop takes it, too: held only briefly
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._definitions: WeakKeyDictionary[StageWork, Definitions] = WeakKeyDictionary()

    # ---- one call --------------------------------------------------------------------------------

    def call(self, work: StageWork, call: BoundCall, value: Any, index: int, attempt: int) -> Any:
        """Make one call in a worker and return its result; blocks.

        Raises CallFailed with the error, TimeoutError after the step's timeout, WorkerDied when
        the process died or could not be started, CallCancelled when `kill` was called for its run.
        """
        definitions = self._definitions_of(work)
        span = None if work.traced is None else work.traced.carrier()
        traits = Traits(work.stage_id, None, (False,), work.writer.name, None, span)
        try:
            while True:
                described = definitions.describe((call,), traits)
                raw = definitions.input(call, value, described.way)
                try:
                    answer = self._ask(_Call(work, call, described, (raw, index, attempt)))
                except _Stale:
                    continue
                except _Unloadable as error:
                    definitions.try_next(described.way, str(error))
                    continue
                if isinstance(answer, Failure):
                    raise CallFailed(answer)
                try:
                    return loads(answer)
                except PayloadError as error:
                    raise unstorable(call, ValueUnreadable(str(error))) from error.__cause__
        except _Unimportable as error:
            raise CallFailed(error.failure_of(call, index, attempt)) from None
        except PayloadError as error:
            raise CallFailed(of_ours(call, index, attempt, error)) from None

    # ---- a slice ---------------------------------------------------------------------------------

    def run(self, done: Slice, payloads: str | None, put: Callable[[Put], str]) -> None:
        """Have a worker run the items of a slice, and add the outcomes to it; blocks.

        An item fails if its worker dies or it exceeds its step's timeout. Items that were not begun
        or not reported by then return to the claim. ``payloads`` is the folder where workers store
        large results; None: ``put`` stores them.
        """
        remote = RemoteSlice(done, self._definitions_of(done.work), payloads, put)
        if not remote:
            return
        try:
            described = remote.describe()
            items = remote.items(described)
        except PayloadError as error:
            remote.fail(of_ours(*remote.first(), error))
            return
        try:
            ran = self._ask(_Items(remote, described, items))
        except _Stale:
            remote.leave()
        except _Unloadable as error:
            remote.unloadable(described, str(error))
        except _Unimportable as error:
            remote.fail(error.failure_of(*remote.first()))
        except (WorkerDied, TimeoutError) as error:
            remote.lost(error)
        except CallCancelled:
            remote.cancelled()
        else:
            remote.take_in(ran)
            if ran.unloadable is not None:
                remote.unloadable(described, ran.unloadable)

    def _definitions_of(self, work: StageWork) -> Definitions:
        with self._lock:
            found = self._definitions.get(work)
            if found is None:
                assert work.program is not None
                found = self._definitions[work] = Definitions(work.program)
            return found

    def kill(self, work: StageWork) -> None:
        """Kill the workers that run a call of ``work``."""
        with self._lock:
            for worker in self._busy:
                if worker.work is work:
                    worker.cancelled = True
                    worker.kill()

    def close(self) -> None:
        """End the workers; none runs a call any more."""
        if self._preparing is not None:
            self._preparing.join()
        with self._lock:
            workers, self._idle = self._idle, []
            timer = self._timer
        if timer is not None:
            timer.cancel()
            timer.join()
        _say_goodbye(workers)
        self._starter.rest()

    def expect(self) -> None:
        """Prepare for a call, which may come soon; does not wait."""
        self._starter.expect()
        by_name.prepare()

    def prepare(self, run_id: str, program: Program) -> None:
        """Have a worker import the program of a run that has begun; does not wait.

        By the first call, it is ready, or nearly so.
        """
        self.expect()
        with self._lock:
            if self._preparing is None and not (self._idle or self._busy):
                start = threading.Thread(target=self._prepare, args=(run_id, program), daemon=True)
                self._preparing = start
                Context().run(start.start)  # a thread of no call

    def _prepare(self, run_id: str, program: Program) -> None:
        with self._slots, suppress(OSError):  # it shows when a worker is needed
            worker = WorkerProcess(self._starter)
            worker.run_id = run_id
            with suppress(OSError):
                worker.channel.send(Preparation(run_id, worker.news_of(program)))
            with self._lock:
                self._idle.append(worker)
                self._look_later()
        self._preparing = None

    def _take(self, work: StageWork, run_id: str, program: Program) -> WorkerProcess:
        """A worker for one call, preferably one that knows the run.

        Workers that are dead or have imported code that has changed are ended.
        """
        new: WorkerProcess | None = None
        while True:
            with self._lock:
                if work.state.halted and work.state.cancelled:
                    if new is not None:
                        self._idle.append(new)
                    raise CallCancelled
                worker = new or self._idle_worker(run_id)
                if (
                    worker is not None
                    and worker.can_run(program)
                    and (worker is new or (worker.connected and self._is_current(worker)))
                ):
                    worker.work = work
                    worker.answered = False
                    self._busy.add(worker)
                    return worker
            if worker is not None:
                worker.end()
                continue
            try:
                new = WorkerProcess(self._starter)
            except OSError as error:
                raise WorkerDied(f"a worker process could not be started: {error}") from None

    def _is_current(self, worker: WorkerProcess) -> bool:
        """Whether nothing has changed since a worker was prepared, such as the environment."""
        return bool(worker.requests) or self._starter.would_start_alike()

    def _idle_worker(self, run_id: str) -> WorkerProcess | None:
        for position in range(len(self._idle) - 1, -1, -1):
            if self._idle[position].run_id == run_id:
                return self._idle.pop(position)
        return self._idle.pop() if self._idle else None

    def _give_back(self, worker: WorkerProcess) -> None:
        reusable = worker.answered and not worker.cancelled
        worn = reusable and self._is_worn(worker)
        with self._lock:
            self._busy.discard(worker)
            worker.work = None
            if reusable and not worn:
                worker.idle_since = monotonic()
                self._idle.append(worker)
                self._look_later()
        if worn:
            _say_goodbye([worker])
        elif not reusable:
            worker.end()

    def _is_worn(self, worker: WorkerProcess) -> bool:
        """Whether a new worker must replace this one."""
        if self._most_calls is not None and worker.calls >= self._most_calls:
            return True
        most = self._most_megabytes
        return most is not None and megabytes(worker.process.pid) > most

    def _look_later(self) -> None:
        """Look for idle workers when the first of them is due to end; the caller holds the lock."""
        if self._timer is None and self._idle:
            first = min(worker.idle_since for worker in self._idle)
            due = first + self._idle_seconds - monotonic()
            self._timer = threading.Timer(max(0.0, due), self._end_idle)
            self._timer.daemon = True
            Context().run(self._timer.start)  # a thread of no call

    def _end_idle(self) -> None:
        with self._lock:
            now = monotonic()
            idle, self._idle = self._idle, []
            due = [each for each in idle if now - each.idle_since >= self._idle_seconds]
            self._idle = [each for each in idle if each not in due]
            self._timer = None
            self._look_later()
            is_last = not (self._idle or self._busy)
        _say_goodbye(due)
        if is_last:
            self._starter.rest()

    def _end(self, worker: WorkerProcess) -> str:
        """End a worker during a call; CallCancelled if `kill` has already done so."""
        with self._lock:
            self._busy.discard(worker)
        end = worker.end()
        if worker.cancelled:
            raise CallCancelled
        return end

    # ---- a request and its answer ----------------------------------------------------------------

    def _ask(self, request: _Request) -> Any:
        """What a worker answers.

        Raises _Stale, _Unloadable, _Unimportable, TimeoutError, WorkerDied, and CallCancelled.
        """
        with self._slots:
            try:
                return self._exchange(request)
            except _NotBegun:  # it died while it was idle
                return self._exchange(request)

    def _exchange(self, request: _Request) -> Any:
        run_id, program = request.calls[0].run_id, request.program
        worker = self._take(request.work, run_id, program)
        try:
            if worker.run_id != run_id:  # the worker forgets the calls of other runs, too
                worker.known.clear()
                worker.run_id = run_id
            key, news = request.described.key, None
            if key not in worker.known:
                news = run_id, worker.news_of(program), request.described.definition
            worker.requests += 1
            most = sys.maxsize if self._most_calls is None else self._most_calls - worker.calls
            worker.calls += request.begin(worker.progress, most)
            try:
                worker.channel.send((worker.requests, key, news, request.content))
            except OSError:
                raise self._not_begun(worker) from None
            worker.known.add(key)
            kind, content = self._receive(worker, request, news is not None)
            if kind == "stale":
                raise _Stale
            if kind == "unimportable":
                raise _Unimportable(*content)
            worker.answered = True  # otherwise the process is useless
            if kind == "unloadable":
                worker.known.discard(key)
                raise _Unloadable(content)
            return content
        finally:
            request.end()
            self._give_back(worker)

    def _receive(self, worker: WorkerProcess, request: _Request, is_new: bool) -> tuple[str, Any]:
        """The worker's answer, its kind first; records the lines that precede it."""
        channel = worker.channel
        late = _Deadline(worker.progress, request.calls, is_new)
        while True:
            while not worker.wait(late.due()):
                if late.is_over():
                    self._fail_late(worker, late)
            try:
                kind, of, content = channel.receive()
            except (EOFError, OSError) as error:
                if isinstance(error, ConnectionResetError) and not worker.progress.begun:
                    raise self._not_begun(worker) from None  # it was sent, but not read
                raise WorkerDied(f"the worker process {self._end(worker)}") from None
            except Exception as error:
                self._end(worker)
                raise WorkerDied(f"the worker process sent an invalid answer: {error}") from None
            if kind in ("line", "echo"):
                (output.record if kind == "line" else output.show)(of, content)
                if late.is_over():
                    self._fail_late(worker, late)
            elif of != worker.requests:
                self._end(worker)
                raise WorkerDied("the worker process sent the answer to another call")
            elif kind == "ready":
                late.is_ready = True
            elif kind == "put":
                with suppress(OSError):  # it has died, as is seen at once
                    channel.send(request.answer(kind, content))
            elif kind == "carried":
                request.answer(kind, content)
            else:
                return kind, content

    def _not_begun(self, worker: WorkerProcess) -> _NotBegun:
        return _NotBegun(f"the worker process {self._end(worker)} before it began the call")

    def _fail_late(self, worker: WorkerProcess, late: _Deadline) -> NoReturn:
        self._end(worker)
        if late.is_ready:
            raise TimeoutError(f"the call took longer than {late.timeout:g} s")
        raise WorkerDied(
            f"the worker process was not ready within {START_SECONDS:g} s, in which it starts, "
            "imports the script and the flow's module and reads its input; anything else that a "
            'script does belongs under:  if __name__ == "__main__":'
        )


class _Deadline:
    """When a worker is to be ready, and then when the call that it is at is to end."""

    def __init__(self, progress: Progress, calls: Sequence[BoundCall], is_new: bool) -> None:
        self.is_ready = not is_new
        self._progress = progress
        self._timeouts = [call.timeout for call in calls]
        self._shortest = min((each for each in self._timeouts if each is not None), default=inf)
        self._ready_by = monotonic() + START_SECONDS

    @property
    def timeout(self) -> float | None:
        """The timeout of the call that the worker is at."""
        return self._timeouts[self._progress.position]

    def due(self) -> float:
        """When to look again."""
        if not self.is_ready:
            return self._ready_by
        return min(self._over(), monotonic() + self._shortest)

    def is_over(self) -> bool:
        """Whether it is too late."""
        return monotonic() >= (self._over() if self.is_ready else self._ready_by)

    def _over(self) -> float:
        since, timeout = self._progress.since, self.timeout
        return since + timeout if since and timeout is not None else inf


@dataclass(frozen=True, slots=True)
class _Call:
    """A request for one call."""

    work: StageWork
    call: BoundCall
    described: Described
    content: tuple[bytes, int, int]

    @property
    def calls(self) -> Sequence[BoundCall]:
        return (self.call,)

    @property
    def program(self) -> Program:
        assert self.work.program is not None
        return self.work.program

    def begin(self, progress: Progress, most: int) -> int:
        progress.reset(1)
        return 1

    def end(self) -> None:
        """There is nothing that others could take."""

    def answer(self, kind: str, content: Any) -> None:
        """It asks for nothing."""


@dataclass(frozen=True, slots=True)
class _Items:
    """A request for a slice of items."""

    remote: RemoteSlice
    described: Described
    content: Items

    @property
    def work(self) -> StageWork:
        return self.remote.work

    @property
    def calls(self) -> Sequence[BoundCall]:
        return self.work.calls

    @property
    def program(self) -> Program:
        assert self.work.program is not None
        return self.work.program

    def begin(self, progress: Progress, most: int) -> int:
        return self.remote.begin(progress, most)

    def end(self) -> None:
        self.remote.end()

    def answer(self, kind: str, content: Any) -> Any:
        return self.remote.answer(kind, content)


_Request: TypeAlias = _Call | _Items


def _say_goodbye(workers: list[WorkerProcess]) -> None:
    """Have idle workers end by themselves; kill those that do not."""
    for worker in workers:
        with suppress(OSError):
            worker.channel.send(None)
    deadline = monotonic() + _GOODBYE_SECONDS
    for worker in workers:
        worker.process.has_ended(max(0, deadline - monotonic()))
        worker.end()
