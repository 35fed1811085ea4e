"""Starts worker processes, in the way that is quickest where the engine runs."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial

from lokki.engine.forking import Forked, ForkServer, ServerGone, can_fork
from lokki.engine.spawning import FORK_SERVER, Spawned, Surroundings, spawn, surroundings


class Starter:
    """Starts workers in which libraries use ``threads`` threads.

    They are forked from a server if possible. A worker is in the surroundings that a new process
    has at that moment: when these have changed, another server takes the place of the first.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._lock = threading.Lock()
        self._server: ForkServer | None = None
        self._last: Surroundings | None = None
        self._forks = can_fork()

    def expect(self) -> None:
        """Prepare for a worker, without waiting."""
        if self._forks and self._lock.acquire(blocking=False):
            try:
                with suppress(OSError):  # it shows when a worker is needed
                    self._server_now()
            finally:
                self._lock.release()

    def start(self, memory: int, connection: int) -> Spawned | Forked:
        """Start a worker with these descriptors, of its progress and its socket.

        Raises OSError if it cannot be started.
        """
        with self._lock:
            for _ in range(2 if self._forks else 0):  # a server may have been killed
                with suppress(ServerGone):
                    return self._server_now().fork(memory, connection)
            self._forks = False
        self._last = surroundings(self.threads)
        return Spawned(self._last, memory, connection)

    def would_start_alike(self) -> bool:
        """Whether a worker that is started now has the surroundings of the last one."""
        return self._last == surroundings(self.threads)

    def rest(self) -> None:
        """End what costs memory until the next worker is started."""
        with self._lock:
            self._dismiss()

    def _server_now(self) -> ForkServer:
        now = surroundings(self.threads)
        server = self._server
        if server is None or not server.alive or self._last != now:
            self._dismiss()
            server = self._begin(now)
        return server

    def _begin(self, here: Surroundings) -> ForkServer:
        self._server, self._last = ForkServer(partial(spawn, FORK_SERVER, here)), here
        return self._server

    def _dismiss(self) -> None:
        if self._server is not None:
            self._server.dismiss()
            self._server = None
