"""What people see of a run's stages while it runs: their states, counts, rates and times."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import ceil
from typing import TypeAlias

from lokki.durations import duration, rate
from lokki.engine.events import (
    Event,
    RunCancelling,
    RunFinished,
    RunPausing,
    RunUnpaused,
    StageFailed,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.engine.state import Counts
from lokki.model.status import RunStatus

_WINDOW_SECONDS = 15.0
"""The rate covers this many of the last seconds."""

Cell: TypeAlias = tuple[str, str]
"""A text and its style: bold, dim, red, green, yellow or none."""


class StageView:
    """What the view shows of a stage."""

    def __init__(self, name: str, *, is_map: bool) -> None:
        self.name = name
        self.is_map = is_map
        self.status = "waiting"
        self.counts = Counts()
        self._began = 0.0
        self._done_before = 0
        self._took: float | None = None
        self._samples: deque[tuple[float, int]] = deque()

    def begin(self, counts: Counts, now: float) -> None:
        self.status, self.counts, self._began = "running", counts, now
        self._done_before = counts.done
        self._samples.append((now, counts.done))

    def end(self, status: str, counts: Counts, seconds: float) -> None:
        self.status, self.counts, self._took = status, counts, seconds

    def cells(self, now: float, *, last: bool) -> list[Cell]:
        """Count, other counts, rate and time; ``last``: nothing will change any more."""
        if self.status in ("waiting", "kept"):
            return [("", "")] * 4
        counts = self.counts
        troubles = {name: getattr(counts, name) for name in ("failed", "tolerated", "retrying")}
        others = troubles | {"reused": counts.reused}
        noted = [f"{count:,} {name}" for name, count in others.items() if count]
        style = "red" if counts.failed else "yellow" if any(troubles.values()) else "dim"
        per_second = self._rate(now)
        return [
            (f"{counts.done:,}/{counts.total:,}" if self.is_map else "", ""),
            (", ".join(noted), style),
            (rate(per_second), ""),
            (self._time(now, per_second, last=last), "dim"),
        ]

    def _time(self, now: float, per_second: float, *, last: bool) -> str:
        """The time so far, or the time left; unknown while items are retrying."""
        if self.status == "cancelled" and not last:
            return "cancelling"
        if self.status == "paused" and not last:
            return "paused"
        left = self.counts.total - self.counts.done
        if per_second and self._took is None and not last and self.counts.retrying < left:
            return f"{duration(ceil(left / per_second))} left"
        return duration(now - self._began if self._took is None else self._took)

    def _rate(self, now: float) -> float:
        """Items per second since the run was resumed: recently or, for an ended stage, in total.

        An ended stage of which items were done before has none: its count has those, too.
        """
        if not self.is_map:
            return 0.0
        done, samples = self.counts.done, self._samples
        if self._took is not None:
            return done / self._took if self._took and not self._done_before else 0.0
        samples.append((now, done))
        while len(samples) > 2 and samples[1][0] < now - _WINDOW_SECONDS:
            samples.popleft()
        since, before = samples[0]
        return (done - before) / (now - since) if now > since else 0.0


class RunView:
    """The stages of a run, as its events change them."""

    def __init__(self, stages: Iterable[StageView]) -> None:
        self.stages = [*stages]

    def event(self, event: Event, now: float) -> None:
        """Note an event; ``now`` is the time of the monotonic clock."""
        match event:
            case StageStarted(position, name, is_map, counts):
                if position >= len(self.stages):
                    self.stages.append(StageView(name, is_map=is_map))
                for stage in self.stages[:position]:
                    if stage.status == "waiting":
                        stage.status = "kept"
                self.stages[position].begin(counts, now)
            case StageProgressed(position, counts):
                self.stages[position].counts = counts
            case StageFinished(position, counts, seconds):
                self.stages[position].end("done", counts, seconds)
            case StageFailed(position, counts, seconds, _):
                self.stages[position].end("failed", counts, seconds)
            case RunCancelling():
                self._stop("cancelled")
            case RunPausing():
                self._stop("paused")
            case RunUnpaused():
                self._stop("running")
            case RunFinished(RunStatus.FAILED, _):
                self._stop("failed")

    def _stop(self, status: str) -> None:
        """The state in which the current stage ends, unless it ends by itself."""
        for stage in self.stages:
            if stage.status in ("running", "paused", "cancelled"):
                stage.status = status
