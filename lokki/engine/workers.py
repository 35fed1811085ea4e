"""Worker processes, which make the calls of process lanes. The other end is `worker.py`.

A worker serves one call at a time. One that dies, is killed for a timeout or a cancelled run, or
sends no valid answer is replaced at the next call. Each worker leads its own process group, so that
what a step has started dies with it, and Ctrl-C at the terminal reaches only the engine.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from inspect import getclosurevars, isfunction
from itertools import count
from time import monotonic
from typing import Any, NoReturn
from weakref import WeakKeyDictionary

import anyio

from lokki import output
from lokki.call import BoundCall, unstorable
from lokki.config import Local
from lokki.engine.by_name import Way, dumps_call, dumps_input
from lokki.engine.channel import Channel
from lokki.engine.items import CallCancelled, CallFailed, StageWork
from lokki.engine.program import Program
from lokki.engine.sources import Source
from lokki.engine.spawning import command, cores, environment, megabytes
from lokki.errors import PayloadError, ValueUnreadable, WorkerDied
from lokki.model.failure import Failure
from lokki.secret import redacted, sendable
from lokki.store.codec import dumps_by_value, loads

START_SECONDS = 60.0
"""How long a worker may take to start, import what a call needs and unpickle it."""
_GOODBYE_SECONDS = 5.0
_LONGEST_POLL_SECONDS = 1e6


class _NotBegun(Exception):
    """The worker died before it read the call."""


class _Stale(Exception):
    """The worker has imported code that has changed since."""


class _Unloadable(Exception):
    """The worker cannot load what it was sent."""


class _Worker:
    """One process, and the calls that it knows: those of the run ``run_id``."""

    def __init__(self, threads: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs, ours:
            self.process = subprocess.Popen(
                command(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
                env=environment(threads),
            )
            self.channel = Channel(ours.detach())
        self._poll = select.poll()
        self._poll.register(self.channel.fileno(), select.POLLIN)
        self._end: str | None = None
        self.run_id: str | None = None
        self._program: Program | None = None
        self._sources: dict[str, Source] = {}
        self.known: set[int] = set()
        self.calls = 0
        self.idle_since = monotonic()
        self.work: StageWork | None = None
        self.answered = True
        self.cancelled = False

    @property
    def connected(self) -> bool:
        """Whether the process has its end of the socket, as it does until it dies."""
        gone = select.POLLHUP | select.POLLERR | select.POLLNVAL
        return not any(event & gone for _, event in self._poll.poll(0))

    def can_run(self, program: Program) -> bool:
        """Whether none of the files that it has imported has changed since."""
        known = self._sources
        return program is self._program or all(
            known.get(name, each) == each for name, each in program.sources.items()
        )

    def news_of(self, program: Program) -> Program:
        """The part of the program that this worker does not have yet."""
        news = program.for_worker(self._sources)
        self._sources.update(program.sources)
        self._program = program
        return news

    def wait(self, deadline: float) -> bool:
        """Wait for something to receive; False if nothing came by ``deadline``."""
        while True:
            left = deadline - monotonic()
            if self._poll.poll(1000 * min(max(left, 0), _LONGEST_POLL_SECONDS)):
                return True
            if left <= 0:
                return False

    def kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Wait for the process to end, and describe how it did."""
        if self._end is None:
            self.kill()
            self._end = _exit_text(self.process.wait())
            self.channel.close()
        return self._end


@dataclass(slots=True)
class _Request:
    """What a worker is sent for a call; the definition only if it does not know its key."""

    program: Program
    key: int
    definition: bytes
    raw: bytes
    index: int
    attempt: int


class _Definitions:
    """The calls of one stage, as workers receive them."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.way = Way.ANY_NAME
        self._unfound = ""
        self._lock = threading.Lock()
        self._calls: dict[tuple[BoundCall, Way], tuple[int, bytes]] = {}

    def get(self, call: BoundCall, way: Way, ids: count[int]) -> tuple[int, bytes]:
        found = self._calls.get((call, way))
        if found is not None:
            return found
        with self._lock:
            if (call, way) not in self._calls:
                self._calls[call, way] = next(ids), self._definition(call, way)
            return self._calls[call, way]

    def _definition(self, call: BoundCall, way: Way) -> bytes:
        try:
            with sendable():
                return dumps_call(call, self.program, way)
        except PayloadError as error:
            raise PayloadError(
                f"the function of step '{call.name}' cannot be sent to a worker process: "
                f"{_unsendable(call.invoke) or error}; make it inside the step, or in a module "
                f"that the step imports{self._unfound}"
            ) from error

    def try_next(self, way: Way, why: str) -> None:
        """Send calls in another way from now on, since a worker could not load one."""
        if way is Way.VALUE:
            raise PayloadError(f"a worker process cannot load the call: {why}")
        self.way, self._unfound = Way(way + 1), f" ({why})"

    def input(self, call: BoundCall, value: Any, way: Way) -> bytes:
        try:
            return dumps_input(value, self.program, way)
        except PayloadError as error:
            raise PayloadError(
                f"the input of step '{call.name}' cannot be sent to a worker process: {error}"
            ) from error


class WorkerPool:
    """At most ``most`` worker processes, started when they are first needed.

    ``local`` says how many threads the libraries in a worker may use, and when a worker ends: after
    some time without a call, after a number of calls, or when it has grown too large.
    """

    def __init__(self, most: int, local: Local) -> None:
        self._threads = local.worker_threads or max(1, cores() // most)
        self._idle_seconds = local.worker_idle
        self._most_calls = local.worker_calls
        self._most_megabytes = local.worker_memory
        self._timer: threading.Timer | None = None
        self.limiter = anyio.CapacityLimiter(most)
        self._slots = threading.Semaphore(most)
        self._lock = threading.Lock()  # the event loop takes it, too: held only briefly
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._ids = count()
        self._definitions: WeakKeyDictionary[StageWork, _Definitions] = WeakKeyDictionary()

    def call(self, work: StageWork, call: BoundCall, value: Any, index: int, attempt: int) -> Any:
        """Make one call in a worker and return its result; blocks.

        Raises CallFailed with the error, TimeoutError after the step's timeout, WorkerDied when
        the process died or could not be started, CallCancelled when `kill` was called for its run.
        """
        try:
            definitions = self._definitions_of(work)
            while True:
                way = definitions.way
                key, definition = definitions.get(call, way, self._ids)
                raw = definitions.input(call, value, way)
                request = _Request(definitions.program, key, definition, raw, index, attempt)
                try:
                    return self._ask(work, call, request)
                except _Stale:
                    continue
                except _Unloadable as error:
                    definitions.try_next(way, str(error))
        except _NotBegun as error:
            raise WorkerDied(str(error)) from None
        except PayloadError as error:  # lokki's, not the user's: a retry would not help
            item = index if call.in_map else None
            reason = redacted(str(error), call.secrets)
            failure = Failure(call.name, item, attempt, "PayloadError", reason, "")
            raise CallFailed(failure) from None

    def _definitions_of(self, work: StageWork) -> _Definitions:
        with self._lock:
            found = self._definitions.get(work)
            if found is None:
                assert work.program is not None
                found = self._definitions[work] = _Definitions(work.program)
            return found

    def _ask(self, work: StageWork, call: BoundCall, request: _Request) -> Any:
        with self._slots:
            try:
                return self._call(work, call, request)
            except _NotBegun:  # it died while it was idle
                return self._call(work, call, request)

    def kill(self, work: StageWork) -> None:
        """Kill the workers that run a call of ``work``."""
        with self._lock:
            for worker in self._busy:
                if worker.work is work:
                    worker.cancelled = True
                    worker.kill()

    def close(self) -> None:
        """End the workers; none runs a call any more."""
        with self._lock:
            workers, self._idle = self._idle, []
            timer = self._timer
        if timer is not None:
            timer.cancel()
            timer.join()
        _say_goodbye(workers)

    def _take(self, work: StageWork, run_id: str, program: Program) -> _Worker:
        """A worker for one call, preferably one that knows the run.

        Workers that are dead or have imported code that has changed are ended.
        """
        new: _Worker | None = None
        while True:
            with self._lock:
                if work.state.halted and work.state.cancelled:
                    if new is not None:
                        self._idle.append(new)
                    raise CallCancelled
                worker = new or self._idle_worker(run_id)
                fits = worker is not None and worker.can_run(program)
                if worker is not None and fits and (worker is new or worker.connected):
                    worker.work = work
                    worker.answered = False
                    self._busy.add(worker)
                    return worker
            if worker is not None:
                worker.end()
                continue
            try:
                new = _Worker(self._threads)
            except OSError as error:
                raise WorkerDied(f"a worker process could not be started: {error}") from None

    def _idle_worker(self, run_id: str) -> _Worker | None:
        for position in range(len(self._idle) - 1, -1, -1):
            if self._idle[position].run_id == run_id:
                return self._idle.pop(position)
        return self._idle.pop() if self._idle else None

    def _give_back(self, worker: _Worker) -> None:
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

    def _is_worn(self, worker: _Worker) -> bool:
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
        _say_goodbye(due)

    def _end(self, worker: _Worker) -> str:
        """End a worker during a call; CallCancelled if `kill` has already done so."""
        with self._lock:
            self._busy.discard(worker)
        end = worker.end()
        if worker.cancelled:
            raise CallCancelled
        return end

    def _call(self, work: StageWork, call: BoundCall, request: _Request) -> Any:
        worker = self._take(work, call.run_id, request.program)
        key, index, attempt = request.key, request.index, request.attempt
        try:
            if worker.run_id != call.run_id:  # the worker forgets calls of other runs, too
                worker.known.clear()
                worker.run_id = call.run_id
            news = None
            if key not in worker.known:
                news = call.run_id, worker.news_of(request.program), request.definition
            worker.calls += 1
            try:
                worker.channel.send((worker.calls, key, news, request.raw, index, attempt))
            except OSError:
                raise self._not_begun(worker) from None
            worker.known.add(key)
            kind, content = self._receive(worker, call, news is not None)
            if kind == "stale":
                raise _Stale
            if kind == "unimportable":
                raise CallFailed(_unimported(call, index, attempt, *content))
            worker.answered = True  # otherwise the process is useless
            if kind == "failure":
                raise CallFailed(content)
            if kind == "unloadable":
                worker.known.discard(key)
                raise _Unloadable(content)
            try:
                return loads(content)
            except PayloadError as error:
                raise unstorable(call, ValueUnreadable(str(error))) from error.__cause__
        finally:
            self._give_back(worker)

    def _receive(self, worker: _Worker, call: BoundCall, is_new: bool) -> tuple[str, Any]:
        """The worker's answer, its kind first; records the lines that precede it."""
        channel, number = worker.channel, worker.calls
        deadline = None
        ready = False
        if is_new or call.timeout is not None:
            deadline = monotonic() + START_SECONDS
        while True:
            if deadline is not None and not worker.wait(deadline):
                self._fail_late(worker, call, ready)
            try:
                kind, of, content = channel.receive()
            except (EOFError, OSError) as error:
                if isinstance(error, ConnectionResetError) and not ready:
                    raise self._not_begun(worker) from None  # the call was sent, but not read
                raise WorkerDied(f"the worker process {self._end(worker)}") from None
            except Exception as error:
                self._end(worker)
                raise WorkerDied(f"the worker process sent an invalid answer: {error}") from None
            if kind in ("line", "echo"):
                (output.record if kind == "line" else output.show)(of, content)
                if deadline is not None and monotonic() > deadline:
                    self._fail_late(worker, call, ready)
            elif of != number:
                self._end(worker)
                raise WorkerDied("the worker process sent the answer to another call")
            elif kind == "ready":
                ready = True
                deadline = None if call.timeout is None else monotonic() + call.timeout
            else:
                return kind, content

    def _not_begun(self, worker: _Worker) -> _NotBegun:
        return _NotBegun(f"the worker process {self._end(worker)} before it began the call")

    def _fail_late(self, worker: _Worker, call: BoundCall, ready: bool) -> NoReturn:
        self._end(worker)
        if ready:
            raise TimeoutError(f"the call took longer than {call.timeout:g} s")
        raise WorkerDied(
            f"the worker process was not ready within {START_SECONDS:g} s, in which it starts, "
            "imports the script and the flow's module and reads its input; anything else that a "
            'script does belongs under:  if __name__ == "__main__":'
        )


def _say_goodbye(workers: list[_Worker]) -> None:
    """Have idle workers end by themselves; kill those that do not."""
    for worker in workers:
        with suppress(OSError):
            worker.channel.send(None)
    deadline = monotonic() + _GOODBYE_SECONDS
    for worker in workers:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0, deadline - monotonic()))
        worker.end()


def _unimported(
    call: BoundCall, index: int, attempt: int, kind: str, reason: str, trace: str
) -> Failure:
    """The failure of a call whose worker could not import the program; a retry uses a new one."""
    return Failure(
        call.name,
        index if call.in_map else None,
        attempt,
        kind,
        redacted(reason, call.secrets),
        redacted(trace, call.secrets),
        issubclass(WorkerDied, call.exceptions),
    )


def _unsendable(function: Any) -> str | None:
    """What a function takes along that cannot be sent, and why; plain values first."""
    for name, value in sorted(_taken_along(function), key=lambda taken: callable(taken[1])):
        try:
            dumps_by_value(value)
        except PayloadError as error:
            return f"{name}: {error}"
    return None


def _taken_along(function: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(function, partial):
        yield from ((f"its argument '{name}'", value) for name, value in function.keywords.items())
        yield from (("an argument", value) for value in function.args)
        for inner in (function.func, *function.args):
            yield from _taken_along(inner)
    elif isfunction(function):
        used = getclosurevars(function)
        yield from ((f"the global '{name}'", value) for name, value in used.globals.items())
        yield from ((f"the variable '{name}'", value) for name, value in used.nonlocals.items())


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    name = f"signal {-code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
