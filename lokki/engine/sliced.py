"""A slice of a stage's items on its way to a worker and back: what is sent, and what comes back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from lokki.engine.perform import FailedAttempt
from lokki.engine.progress import Progress
from lokki.engine.state import Work
from lokki.store.outcomes import Outcomes


class Traits(NamedTuple):
    """What a worker is to know of a stage besides its calls.

    ``writer`` is who records the run. ``payloads``: the folder where a worker stores large results;
    without one, it has the engine store them.
    """

    stage_id: int
    listed: str | None
    retried: tuple[bool, ...]
    writer: str
    payloads: str | None


class Items(NamedTuple):
    """The items of a slice with the pickles of their inputs, and how they are likely to be."""

    works: list[Work]
    raws: list[bytes]
    seconds_per_item: float
    large: bool


class Ran(NamedTuple):
    """What came of a slice in a worker.

    ``kept``: results that are to be kept, with index and size; ``carried``: the pickle of the input
    of the inner step that is to be tried again, and how it is stored; ``unloadable``: why the input
    of the next item cannot be unpickled.
    """

    succeeded: list[int]
    failed: list[FailedAttempt]
    rows: Outcomes
    kept: list[tuple[int, int, Any]]
    carried: dict[int, tuple[bytes, bytes | None, str | None]]
    large: bool
    unloadable: str | None


class Sent(deque[Work]):
    """The items of a claim while a worker has them: those that it has not begun can be taken away.

    The length counts these.
    """

    def __init__(self, works: Sequence[Work], progress: Progress) -> None:
        super().__init__(works)
        self._progress = progress
        self._lock = threading.Lock()
        self._open = True
        progress.reset(len(works))

    def __len__(self) -> int:
        begun = max(1, self._progress.begun)
        return max(0, self._progress.limit - begun) if self._open else 0

    def pop(self) -> Work:  # type: ignore[override]
        with self._lock:
            if not (self._open and self._progress.take_back()):
                raise IndexError
            return super().pop()

    def close(self) -> list[Work]:
        """The items that the worker was left with; no more of them can be taken away."""
        with self._lock:
            self._open = False
            return list(self)
