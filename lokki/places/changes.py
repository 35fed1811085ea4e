"""The events of a run that is elsewhere: what lies between two looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TypeAlias

from lokki.call import Failure
from lokki.engine.events import (
    Event,
    RunCancelling,
    RunFinished,
    RunStarted,
    StageFailed,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.engine.state import Counts, Status
from lokki.places.shapes import RunShape, StageShape, seconds

Change: TypeAlias = tuple[float, Event]
"""An event, and when it happened, in seconds since the epoch; ``inf``: after all that is known."""


def kept(run: RunShape) -> RunShape:
    """A run that has ended and is to be resumed, as its first look: what is not going to change."""
    stages = [stage for stage in run["stages"] if stage["finished"]]
    return {**run, "status": "queued", "cancel_requested": None, "stages": stages}


def changes(before: RunShape | None, now: RunShape) -> Iterator[Change]:
    """What has happened, as `RunHandle.events` would have told it; ``before``: None at first."""
    if now["status"] == "queued" or (before and before["finished"] == now["finished"] is not None):
        return
    if before is None or before["status"] == "queued":
        yield 0.0, RunStarted(now["id"], now["flow"], _has_begun(before))
    failing = _failing(now)
    known = {} if before is None else {stage["position"]: stage for stage in before["stages"]}
    for stage in now["stages"]:
        if now.get("resumes") and not now["finished"]:  # what failed before is to be done again
            stage = stage.copy()
            stage["failed"] = 0
        yield from _changes_of_stage(known.get(stage["position"]), stage, stage is failing)
    if now["cancel_requested"] and not (before and before["cancel_requested"]):
        yield inf, RunCancelling()
    if now["finished"]:
        if failing is not None:
            counts, took = _counts(failing), failing["duration"]
            yield inf, StageFailed(failing["position"], counts, took, _failure(now))
        yield inf, RunFinished(Status(now["status"]), (now["error"] or {}).get("message"))


def _has_begun(run: RunShape | None) -> bool:
    return run is not None and run["started"] is not None


def _time(at: str | None) -> float:
    return inf if at is None else seconds(at)


def _changes_of_stage(
    before: StageShape | None, now: StageShape, is_failing: bool
) -> Iterator[Change]:
    position, counts = now["position"], _counts(now)
    if before is not None and before["finished"] not in (None, now["finished"]):
        before = None  # it was opened again
    if before is None:
        started = StageStarted(position, now["name"], now["kind"] == "map", counts)
        yield _time(now["started"]), started
    elif before["finished"]:
        return
    if is_failing:
        return
    if now["finished"] is None:
        if before is None or _counts(before) != counts:
            yield inf, StageProgressed(position, counts)
    else:
        end = _time(now["finished"]) + 0.001  # they are rounded down
        yield end, StageFinished(position, counts, now["duration"])


def _failing(run: RunShape) -> StageShape | None:
    """The stage that has ended the run."""
    failed = run["status"] == "failed" and (run["error"] or {}).get("step") is not None
    return run["stages"][-1] if failed and run["stages"] else None


def _failure(run: RunShape) -> Failure:
    error = run["error"] or {}
    return Failure(
        error["step"],
        error["index"],
        error["attempt"],
        error["type"],
        error["message"],
        error["traceback"] or "",
    )


def _counts(stage: StageShape) -> Counts:
    return Counts(
        stage["total"],
        stage["succeeded"],
        stage["failed"],
        stage["tolerated"],
        stage["retrying"],
    )
