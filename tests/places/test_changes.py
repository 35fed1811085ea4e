"""The events between two looks at a run, against those that the engine tells of the same run."""

from __future__ import annotations

from math import inf

import pytest

from lokki.call import Failure
from lokki.engine.events import (
    RunCancelling,
    RunFinished,
    RunStarted,
    StageFailed,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.engine.state import Counts, Status
from lokki.places.changes import changes, kept
from lokki.places.shapes import seconds

BEGIN, END = "2026-02-03T10:30:00.000Z", "2026-02-03T10:30:02.000Z"
ERROR = {
    "type": "ValueError",
    "message": "no",
    "step": "work",
    "index": 3,
    "attempt": 2,
    "traceback": "Traceback",
}
FAILURE = Failure("work", 3, 2, "ValueError", "no", "Traceback")


def stage(position, finished=None, total=1, succeeded=0, **counts):
    names = {0: ("numbers", "task"), 1: ("work", "map")}
    name, kind = names[position]
    return {
        "position": position,
        "name": name,
        "kind": kind,
        "started": BEGIN,
        "finished": finished,
        "duration": 2.0,
        "total": total,
        "succeeded": succeeded,
        "failed": 0,
        "tolerated": 0,
        "retrying": 0,
    } | counts


def run(status="running", stages=(), **more):
    return {
        "id": "r1",
        "flow": "mine",
        "status": status,
        "started": None if status == "queued" else BEGIN,
        "finished": None if status in ("queued", "running") else END,
        "cancel_requested": None,
        "stages": list(stages),
        "resumes": [],
        "error": None,
    } | more


def events(before, now):
    return [event for _, event in changes(before, now)]


STARTED = RunStarted("r1", "mine", False)
NUMBERS = [
    StageStarted(0, "numbers", False, Counts(1, 1)),
    StageFinished(0, Counts(1, 1), 2.0),
]
WORK = StageStarted(1, "work", True, Counts(10, 4))


def test_a_run_that_waits_has_no_events():
    assert events(None, run("queued")) == []
    assert events(run("queued"), run("queued")) == []


@pytest.mark.parametrize("before", [None, run("queued")])
def test_a_run_that_has_ended_at_the_first_look_is_told_in_order(before):
    now = run("succeeded", [stage(0, END, 1, 1), stage(1, END, 10, 10)])
    assert events(before, now) == [
        STARTED,
        *NUMBERS,
        StageStarted(1, "work", True, Counts(10, 10)),
        StageFinished(1, Counts(10, 10), 2.0),
        RunFinished(Status.SUCCEEDED, None),
    ]


def test_only_what_is_new_is_told():
    looks = [
        run(stages=[stage(0)]),
        run(stages=[stage(0, END, 1, 1), stage(1, None, 10, 4)]),
        run(stages=[stage(0, END, 1, 1), stage(1, None, 10, 7, tolerated=1)]),
        run(stages=[stage(0, END, 1, 1), stage(1, None, 10, 7, tolerated=1)]),
        run("succeeded", [stage(0, END, 1, 1), stage(1, END, 10, 9, tolerated=1)]),
    ]
    told = [events(before, now) for before, now in zip([None, *looks], looks, strict=False)]
    assert told == [
        [
            STARTED,
            StageStarted(0, "numbers", False, Counts(1)),
            StageProgressed(0, Counts(1)),
        ],
        [NUMBERS[1], WORK, StageProgressed(1, Counts(10, 4))],
        [StageProgressed(1, Counts(10, 7, 0, 1))],
        [],
        [StageFinished(1, Counts(10, 9, 0, 1), 2.0), RunFinished(Status.SUCCEEDED, None)],
    ]


@pytest.mark.parametrize("finished", [None, END])
def test_a_stage_that_fails_ends_the_run(finished):
    before = run(stages=[stage(0, END, 1, 1), stage(1, None, 10, 4)])
    failing = stage(1, finished, 10, 5, failed=1)
    assert events(before, run("failed", [stage(0, END, 1, 1), failing], error=ERROR)) == [
        StageFailed(1, Counts(10, 5, 1), 2.0, FAILURE),
        RunFinished(Status.FAILED, "no"),
    ]


def test_a_run_that_no_step_has_failed():
    error = {"type": "RunLost", "message": "its runner died"}
    assert events(run(), run("failed", error=error)) == [
        RunFinished(Status.FAILED, "its runner died")
    ]


def test_a_run_that_is_cancelled():
    asked = run(cancel_requested=BEGIN)
    assert events(run(), asked) == [RunCancelling()]
    assert events(asked, run("cancelled", cancel_requested=BEGIN)) == [
        RunFinished(Status.CANCELLED, None)
    ]


def test_a_resumed_run_tells_of_what_is_done_again_alone():
    failed = run("failed", [stage(0, END, 1, 1), stage(1, None, 10, 4, failed=1)], error=ERROR)
    before = kept(failed)
    queued = {**failed, "status": "queued", "finished": None}
    assert events(before, queued) == []
    now = run(stages=[stage(0, END, 1, 1), stage(1, None, 10, 4, failed=1)], resumes=[{}])
    assert events(before, now) == [
        RunStarted("r1", "mine", True),
        WORK,
        StageProgressed(1, Counts(10, 4)),
    ]


def test_a_stage_that_had_finished_and_is_opened_again_begins_anew():
    before = kept(run("succeeded", [stage(0, END, 1, 1), stage(1, END, 10, 9, tolerated=1)]))
    again = "2026-02-03T10:40:00.000Z"
    done = run("succeeded", [stage(0, END, 1, 1), stage(1, again, 10, 10)], finished=again)
    assert events(before, done) == [
        RunStarted("r1", "mine", True),
        StageStarted(1, "work", True, Counts(10, 10)),
        StageFinished(1, Counts(10, 10), 2.0),
        RunFinished(Status.SUCCEEDED, None),
    ]


def test_nothing_has_happened_to_a_run_that_had_ended():
    ended = run("succeeded", [stage(0, END, 1, 1)])
    assert events(ended, ended) == []


def test_the_times_are_those_between_which_lines_are_told():
    now = run("succeeded", [stage(0, END, 1, 1)])
    times = [at for at, _ in changes(None, now)]
    assert times == [0.0, seconds(BEGIN), seconds(END) + 0.001, inf]
