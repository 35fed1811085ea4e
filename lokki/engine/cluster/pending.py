"""A request of a lane to the cluster whose outcome is awaited."""

from __future__ import annotations

import threading
from time import monotonic

from lokki.engine.cluster.connection import Future
from lokki.engine.cluster.messages import Seen
from lokki.engine.elsewhere import Asked

FIRST_LOOK_SECONDS = 0.25
"""An order that takes longer has met a long item: others may run what it has not begun."""
_LAST_LOOK_SECONDS = 2.0
_EACH_SECONDS = 0.01
"""How much longer the engine waits before it asks again, for each worker."""


class _Known:
    """How far an order is, as was last heard: what the engine has in place of a `Progress`."""

    def __init__(self) -> None:
        self.begun = self.position = self.limit = 0

    def reset(self, count: int) -> None:
        self.limit = count

    def take_back(self) -> bool:
        if not 0 < self.begun < self.limit:
            return False
        self.limit -= 1
        return True


class Pending:
    """An order whose outcome is awaited."""

    def __init__(self, request: Asked, number: int) -> None:
        self.request = request
        self.number = number
        self.known = _Known()
        self.future: Future | None = None
        self.news = threading.Event()
        self.stopped: float | None = None
        self.pause = FIRST_LOOK_SECONDS
        self.due = monotonic() + self.pause
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Have its process killed; the lane waits only briefly for that."""
        if self.stopped is None:
            self.stopped = monotonic()
            self.news.set()

    def look_later(self, now: float, workers: int) -> None:
        """Say when to look again: soon as long as nothing has begun, unless there are many."""
        most = _LAST_LOOK_SECONDS if self.known.begun else 4 * FIRST_LOOK_SECONDS
        self.pause = min(2 * self.pause, most)
        self.due = now + max(self.pause, workers * _EACH_SECONDS)

    @property
    def has_spare(self) -> bool:
        """Whether others may take items of it."""
        return 0 < self.known.begun < self.known.limit

    def hear(self, seen: Seen) -> None:
        """Take in how far it is. Raises what storing a large result raises."""
        with self._lock:
            for message in seen.messages:
                answer = self.request.hear(*message)
                if isinstance(answer, Exception):
                    raise answer
            if seen.begun:
                self.known.position, self.known.begun = seen.position, seen.begun
