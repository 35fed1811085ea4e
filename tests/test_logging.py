"""The lines that tell of a run, word for word."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki import logging

NOON = 1_705_314_600.123
"""2024-01-15T10:30:00.123Z."""


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """Local time is UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (logging.step_start("x", NOON), "[INFO] Step 'x' started at 2024-01-15T10:30:00"),
        (logging.step_start("x", NOON, timestamps=False), "[INFO] Step 'x' started"),
        (
            logging.step_complete("x", NOON, 2.345),
            "[INFO] Step 'x' completed in 2.345s (status=success)",
        ),
        (
            logging.step_failed("x", NOON, 1.234, "ValueError: invalid input", item=3),
            "[ERROR] Step 'x' failed after 1.234s: ValueError: invalid input",
        ),
        (
            logging.map_progress("x", NOON, 30, 100),
            "[=====>                    ] 30/100 (30%) completed",
        ),
        (
            logging.step_line(NOON, "x", 7, 2, "WARNING", "stderr", "careful"),
            "[WARNING] x[7] (attempt 2): careful",
        ),
        (logging.step_line(NOON, "x", None, 1, "INFO", "stdout", "hi"), "[INFO] x: hi"),
        (logging.run_start("r1", "birds", NOON), "[INFO] Run r1 of birds started"),
        (logging.run_start("r1", "birds", NOON, resumed=True), "[INFO] Run r1 of birds resumed"),
        (logging.run_end("r1", "cancelled", NOON), "[WARNING] Run r1 cancelled"),
        (logging.ending("Error: no", NOON, 1), "Error: no"),
        (
            logging.ending("Error: no", NOON, 1, "r1", "lokki resume r1"),
            "Error: no\nresume: lokki resume r1",
        ),
    ],
)  # fmt: skip
def test_lines_for_people(record, line):
    assert logging.human(record) == line


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        (logging.step_start("x", NOON), {"level": "INFO", "event": "step_start", "step": "x"}),
        (
            logging.step_complete("x", NOON, 2.34567),
            {"level": "INFO", "event": "step_complete", "step": "x", "duration": 2.346,
             "status": "success"},
        ),
        (
            logging.step_failed("x", NOON, 1.2, "ValueError: no", item=3, traceback="…\n"),
            {"level": "ERROR", "event": "step_failed", "step": "x", "duration": 1.2,
             "status": "failed", "message": "ValueError: no", "item": 3, "traceback": "…\n"},
        ),
        (
            logging.map_progress("x", NOON, 3, 10, failed=1, retrying=0),
            {"level": "INFO", "event": "map_progress", "step": "x", "completed": 3, "total": 10,
             "failed": 1, "retrying": 0},
        ),
        (
            logging.step_line(NOON, "x", 7, 2, "WARNING", "stderr", "two\nlines \ud800"),
            {"level": "WARNING", "event": "log", "step": "x", "item": 7, "attempt": 2,
             "source": "stderr", "message": "two\nlines \ud800"},
        ),
        (
            logging.run_cancelling("r1", "waiting", NOON, "lokki resume r1"),
            {"level": "WARNING", "event": "run_cancelling", "run": "r1",
             "message": "cancelling: waiting", "resume": "lokki resume r1"},
        ),
        (
            logging.run_end("r1", "failed", NOON),
            {"level": "ERROR", "event": "run_end", "run": "r1", "status": "failed"},
        ),
    ],
)  # fmt: skip
def test_json_lines(record, fields):
    line = logging.as_json(record)
    assert "\n" not in line
    assert json.loads(line) == {"ts": "2024-01-15T10:30:00.123Z", **fields}


@pytest.mark.parametrize(
    ("again", "level", "words"),
    [(False, "ERROR", "failed: E: no"), (True, "WARNING", "failed, will be retried: E: no")],
)
def test_a_failed_attempt_is_a_line_of_its_run(again, level, words):
    record = logging.step_failed("x", NOON, 1.2, "E: no", again=again, item=3, attempt=1)
    told = logging.said(logging.as_json(logging.of_run("r1", record)))
    assert told == ("r1", (pytest.approx(NOON, abs=0.001), "x", 3, 1, level, "lokki", words))


def test_the_time_is_local_for_people_and_utc_in_json(monkeypatch):
    monkeypatch.setenv("TZ", "XYZ-2")  # two hours east
    time.tzset()
    record = logging.step_start("x", NOON)
    assert logging.human(record).endswith("at 2024-01-15T12:30:00")
    assert json.loads(logging.as_json(record))["ts"] == "2024-01-15T10:30:00.123Z"


@pytest.mark.parametrize(
    ("done", "total", "cells", "percent"),
    [
        (0, 100, 0, 0),
        (0, 1, 0, 0),
        (4, 100, 0, 4),
        (5, 100, 1, 5),
        (1, 2, 12, 50),
        (999_999, 1_000_000, 25, 99),
        (100, 100, 26, 100),
        (0, 0, 26, 100),
    ],
)
def test_a_bar_is_full_when_all_is_done_and_not_before(done, total, cells, percent):
    line = logging.human(logging.map_progress("x", NOON, done, total))
    bar = line[1 : line.index("]")]
    assert len(bar) == 26
    assert len(bar.strip()) == cells
    assert line.endswith(f"] {done}/{total} ({percent}%) completed")


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_the_cells_of_a_bar_fit_its_percents(counts):
    done, total = counts
    before, after = (_cells(each, total) for each in (done, done + 1))
    assert before <= after
    assert 0 <= 26 * done / total - before <= 2
    assert (after == 26) is (done + 1 == total)


def _cells(done: int, total: int) -> int:
    line = logging.human(logging.map_progress("x", NOON, done, total))
    return len(line[1 : line.index("]")].strip())


def test_a_bar_tells_of_other_items_if_there_are_any():
    line = logging.human(logging.map_progress("x", NOON, 1, 2, failed=3, retrying=0))
    assert line.endswith("1/2 (50%) completed (3 failed)")


@pytest.mark.parametrize(
    ("level", "least", "reached"),
    [
        ("DEBUG", "INFO", False),
        ("INFO", "INFO", True),
        ("ERROR", "WARNING", True),
        ("WARNING", "ERROR", False),
        ("NOTICE", "INFO", True),
        ("NOTICE", "WARNING", False),
    ],
)
def test_levels(level, least, reached):
    assert logging.reaches(level, least) is reached
