"""The events of a run elsewhere: what has changed between two reads of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import TypeAlias

from lokki.engine.events import (
    Event,
    RunCancelling,
    RunFinished,
    RunPaused,
    RunPausing,
    RunStarted,
    RunUnpaused,
    StageFailed,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.engine.state import Counts
from lokki.model.failure import Failure
from lokki.model.run import Run, Stage
from lokki.model.status import RunStatus
from lokki.model.times import seconds

Change: TypeAlias = tuple[float, Event]
"""An event and its time in seconds since the epoch; ``inf``: after everything known."""


def kept(run: Run) -> Run:
    """What a resume keeps of an ended run, as if it had been read before."""
    stages = [stage for stage in run.stages if stage.finished]
    return replace(run, status=RunStatus.QUEUED, cancel_requested=None, stages=stages)


def changes(before: Run | None, now: Run) -> Iterator[Change]:
    """What has happened, as events of `RunHandle.events`; ``before`` is None at first."""
    waits = now.status == "queued" or (now.status == "paused" and now.started is None)
    if waits or (before and before.finished == now.finished is not None):
        return
    if before is None or before.status == "queued":
        yield 0.0, RunStarted(now.id, now.flow, _has_begun(before))
    failing = _failing(now)
    known = {} if before is None else {stage.position: stage for stage in before.stages}
    for stage in now.stages:
        ended_it = failing is not None and stage is failing[0]
        if now.resumes and not now.finished:  # earlier failures run again
            stage = replace(stage, failed=0)
        yield from _changes_of_stage(known.get(stage.position), stage, ended_it)
    if now.cancel_requested and not (before and before.cancel_requested):
        yield inf, RunCancelling()
    yield from _changes_of_pause(before, now)
    if now.finished:
        if failing is not None:
            stage, failure = failing
            yield inf, StageFailed(stage.position, _counts(stage), stage.duration, failure)
        yield inf, RunFinished(now.status, now.error.message if now.error else None)


def _changes_of_pause(before: Run | None, now: Run) -> Iterator[Change]:
    if before and before.pause_requested and not now.pause_requested and not now.finished:
        yield 0.0, RunUnpaused()
    if now.status == "running" and now.pause_requested:
        if not (before and before.pause_requested == now.pause_requested):
            yield inf, RunPausing()
    elif now.status == "paused" and not (before and before.status == "paused"):
        yield inf, RunPaused()


def _has_begun(run: Run | None) -> bool:
    return run is not None and run.started is not None


def _time(at: str | None) -> float:
    return inf if at is None else seconds(at)


def _changes_of_stage(before: Stage | None, now: Stage, is_failing: bool) -> Iterator[Change]:
    position, counts = now.position, _counts(now)
    if before is not None and before.finished not in (None, now.finished):
        before = None  # it was reopened
    if before is None:
        started = StageStarted(position, now.name, now.kind == "map", counts)
        yield _time(now.started), started
    elif before.finished:
        return
    if is_failing:
        return
    if now.finished is None:
        if before is None or _counts(before) != counts:
            yield inf, StageProgressed(position, counts)
    else:
        end = _time(now.finished) + 0.001  # they are rounded down
        yield end, StageFinished(position, counts, now.duration)


def _failing(run: Run) -> tuple[Stage, Failure] | None:
    """The stage that ended the run, and its failure."""
    failure = run.error.failure if run.error and run.status == "failed" else None
    return (run.stages[-1], failure) if failure and run.stages else None


def _counts(stage: Stage) -> Counts:
    return Counts(
        stage.total,
        stage.succeeded,
        stage.failed,
        stage.tolerated,
        stage.retrying,
        stage.reused,
    )
