"""The events of a run in progress, as `RunHandle.events` yields them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from lokki.engine.state import Counts
from lokki.model.failure import Failure
from lokki.model.status import RunStatus


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run is recorded and begins; ``resumed`` if it began before."""

    run_id: str
    flow: str
    resumed: bool


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins with ``counts.total`` items, some of which may already have results."""

    position: int
    name: str
    is_map: bool
    counts: Counts


@dataclass(frozen=True, slots=True)
class StageProgressed:
    """The counts of a stage; at most about ten a second, however many items."""

    position: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class StageFinished:
    """Every item of a stage has its outcome, on disk."""

    position: int
    counts: Counts
    seconds: float


@dataclass(frozen=True, slots=True)
class StageFailed:
    """A failure that is not tolerated has ended the stage, and the run with it."""

    position: int
    counts: Counts
    seconds: float
    failure: Failure


@dataclass(frozen=True, slots=True)
class RunCancelling:
    """The run is being cancelled; it ends when its unstoppable calls have ended."""


@dataclass(frozen=True, slots=True)
class RunPausing:
    """The run is being paused: nothing begins, and what runs ends first."""


@dataclass(frozen=True, slots=True)
class RunPaused:
    """The run is paused: nothing of it runs."""


@dataclass(frozen=True, slots=True)
class RunUnpaused:
    """The run continues after a pause."""


@dataclass(frozen=True, slots=True)
class RunFinished:
    """The run has ended, or is left paused to another process. The last event."""

    status: RunStatus
    error: str | None


Event: TypeAlias = (
    RunStarted
    | StageStarted
    | StageProgressed
    | StageFinished
    | StageFailed
    | RunCancelling
    | RunPausing
    | RunPaused
    | RunUnpaused
    | RunFinished
)
