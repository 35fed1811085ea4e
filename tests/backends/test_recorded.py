"""Runs of a journal as JSON: exactly these keys and values."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lokki.backends.recorded import run_of, stage_of
from lokki.model.base import fields_of
from lokki.model.log import Line, LogLine
from lokki.model.run import FailureGroup
from lokki.model.structure import dumped, of_text
from lokki.model.times import rfc3339
from lokki.store.groups import failure_group
from lokki.store.rows import StageRow
from lokki.store.runs import RunRecord

AT = 1_705_314_600.1239  # 2024-01-15T10:30:00.123Z
RUN = RunRecord(
    number=1,
    id="20240115-103000-123abcde",
    flow="birds-flow",
    source="/home/u/birds.py:birds-flow",
    fingerprint="f",
    structure=dumped(of_text("a → map(b)")),
    status="failed",
    params=b"",
    params_json='{"limit": 5}',
    created=AT,
    started=AT + 1,
    finished=AT + 62.5,
    error='{"type": "ValueError", "message": "no", "step": "b"}',
    owner=None,
    leased_until=None,
    started_by="python birds.py run --limit 5",
)
STAGE = StageRow(256, RUN.id, 0, "b", "map", AT + 1, AT + 3.0004, 10, 7, 1, 2, 0)


def told(record, stages, now):
    """What JSON has of a run."""
    made = run_of(record, [stage_of(record, stage, now) for stage in stages], now)
    return json.loads(json.dumps(made, default=fields_of))


def test_a_run_that_has_ended():
    assert told(RUN, [STAGE], AT + 100) == {
        "id": "20240115-103000-123abcde",
        "where": "local",
        "flow": "birds-flow",
        "status": "failed",
        "params": {"limit": 5},
        "params_cut": False,
        "created": "2024-01-15T10:30:00.123Z",
        "started": "2024-01-15T10:30:01.123Z",
        "finished": "2024-01-15T10:31:02.623Z",
        "duration": 61.5,
        "cancel_requested": None,
        "removing": False,
        "chain": "a → map(b)",
        "structure": [
            {"name": "a", "kind": "task", "steps": ["a"]},
            {"name": "b", "kind": "map", "steps": ["b"]},
        ],
        "stages": [
            {
                "position": 0,
                "name": "b",
                "kind": "map",
                "started": "2024-01-15T10:30:01.123Z",
                "finished": "2024-01-15T10:30:03.124Z",
                "duration": 2.0,
                "total": 10,
                "succeeded": 7,
                "failed": 1,
                "tolerated": 2,
                "retrying": 0,
                "inner": [],
                "failures": [],
                "reused": 0,
            }
        ],
        "error": {
            "type": "ValueError",
            "message": "no",
            "step": "b",
            "index": None,
            "attempt": None,
            "traceback": None,
        },
        "source": "/home/u/birds.py:birds-flow",
        "started_by": "python birds.py run --limit 5",
        "owner": None,
        "folder": None,
        "resumes": [],
        "waits_for": None,
        "pause_requested": None,
        "no_cache": False,
        "tags": [],
        "lokki_version": None,
        "python_version": None,
        "code": None,
        "commit": None,
    }


def test_what_is_not_known_yet_is_null():
    running = replace(
        RUN, started=None, finished=None, error=None, source=None, started_by=None, status="queued"
    )
    shape = told(running, [replace(STAGE, finished=None)], AT + 2)
    unknown = ("started", "finished", "duration", "error", "source", "started_by", "owner")
    assert [shape[key] for key in unknown] == [None] * 7
    assert shape["stages"][0]["finished"] is None


def test_durations_of_what_goes_on_are_so_far():
    owner = f"{socket.gethostname()}:{os.getppid()}:abcd"
    running = replace(RUN, finished=None, status="running", owner=owner, leased_until=AT + 30)
    shape = told(running, [replace(STAGE, finished=None)], AT + 11)
    assert (shape["duration"], shape["stages"][0]["duration"]) == (10.0, 10.0)
    lost = told(replace(running, seen=AT + 5), [], AT + 40)
    assert lost["duration"] == 4.0


def test_what_goes_on_and_what_is_lost():
    owner = f"{socket.gethostname()}:{os.getppid()}:abcd"
    worked_on = replace(RUN, finished=None, status="running", owner=owner, leased_until=AT + 30)
    queued = replace(RUN, finished=None, status="queued")
    for run, now, expected in [
        (RUN, AT, (False, False)),
        (worked_on, AT + 29, (True, False)),
        (worked_on, AT + 31, (False, True)),
        (replace(worked_on, removing=True), AT + 31, (False, False)),
        (queued, AT, (True, False)),
    ]:
        made = run_of(run, [], now)
        assert (made.goes_on, made.is_lost) == expected


def test_durations_are_without_the_pauses():
    resumed = replace(RUN, pauses=((AT + 2, AT + 2.5), (AT + 10, AT + 20)))
    shape = told(resumed, [STAGE], AT + 100)
    assert (shape["duration"], shape["stages"][0]["duration"]) == (51.0, 1.5)


def test_a_run_that_is_to_be_cancelled_is_running_until_it_has_ended():
    asked = replace(RUN, status="running", finished=None, cancel_requested=AT + 9)
    shape = told(asked, [], AT + 10)
    assert (shape["status"], shape["cancel_requested"]) == ("running", "2024-01-15T10:30:09.123Z")


def test_a_run_that_is_being_removed():
    assert told(replace(RUN, removing=True), [], AT + 10)["removing"] is True


@pytest.mark.parametrize(("later", "alive"), [(29, True), (31, False)])
def test_the_owner_is_alive_or_lost(later, alive):
    owner = f"{socket.gethostname()}:{os.getppid()}:abcd"
    running = replace(RUN, status="running", finished=None, owner=owner, leased_until=AT + 30)
    assert told(running, [], AT + later)["owner"] == {
        "host": socket.gethostname(),
        "process": os.getppid(),
        "alive": alive,
    }


def test_failures_that_are_alike():
    trace = 'Traceback (most recent call last):\n  File "/home/u/birds.py", line 7, in flap\n'
    group = group_of(trace, count=12)
    assert json.loads(json.dumps(group, default=fields_of)) == {
        "id": "abc123",
        "count": 12,
        "failed": 12,
        "retrying": 0,
        "step": "b",
        "type": "ValueError",
        "message": "no",
        "varies": False,
        "place": {"file": "/home/u/birds.py", "line": 7, "function": "flap"},
        "items": [3, 5],
        "tolerated": False,
        "traceback": trace,
    }
    assert group_of("", count=12).place is None


def group_of(traceback: str = "", **counts: int) -> FailureGroup:
    return failure_group("abc123", "b", "ValueError", "no", traceback, items=(3, 5), **counts)


@pytest.mark.parametrize(("tolerated", "failed", "all_are"), [(12, 0, True), (5, 7, False)])
def test_failures_that_are_alike_and_tolerated(tolerated, failed, all_are):
    group = group_of(count=12, tolerated=tolerated)
    assert (group.count, group.failed, group.tolerated) == (12, failed, all_are)
    assert group.tolerated_count == tolerated


def test_failures_that_are_alike_and_retrying():
    group = group_of(count=12, retrying=12)
    assert (group.retrying, group.failed, group.tolerated) == (12, 0, False)


def test_a_line():
    line = LogLine(9, AT, "b", None, 1, "INFO", "stdout", "hello")
    assert fields_of(Line.of(line)) == {
        "id": 9,
        "ts": "2024-01-15T10:30:00.123Z",
        "level": "INFO",
        "step": "b",
        "item": None,
        "attempt": 1,
        "source": "stdout",
        "message": "hello",
    }
    assert Line.of(line).read == line._replace(at=1_705_314_600.123)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_times_are_rfc_3339_in_utc_with_milliseconds(moment):
    text = rfc3339(moment.timestamp())
    assert text.endswith("Z")
    assert len(text) == len("2024-01-15T10:30:00.123Z")
    assert abs(datetime.fromisoformat(text).timestamp() - moment.timestamp()) < 0.00101


def test_no_time_is_null():
    assert rfc3339(None) is None


@pytest.mark.parametrize("levels", [99, 100, 500, 5_000])
def test_parameters_are_reported_to_a_hundred_levels(levels):
    text = '{"x": ' + "[" * levels + "]" * levels + "}"
    shape = told(replace(RUN, params_json=text), [], AT)
    params = json.dumps(shape["params"])
    assert ("nested too deeply" in params) == (levels >= 100)
    assert params.count("[") <= 99
    json.loads(params)
