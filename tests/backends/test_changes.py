"""The events between two looks at a run, against those that the engine tells of the same run."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from lokki.backends.changes import changes, kept
from lokki.engine.events import (
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
from lokki.model.failure import Error, Failure
from lokki.model.run import Resume, Run, Stage
from lokki.model.status import RunStatus
from lokki.model.times import seconds

BEGIN, END = "2026-02-03T10:30:00.000Z", "2026-02-03T10:30:02.000Z"
FAILURE = Failure("work", 3, 2, "ValueError", "no", "Traceback")
ERROR = Error.of(FAILURE)


def stage(position, finished=None, total=1, succeeded=0, **counts):
    names = {0: ("numbers", "task"), 1: ("work", "map")}
    name, kind = names[position]
    about = {"position": position, "name": name, "kind": kind, "started": BEGIN}
    none = {"failed": 0, "tolerated": 0, "retrying": 0}
    return Stage(
        **about,
        finished=finished,
        duration=2.0,
        total=total,
        succeeded=succeeded,
        **(none | counts),
    )


def run(status="running", stages=(), **more):
    known = {
        "id": "r1",
        "where": "local",
        "flow": "mine",
        "status": RunStatus(status),
        "params": {},
        "params_cut": False,
        "created": BEGIN,
        "started": None if status == "queued" else BEGIN,
        "finished": None if status in ("queued", "running") else END,
        "duration": 2.0,
        "cancel_requested": None,
        "removing": False,
        "chain": "numbers → map(work)",
        "stages": list(stages),
        "error": None,
        "source": None,
        "started_by": None,
        "owner": None,
        "folder": None,
    }
    return Run(**(known | more))


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
def test_a_run_that_has_ended_at_the_first_look_is_reported_in_order(before):
    now = run("succeeded", [stage(0, END, 1, 1), stage(1, END, 10, 10)])
    assert events(before, now) == [
        STARTED,
        *NUMBERS,
        StageStarted(1, "work", True, Counts(10, 10)),
        StageFinished(1, Counts(10, 10), 2.0),
        RunFinished(RunStatus.SUCCEEDED, None),
    ]


def test_only_what_is_new_is_reported():
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
        [StageFinished(1, Counts(10, 9, 0, 1), 2.0), RunFinished(RunStatus.SUCCEEDED, None)],
    ]


@pytest.mark.parametrize("finished", [None, END])
def test_a_stage_that_fails_ends_the_run(finished):
    before = run(stages=[stage(0, END, 1, 1), stage(1, None, 10, 4)])
    failing = stage(1, finished, 10, 5, failed=1)
    assert events(before, run("failed", [stage(0, END, 1, 1), failing], error=ERROR)) == [
        StageFailed(1, Counts(10, 5, 1), 2.0, FAILURE),
        RunFinished(RunStatus.FAILED, "no"),
    ]


def test_a_run_that_no_step_has_failed():
    error = Error(type="RunLost", message="its runner died")
    assert events(run(), run("failed", error=error)) == [
        RunFinished(RunStatus.FAILED, "its runner died")
    ]


def test_a_run_that_is_cancelled():
    asked = run(cancel_requested=BEGIN)
    assert events(run(), asked) == [RunCancelling()]
    assert events(asked, run("cancelled", cancel_requested=BEGIN)) == [
        RunFinished(RunStatus.CANCELLED, None)
    ]


def test_a_resumed_run_tells_of_what_is_done_again_alone():
    failed = run("failed", [stage(0, END, 1, 1), stage(1, None, 10, 4, failed=1)], error=ERROR)
    before = kept(failed)
    queued = replace(failed, status=RunStatus.QUEUED, finished=None)
    assert events(before, queued) == []
    now = run(
        stages=[stage(0, END, 1, 1), stage(1, None, 10, 4, failed=1)],
        resumes=[Resume(at=END, by=None, again=[])],
    )
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
        RunFinished(RunStatus.SUCCEEDED, None),
    ]


def test_nothing_has_happened_to_a_run_that_had_ended():
    ended = run("succeeded", [stage(0, END, 1, 1)])
    assert events(ended, ended) == []


def test_the_times_are_those_between_which_lines_are_reported():
    now = run("succeeded", [stage(0, END, 1, 1)])
    times = [at for at, _ in changes(None, now)]
    assert times == [0.0, seconds(BEGIN), seconds(END) + 0.001, inf]


def test_a_pause_and_its_end_are_reported_once_also_one_that_is_withdrawn():
    going = run()
    pausing = run(pause_requested=END)
    paused = replace(pausing, status=RunStatus.PAUSED)
    assert events(going, pausing) == [RunPausing()]
    assert events(pausing, pausing) == []
    assert events(pausing, paused) == [RunPaused()]
    assert events(going, paused) == [RunPaused()]
    assert events(paused, paused) == []
    assert events(paused, replace(paused, status=RunStatus.QUEUED)) == []
    for before in (pausing, paused):
        assert events(before, going) == [RunUnpaused()]


def test_a_run_that_is_paused_before_it_has_begun_has_not_started():
    assert events(None, replace(run("queued"), status=RunStatus.PAUSED)) == []
