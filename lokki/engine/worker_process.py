"""The engine's handle of a worker process: its start, its end and the connection to it."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import suppress
from time import monotonic

from lokki.engine.channel import Channel
from lokki.engine.program import Program
from lokki.engine.progress import Progress, shared_memory
from lokki.engine.sources import Source
from lokki.engine.starting import Starter

_LONGEST_POLL_SECONDS = 1e6


class WorkerProcess:
    """One process, and the calls that it knows: those of the run ``run_id``."""

    def __init__(self, starter: Starter) -> None:
        ours, theirs = socket.socketpair()
        with theirs, ours:
            memory = shared_memory()
            try:
                self.progress = Progress(memory)
                self.process = starter.start(memory, theirs.fileno())
            finally:
                os.close(memory)
            self.channel = Channel(ours.detach())
        self._poll = select.poll()
        self._poll.register(self.channel.fileno(), select.POLLIN)
        self._end: str | None = None
        self.run_id: str | None = None
        self._program: Program | None = None
        self._sources: dict[str, Source] = {}
        self.known: set[int] = set()
        self.requests = 0
        self.calls = 0
        self.idle_since = monotonic()
        self.owner: object = None
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
        """Kill the process, and what it has started."""
        self.process.kill()

    def end(self) -> str:
        """Wait for the process to end, and describe how it did."""
        if self._end is None:
            self.kill()
            self._end = _exit_text(self.process.exit_code())
            self.channel.close()
        return self._end


def _exit_text(code: int | None) -> str:
    if code is None:
        return "ended, as did the process that had started it"
    if code >= 0:
        return f"exited with code {code}"
    name = f"signal {-code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
