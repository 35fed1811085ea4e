"""What a run tells line by line, on a stderr that is no terminal."""

from __future__ import annotations

import json
import os
import re

import pytest

from lokki import flow, step
from lokki.call import Failure
from lokki.cli.program import Program
from lokki.cli.render.report import LineReport, outlines
from lokki.config import Logging
from lokki.engine.events import (
    RunFinished,
    RunStarted,
    StageFailed,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.engine.state import Counts
from lokki.model.status import RunStatus


@step
def items():
    return []


@step(retry={"retries": 2})
def work(item):
    return item


@step
async def joined(results):
    return results


@flow
def mine():
    return items().map(work).agg(joined)


TRACEBACK = (
    'Traceback (most recent call last):\n  File "mine.py", line 3, in work\nValueError: no\n'
)
FAILURE = Failure("work", 7, 3, "ValueError", "no", TRACEBACK)


@pytest.fixture
def told(capfd):
    """What is told of some events with the given settings, as lines."""

    def tell(*events, **settings):
        report = LineReport(Logging(**settings), outlines(mine()), Program("python mine.py"))
        with report.echo if settings.get("format") == "json" else open(os.devnull):
            for event in (RunStarted("r1", "mine", False), *events):
                if callable(event):
                    event(report)
                else:
                    report.event(event)
        out, err = capfd.readouterr()
        assert out == ""
        return err.splitlines()

    return tell


def map_of(total, **counts):
    return StageStarted(1, "work", True, Counts(total, **counts))


def at(total, **counts):
    return StageProgressed(1, Counts(total, **counts))


def bars(lines):
    return [re.search(r"\d+/\d+ .*", line)[0] for line in lines if line.startswith("[=")]


def test_a_run_that_succeeds(told):
    lines = told(
        StageStarted(0, "items", False, Counts(1)),
        StageFinished(0, Counts(1, succeeded=1), 2.345),
        map_of(10),
        at(10, succeeded=3),
        StageFinished(1, Counts(10, succeeded=10), 1),
        RunFinished(RunStatus.SUCCEEDED, None),
        show_timestamps=False,
    )
    assert lines == [
        "[INFO] Run r1 of mine started",
        "[INFO] Step 'items' started",
        "[INFO] Step 'items' completed in 2.345s (status=success)",
        "[INFO] Step 'work' started",
        "[=====>                    ] 3/10 (30%) completed",
        "[==========================] 10/10 (100%) completed",
        "[INFO] Step 'work' completed in 1.000s (status=success)",
        "[INFO] Run r1 succeeded",
    ]


def test_the_time_of_a_start_is_shown(told):
    line = told(map_of(10))[-1]
    assert re.fullmatch(r"\[INFO\] Step 'work' started at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", line)


def test_progress_is_reported_every_so_many_percent_and_the_end_once(told):
    counted = [at(1000, succeeded=count) for count in range(0, 1001, 4)]
    end = StageFinished(1, Counts(1000, succeeded=1000), 1)
    assert [bar.split()[1] for bar in bars(told(map_of(1000), *counted, end))] == [
        "(10%)", "(20%)", "(30%)", "(40%)", "(50%)", "(60%)", "(70%)", "(80%)", "(90%)", "(100%)"
    ]  # fmt: skip
    assert bars(told(map_of(1000), *counted, end, progress_interval=60)) == [
        "600/1000 (60%) completed",
        "1000/1000 (100%) completed",
    ]


def test_a_map_of_nothing_is_complete(told):
    assert bars(told(map_of(0), StageFinished(1, Counts(0), 0))) == ["0/0 (100%) completed"]


def test_what_a_resumed_map_had_done_counts(told):
    lines = told(map_of(10, succeeded=5), at(10, succeeded=5), at(10, succeeded=6))
    assert bars(lines) == ["5/10 (50%) completed", "6/10 (60%) completed"]


def test_retries_are_reported_once_in_a_stage(told):
    lines = told(
        map_of(1000),
        at(1000, retrying=3),
        at(1000, succeeded=3),
        at(1000, succeeded=3, retrying=5),
    )
    assert lines[2:] == ["[WARNING] Step 'work': 3 of 1000 items are retrying"]


@pytest.mark.parametrize(
    ("total", "expected"), [(1, " is retrying"), (1000, ": 1 of 1000 items is retrying")]
)
def test_one_item_that_is_retrying_is_reported(told, total, expected):
    assert told(map_of(total), at(total, retrying=1))[2:] == [f"[WARNING] Step 'work'{expected}"]


def test_tolerated_failures_are_reported_at_the_end_with_the_command_that_lists_them(told):
    lines = told(
        map_of(10),
        at(10, succeeded=6, tolerated=2),
        StageFinished(1, Counts(10, succeeded=8, tolerated=2), 1),
    )
    assert bars(lines) == [
        "8/10 (80%) completed (2 tolerated)",
        "10/10 (100%) completed (2 tolerated)",
    ]
    assert lines[-1] == (
        "[WARNING] Step 'work': 2 of 10 items failed, as is tolerated; see: python mine.py show r1"
    )


def test_failed_and_tolerated_items_are_told_apart_in_json(told):
    counts = {"failed": 1, "tolerated": 2, "retrying": 3}
    lines = told(
        map_of(10),
        at(10, **counts),
        StageFinished(1, Counts(10, succeeded=8, tolerated=2), 1),
        format="json",
    )
    records = {each["event"]: each for each in map(json.loads, reversed(lines))}
    assert {name: records["map_progress"][name] for name in counts} == counts
    assert records["step_tolerated"]["tolerated"] == 2


def test_the_end_of_a_failed_run_is_traceback_what_where_and_how_to_go_on(told):
    lines = told(
        map_of(10),
        StageFailed(1, Counts(10, failed=1), 1.234, FAILURE),
        RunFinished(RunStatus.FAILED, "…"),
        lambda report: report.end("Error: the run failed in step 'work', item 7, attempt 3", 1),
        level="ERROR",
    )
    assert lines == [
        *TRACEBACK.splitlines(),
        "[ERROR] Step 'work' failed after 1.234s: ValueError: no",
        "Error: the run failed in step 'work', item 7, attempt 3",
        "resume: python mine.py resume r1",
    ]


def test_the_end_of_a_failed_run_in_json(told):
    lines = told(
        map_of(10),
        StageFailed(1, Counts(10, failed=1), 1.234, FAILURE),
        RunFinished(RunStatus.FAILED, "…"),
        lambda report: report.end("Error: the run failed", 1),
        format="json",
    )
    failed, end, error = [json.loads(line) for line in lines[2:]]
    assert (failed["event"], end["event"], error["event"]) == ("step_failed", "run_end", "error")
    assert (failed["item"], failed["attempt"], failed["traceback"]) == (7, 3, TRACEBACK)
    assert (failed["message"], failed["status"]) == ("ValueError: no", "failed")
    assert (end["status"], end["level"]) == ("failed", "ERROR")
    assert (error["exit_code"], error["resume"]) == (1, "python mine.py resume r1")


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("INFO", ["run_start", "step_start", "step_retrying", "map_progress", "step_complete",
                  "step_tolerated", "run_end"]),
        ("WARNING", ["step_retrying", "step_tolerated"]),
        ("ERROR", []),
    ],
)  # fmt: skip
def test_levels(told, level, events):
    lines = told(
        map_of(10),
        at(10, retrying=1),
        StageFinished(1, Counts(10, succeeded=9, tolerated=1), 1),
        RunFinished(RunStatus.SUCCEEDED, None),
        level=level,
        format="json",
    )
    assert [json.loads(line)["event"] for line in lines] == events


@pytest.mark.parametrize(
    ("stage", "waiting"),
    [
        (map_of(10), "waiting for the calls of 'work' in threads to end"),
        (StageStarted(2, "joined", False, Counts(1)), "stopping the calls of 'joined'"),
    ],
)
def test_ctrl_c_is_answered_with_what_is_waited_for_and_how_to_go_on(told, stage, waiting):
    lines = told(
        stage,
        lambda report: report.cancelling("r1"),
        RunFinished(RunStatus.CANCELLED, "…"),
        lambda report: report.end("run r1 was cancelled", 130),
        level="ERROR",
    )
    assert lines == [
        f"cancelling: {waiting}; resume: python mine.py resume r1 (Ctrl-C again quits at once)",
        "run r1 was cancelled",
    ]


def test_a_run_that_was_cancelled_from_elsewhere_tells_how_to_go_on(told):
    lines = told(
        RunFinished(RunStatus.CANCELLED, "…"),
        lambda report: report.end("run r1 was cancelled", 130),
    )
    assert lines[1:] == ["run r1 was cancelled", "resume: python mine.py resume r1"]


def test_a_line_does_not_go_into_one_that_a_step_is_writing(told):
    lines = told(
        lambda report: report.echo.write("half "),
        lambda report: report.event(map_of(10)),
        lambda report: report.echo.write("a line\n"),
        lambda report: report.event(at(10, retrying=1)),
        show_timestamps=False,
    )
    assert lines[1:4] == ["half ", "[INFO] Step 'work' started", "a line"]
    assert lines[4] == "[WARNING] Step 'work': 1 of 10 items is retrying"
