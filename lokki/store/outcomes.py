"""What came of a slice of items, as rows for the journal; a worker process makes them, too."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lokki.store.spans import Span

_ROW_BYTES = 256

CachedRow: TypeAlias = tuple[str, str, float, float, bytes | None, str | None]
"""A result that later calls may reuse: the key of its call, the step, when it was made and when it
expires, and the result packed, or the reference to its payload."""


@dataclass(slots=True)
class Outcomes:
    """The outcomes of a slice of a stage's items, as rows.

    ``spans`` are the many items that succeed at the first attempt with a small result; ``items``
    and ``failures`` have complete rows of their tables. ``counts`` (succeeded, failed, tolerated,
    retrying) are the stage's after them, as is the number of ``reused_items``, whose result is that
    of an earlier call. ``spent`` has the timed calls: the position of the inner step, and the
    seconds. ``reused`` has the position of each inner step with the result of an earlier call,
    ``cached`` the rows of results that later ones may reuse.
    """

    stage: int
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    spans: list[Span] = field(default_factory=list)
    items: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[tuple[Any, ...]] = field(default_factory=list)
    spent: list[tuple[int, float]] = field(default_factory=list)
    reused: list[int] = field(default_factory=list)
    cached: list[CachedRow] = field(default_factory=list)
    reused_items: int = 0

    def __len__(self) -> int:
        """About how many rows of ordinary size they are."""
        spans = sum(len(span.times) + len(span.results) for span in self.spans)
        rows = len(self.items) + len(self.failures) + len(self.cached)
        return len(self.spans) + spans // _ROW_BYTES + rows

    def add(self, later: Outcomes) -> None:
        """Add later outcomes of the same stage."""
        self.counts = later.counts
        self.reused_items = later.reused_items
        self.spans += later.spans
        self.items += later.items
        self.failures += later.failures
        self.spent += later.spent
        self.reused += later.reused
        self.cached += later.cached

    def latest(self) -> float | None:
        """The time of the last outcome."""
        spans = (span.finished() for span in self.spans)
        return max((*spans, *(row[5] for row in self.items)), default=None)

    def sums(self) -> list[tuple[int, int, int, float, int]]:
        """The rows of what was spent on each inner step: calls, seconds, and reused results."""
        times = defaultdict[int, list[float]](list)
        for position, seconds in self.spent:
            times[position].append(seconds)
        reused = Counter(self.reused)
        return [
            (self.stage, each, len(times[each]), sum(times[each]), reused[each])
            for each in sorted({*times, *reused})
        ]
