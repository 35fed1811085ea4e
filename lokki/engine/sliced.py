"""The messages between the engine and a worker that runs a slice of a stage's items."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from lokki.engine.perform import FailedAttempt
from lokki.engine.program import Program
from lokki.engine.progress import Begun
from lokki.engine.state import Work
from lokki.store.outcomes import Outcomes
from lokki.store.spans import Entry
from lokki.telemetry import Carrier


class Preparation(NamedTuple):
    """What a worker imports ahead of a run's first call; ``program`` has the sources it lacks."""

    run_id: str
    program: Program


class Traits(NamedTuple):
    """What a worker must know about a stage besides its calls.

    ``retried`` says for each inner step whether the engine needs its input for a retry. ``writer``
    is the name of the run's writer. ``payloads`` is the folder where the worker stores large
    results; None: the engine stores them. ``span`` is the stage's, if the program has
    OpenTelemetry.
    """

    stage_id: int
    listed: str | None
    retried: tuple[bool, ...]
    writer: str
    payloads: str | None
    span: Carrier | None


class Items(NamedTuple):
    """The items of a slice, their inputs as in a span, and what to expect of them.

    ``keys`` are those of items whose first call has been looked up: there is no result to reuse.
    """

    works: list[Work]
    inputs: list[Entry]
    seconds_per_item: float
    large: bool
    keys: dict[int, str | None]


class Ran(NamedTuple):
    """The outcomes of a slice in a worker.

    ``singles`` succeeded and are in no span. ``carried`` has the input of the inner step to retry:
    its pickle and its stored form. ``unloadable`` is the reason why the input of the next item
    cannot be unpickled. ``seconds`` is how long the worker was at it.
    """

    singles: list[int]
    failed: list[FailedAttempt]
    rows: Outcomes
    carried: dict[int, tuple[bytes, bytes | None, str | None]]
    large: bool
    unloadable: str | None
    seconds: float


class Sent(deque[Work]):
    """The items of a claim while a worker runs them.

    Other lanes can take those that it has not begun; the length counts only these.
    """

    def __init__(self, works: Sequence[Work], progress: Begun) -> None:
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
        """Stop other lanes from taking items, and return those that the worker kept."""
        with self._lock:
            self._open = False
            return list(self)
