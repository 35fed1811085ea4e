"""What came of a slice of items, as rows for the journal; a worker process makes them, too."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from lokki.store.spans import Span

_ROW_BYTES = 256


@dataclass(slots=True)
class Outcomes:
    """The outcomes of a slice of a stage's items, as rows.

    ``spans`` are the many items that succeed at the first attempt with a small result; ``items``
    and ``failures`` have complete rows of their tables. ``counts`` (succeeded, failed, tolerated,
    retrying) are the stage's after them. ``spent`` has the timed calls: the position of the inner
    step, and the seconds.
    """

    stage: int
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    spans: list[Span] = field(default_factory=list)
    items: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[tuple[Any, ...]] = field(default_factory=list)
    spent: list[tuple[int, float]] = field(default_factory=list)

    def __len__(self) -> int:
        """About how many rows of ordinary size they are."""
        spans = sum(len(span.times) + len(span.results) for span in self.spans)
        return len(self.spans) + spans // _ROW_BYTES + len(self.items) + len(self.failures)

    def add(self, later: Outcomes) -> None:
        """Add later outcomes of the same stage."""
        self.counts = later.counts
        self.spans += later.spans
        self.items += later.items
        self.failures += later.failures
        self.spent += later.spent

    def latest(self) -> float | None:
        """The time of the last outcome."""
        spans = (span.finished() for span in self.spans)
        return max((*spans, *(row[5] for row in self.items)), default=None)

    def sums(self) -> list[tuple[int, int, int, float]]:
        """The rows of the time spent in calls of each inner step."""
        times = defaultdict[int, list[float]](list)
        for position, seconds in self.spent:
            times[position].append(seconds)
        return [(self.stage, position, len(own), sum(own)) for position, own in times.items()]
