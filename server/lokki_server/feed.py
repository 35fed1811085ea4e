"""The newest runs, and which of them have changed since a client saw them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from secrets import token_hex
from threading import Lock

from lokki.backends import recorded
from lokki.model.run import Run
from lokki.store.history import History

_MOST_RUNS = 200


@dataclass(frozen=True, slots=True)
class Look:
    """The newest runs at one look; ``changed`` is the number of the look that found each so."""

    number: int
    runs: tuple[Run, ...] = ()
    changed: tuple[int, ...] = ()


class Feed:
    """Looks at the newest runs, and numbers its looks.

    An id is the number of a look of this feed. For an id of another feed, such as an earlier
    server's, every run is new.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._name = token_hex(4)
        self._last = Look(0)
        self._looking = Lock()

    def look(self) -> Look:
        """Look at the newest runs."""
        with self._looking:
            self._last = self._next()
            return self._last

    def _next(self) -> Look:
        before = {
            run.id: (still(run), number)
            for run, number in zip(self._last.runs, self._last.changed, strict=True)
        }
        runs = tuple(recorded.runs(self._history, self._history.runs(limit=_MOST_RUNS)))
        number = self._last.number + 1
        changed = []
        for run in runs:
            same, since = before.get(run.id, (None, number))
            changed.append(since if same == still(run) else number)
        return Look(number, runs, tuple(changed))

    def id(self, look: Look) -> str:
        return f"{self._name}-{look.number}"

    def number(self, event_id: str | None) -> int:
        """The number of the look that an id names; 0 if it is not one of this feed."""
        name, _, number = (event_id or "").rpartition("-")
        known = name == self._name and number.isdecimal() and len(number) < 19
        return int(number) if known else 0


def still(run: Run) -> Run:
    """A run without its durations, which grow even while nothing happens."""
    stages = [replace(stage, duration=0.0) for stage in run.stages]
    return replace(run, duration=None, stages=stages)
