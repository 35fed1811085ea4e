"""Worker processes: what a process lane makes its calls with. The other end is `worker.py`.

A worker serves one call at a time. One that dies, is killed for a timeout or for a cancelled run
is replaced at the next call. Workers lead a process group of their own, so that what a step has
started dies with it, and Ctrl-C at the terminal reaches the engine alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import anyio

from lokki import output
from lokki.call import BoundCall, Failure
from lokki.engine.items import CallCancelled, CallFailed, StageWork
from lokki.errors import PayloadError, WorkerDied
from lokki.store.codec import dumps, dumps_by_value, loads

_GOODBYE_SECONDS = 5.0


class _Worker:
    """One process, and the calls that it has been told of."""

    def __init__(self) -> None:
        import socket
        from multiprocessing.connection import Connection

        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lokki.engine.worker", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=2,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self.connection = Connection(ours.detach())
        self.known: set[int] = set()
        self.work: StageWork | None = None
        self.cancelled = False

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Wait for the process's end and say what it was."""
        self.kill()
        code = self.process.wait()
        self.connection.close()
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if -code == signal.SIGKILL else ""
            return f"killed by {name}{hint}"
        return f"exited with code {code}"


class WorkerPool:
    """At most ``most`` worker processes, started when they are first needed."""

    def __init__(self, most: int) -> None:
        self.limiter = anyio.CapacityLimiter(most)
        self._slots = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._ids = count()
        self._calls: WeakKeyDictionary[StageWork, dict[BoundCall, tuple[int, bytes]]] = (
            WeakKeyDictionary()
        )

    def call(self, work: StageWork, call: BoundCall, value: Any, index: int, attempt: int) -> Any:
        """Make one call in a worker and return its result; blocks.

        Raises CallFailed with the user's error, TimeoutError after the step's timeout, WorkerDied
        when the process did, CallCancelled when `kill` was called for its run.
        """
        with self._slots:
            worker = self._take(work)
            try:
                return self._call(worker, work, call, value, index, attempt)
            finally:
                self._give_back(worker)

    def kill(self, work: StageWork) -> None:
        """Kill the workers that are at a call of ``work``."""
        with self._lock:
            for worker in self._busy:
                if worker.work is work:
                    worker.cancelled = True
                    worker.kill()

    def close(self) -> None:
        """End the workers; none is at a call any more."""
        with self._lock:
            workers, self._idle = self._idle, []
        for worker in workers:
            with suppress(OSError):
                worker.connection.send(None)
        for worker in workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(_GOODBYE_SECONDS)
            worker.end()

    def _take(self, work: StageWork) -> _Worker:
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = _Worker()
        with self._lock:
            worker.work = work
            self._busy.add(worker)
            if work.state.halted and work.state.cancelled:
                worker.cancelled = True
        return worker

    def _give_back(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.discard(worker)
            worker.work = None
            if not worker.connection.closed:
                self._idle.append(worker)

    def _call(
        self,
        worker: _Worker,
        work: StageWork,
        call: BoundCall,
        value: Any,
        index: int,
        attempt: int,
    ) -> Any:
        if worker.cancelled:
            worker.end()
            raise CallCancelled
        number, definition = self._definition(work, call)
        raw = _for_worker(value)
        try:
            new = None if number in worker.known else definition
            worker.connection.send((number, new, raw, index, attempt))
            worker.known.add(number)
            while True:
                if call.timeout is not None and not worker.connection.poll(call.timeout):
                    worker.end()
                    raise TimeoutError(f"the call took longer than {call.timeout:g} s")
                kind, content = worker.connection.recv()
                if kind == "result":
                    return loads(content)
                if kind == "failure":
                    raise CallFailed(content)
                if kind == "unstorable":
                    raise PayloadError(content)
                if kind == "unloadable":
                    place = index if call.in_map else None
                    reason = f"a worker process cannot load the call: {content}"
                    raise CallFailed(Failure(call.name, place, attempt, "PayloadError", reason, ""))
                output.record(call.run_id, content)
        except (EOFError, ConnectionError):
            end = worker.end()
            if worker.cancelled:
                raise CallCancelled from None
            raise WorkerDied(f"the worker process was {end}") from None

    def _definition(self, work: StageWork, call: BoundCall) -> tuple[int, bytes]:
        with self._lock:
            calls = self._calls.setdefault(work, {})
            if call not in calls:
                try:
                    calls[call] = next(self._ids), dumps_by_value(call)
                except PayloadError as error:
                    raise PayloadError(
                        f"step '{call.name}' cannot be sent to a worker process: {error}"
                    ) from error
            return calls[call]


def _for_worker(value: Any) -> bytes:
    """Pickle an input; what ``__main__`` defines goes by value, since a worker has another one."""
    raw = dumps(value)
    return dumps_by_value(value) if b"__main__" in raw else raw
