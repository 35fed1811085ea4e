"""Steps of a durable function that run in Batch, and how often it looks at their jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lokki.runtime.event import Slice
from lokki.runtime.units import TaskUnit

_FIRST_LOOK = 5
"""Seconds to the second look at jobs."""
_SHARE = 100
"""A later look is a hundredth of the time so far after the one before."""


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive steps of a stage that are jobs: for each item, one after the other.

    ``value``: the input of a step by itself; ``parts``: the slices of a map, whose inputs are in
    its manifest unless these are the results of the step before; ``without``: items that have
    failed before. ``at_once``: jobs at a time; ``cut``: as in an event.
    """

    flow: Mapping[str, Any]
    units: Sequence[TaskUnit]
    value: Any = None
    parts: Sequence[Slice] = ()
    without: Sequence[int] = ()
    at_once: int = 1
    cut: int = 0

    @property
    def run_id(self) -> str:
        run_id: str = self.flow["run_id"]
        return run_id

    @property
    def name(self) -> str:
        """The step that its jobs begin with, which names their record."""
        return self.units[0].name

    @property
    def in_map(self) -> bool:
        return self.units[0].in_map

    @property
    def total(self) -> int:
        return sum(part.count for part in self.parts) if self.in_map else 1

    def index(self, item: int) -> int | None:
        return item if self.in_map else None


def seconds_to_look(elapsed: float) -> int:
    """The seconds to the next look at jobs, of which the first was submitted ``elapsed`` ago."""
    return max(_FIRST_LOOK, int(elapsed / _SHARE))


def looks_in(seconds: float) -> int:
    """How many looks there are at jobs that take so many seconds."""
    looks, elapsed = 1, 0.0
    while elapsed < seconds:
        elapsed += seconds_to_look(elapsed)
        looks += 1
    return looks
