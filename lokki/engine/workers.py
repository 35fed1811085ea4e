"""Worker processes on this machine, which serve requests. The other end is `worker.py`.

A worker serves one request at a time: a call, or a slice of a stage's items. One that dies, is
killed for a timeout or for a cancelled run, or gives no proper answer is replaced at the next
request. Workers lead a process group of their own, so that what a step has started dies with it,
and Ctrl-C at the terminal reaches the engine alone.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from math import inf
from time import monotonic
from typing import Any, NoReturn

from lokki.config import Local
from lokki.engine import by_name
from lokki.engine.ahead import starter
from lokki.engine.elsewhere import Again, Asked, Elsewhere, Unimportable, Unloadable
from lokki.engine.perform import CallCancelled
from lokki.engine.program import Program
from lokki.engine.progress import Progress
from lokki.engine.sliced import Preparation
from lokki.engine.spawning import cores, megabytes
from lokki.engine.worker_process import WorkerProcess
from lokki.errors import WorkerDied

START_SECONDS = 60.0
"""How long a worker may take to start, import what a call needs and unpickle it."""
_GOODBYE_SECONDS = 5.0


class _NotBegun(WorkerDied):
    """The worker died before it had read the request."""


class WorkerPool(Elsewhere):
    """At most ``most`` worker processes, started when they are first needed.

    ``local`` says how many threads the libraries in a worker may use, and when a worker ends: after
    some time without a call, after a number of calls, or when it has grown too large.
    """

    def __init__(self, most: int, local: Local) -> None:
        super().__init__(most)
        self._starter = starter(local.worker_threads or max(1, cores() // most))
        self._idle_seconds = local.worker_idle
        self._most_calls = local.worker_calls
        self._most_megabytes = local.worker_memory
        self._timer: threading.Timer | None = None
        self._preparing: threading.Thread | None = None
        self._slots = threading.Semaphore(most)
        self._lock = threading.Lock()  # the event loop takes it, too: held only briefly
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()

    def kill(self, owner: object) -> None:
        """Kill the workers that serve a request of ``owner``."""
        with self._lock:
            for worker in self._busy:
                if worker.owner is owner:
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

    def _take(self, request: Asked) -> WorkerProcess:
        """A worker for one request, preferably one that knows the run.

        Workers that are dead or have imported code that has changed are ended.
        """
        new: WorkerProcess | None = None
        while True:
            with self._lock:
                if request.cancelled:
                    if new is not None:
                        self._idle.append(new)
                    raise CallCancelled
                worker = new or self._idle_worker(request.run_id)
                if (
                    worker is not None
                    and worker.can_run(request.program)
                    and (worker is new or (worker.connected and self._is_current(worker)))
                ):
                    worker.owner = request.owner
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
            worker.owner = None
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

    def ask(self, request: Asked) -> Any:
        """What a worker answers, one of ``most`` at a time."""
        with self._slots:
            try:
                return self._exchange(request)
            except _NotBegun:  # it died while it was idle
                return self._exchange(request)

    def _exchange(self, request: Asked) -> Any:
        run_id, program, key = request.run_id, request.program, request.key
        worker = self._take(request)
        try:
            if worker.run_id != run_id:  # the worker forgets the calls of other runs, too
                worker.known.clear()
                worker.run_id = run_id
            news = None
            if key not in worker.known:
                news = run_id, worker.news_of(program), request.definition
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
                raise Again
            if kind == "unimportable":
                raise Unimportable(*content)
            worker.answered = True  # otherwise the process is useless
            if kind == "unloadable":
                worker.known.discard(key)
                raise Unloadable(content)
            return content
        finally:
            request.end()
            self._give_back(worker)

    def _receive(self, worker: WorkerProcess, request: Asked, is_new: bool) -> tuple[str, Any]:
        """The worker's answer, its kind first; records the lines that precede it."""
        channel = worker.channel
        late = _Deadline(worker.progress, request.timeouts, is_new)
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
                request.hear(kind, of, content)
                if late.is_over():
                    self._fail_late(worker, late)
            elif of != worker.requests:
                self._end(worker)
                raise WorkerDied("the worker process sent the answer to another call")
            elif kind == "ready":
                late.is_ready = True
            elif kind in ("put", "find"):
                with suppress(OSError):  # it has died, as is seen at once
                    channel.send(request.hear(kind, of, content))
            elif kind == "carried":
                request.hear(kind, of, content)
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

    def __init__(self, progress: Progress, timeouts: Sequence[float | None], is_new: bool) -> None:
        self.is_ready = not is_new
        self._progress = progress
        self._timeouts = timeouts
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


def _say_goodbye(workers: list[WorkerProcess]) -> None:
    """Have idle workers end by themselves; kill those that do not."""
    for worker in workers:
        with suppress(OSError):
            worker.channel.send(None)
    deadline = monotonic() + _GOODBYE_SECONDS
    for worker in workers:
        worker.process.has_ended(max(0, deadline - monotonic()))
        worker.end()
