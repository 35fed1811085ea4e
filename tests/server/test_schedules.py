"""Schedules: the times they give, and the runs that a server starts by them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice, pairwise
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lokki_server.problems import Problem
from lokki_server.schedules import Ticks
from serving import until

HOUR = 3_600
TIMES = st.integers(1_700_000_000, 1_900_000_000)
EXPRESSIONS = st.sampled_from(
    (
        *("rate(1 minute)", "rate(5 hours)", "rate(2 days)"),
        *("cron(0 9 * * ? *)", "cron(0/15 * ? * MON *)"),
    )
)
FLOWS = """
from lokki import flow, step

@step
def one():
    return 1

@flow(schedule="rate(1 hour)")
def hourly():
    return one()

@flow(schedule="cron(0 0 * * * *)")
def wrong():
    return one()

@flow
def never():
    return one()
"""


@given(EXPRESSIONS, TIMES, TIMES)
def test_ticks_are_told_the_same_from_both_sides(expression, since, at):
    since, at = sorted((since, at))
    ticks = Ticks(expression)
    following = list(islice(ticks.from_(at, since), 5))
    assert following == sorted(set(following))
    assert all(each > at for each in following)
    for before, after in pairwise(following):
        assert ticks.before(after, since) == after
        assert ticks.before(after - 1, since) == before
        assert ticks.after(before, since) == after


def test_cron_is_in_utc_and_in_awss_words():
    at = datetime(2026, 2, 3, 12, tzinfo=UTC).timestamp()
    ticks = Ticks("cron(30 9 L * ? *)")  # the last day of each month
    told = [datetime.fromtimestamp(each, UTC) for each in islice(ticks.from_(at, at), 2)]
    assert told == [
        datetime(2026, 2, 28, 9, 30, tzinfo=UTC),
        datetime(2026, 3, 31, 9, 30, tzinfo=UTC),
    ]


def test_a_rate_counts_from_its_beginning():
    assert list(islice(Ticks("rate(2 hours)").from_(100 + 5 * HOUR, 100), 2)) == [
        100 + 6 * HOUR,
        100 + 8 * HOUR,
    ]
    assert Ticks("rate(2 hours)").before(100 + HOUR, 100) is None


def test_what_has_no_more_times_ends():
    assert list(Ticks("cron(0 0 1 1 ? 2020)").from_(1_700_000_000, 0)) == []


@pytest.mark.parametrize("expression", ["cron(0 0 * * * *)", "cron(61 0 * * ? *)"])
def test_what_aws_would_refuse_is_refused(expression):
    with pytest.raises(Problem, match=r"combination|minute"):
        Ticks(expression)


@pytest.fixture
def served(place, journal):
    """Start a server whose hourly schedule was followed since so many seconds ago, and no server
    has been there for ``down`` of them."""

    def started(ago, down, **variables):
        place.write("flows.py", FLOWS)
        first = place.serve("flows.py")
        until(lambda: first.get("/flows/hourly/schedule")["next"], "a schedule that is followed")
        assert first.stop() == 0
        now = time()
        with closing(sqlite3.connect(journal)) as connection, connection:
            connection.execute("UPDATE schedules SET since = ?, last = ?", (now - ago, now - down))
        return place.serve("flows.py", **variables)

    return started


def settled(server):
    """The schedule, once what was due is dealt with."""

    def dealt_with():
        told = server.get("/flows/hourly/schedule")
        return told if told["missed"] or told["last"] else None

    return until(dealt_with, "what was due")


def test_a_tick_starts_one_run_whatever_the_number_of_servers(served, place):
    server = served(ago=2 * HOUR + 1, down=HOUR)
    other = place.serve("flows.py")
    told = settled(server)
    run = server.ended(told["last"])
    assert (run["status"], run["started_by"]) == ("succeeded", "schedule rate(1 hour)")
    assert told["missed"] == 0
    until(lambda: settled(other)["last"] == run["id"], "the same of the other server")
    assert [each["id"] for each in other.get("/runs", flow="hourly")["runs"]] == [run["id"]]


def test_ticks_that_no_server_was_there_for_are_counted_not_made_up_for(served):
    server = served(ago=10.5 * HOUR, down=4 * HOUR)
    told = settled(server)
    assert (told["missed"], told["last"]) == (4, None)
    assert told["missed_last"] < told["next"][0]
    assert server.get("/runs")["runs"] == []


def test_one_run_for_those_that_were_missed_if_that_is_wanted(served):
    told = settled(served(ago=10.5 * HOUR, down=4 * HOUR, LOKKI_SERVER_CATCH_UP="true"))
    assert told["missed"] == 3
    assert told["last"] is not None


def test_a_paused_schedule_starts_nothing(served, journal):
    server = served(ago=HOUR / 2, down=1)
    answer = server.client.post("/flows/hourly/schedule", json={"paused": True})
    assert answer.json()["paused"] is True
    assert server.stop() == 0
    server = served(ago=2 * HOUR + 1, down=HOUR)
    with closing(sqlite3.connect(journal)) as connection:
        last = "SELECT last > ? FROM schedules WHERE flow = 'hourly'"
        until(lambda: connection.execute(last, (time() - 600,)).fetchone()[0], "a tick let go by")
    told = server.get("/flows/hourly/schedule")
    assert (told["paused"], told["missed"], told["last"]) == (True, 0, None)
    answer = server.client.post("/flows/hourly/schedule", json={"paused": False})
    assert answer.json()["paused"] is False
    assert server.get("/runs")["runs"] == []


def test_what_is_wrong_with_a_schedule_is_told(place):
    place.write("flows.py", FLOWS)
    server = place.serve("flows.py")
    told = server.get("/flows/wrong")["schedule"]
    assert "Invalid combination" in told["error"]
    assert told["next"] == []
    assert server.get("/flows/never")["schedule"] is None
    server.problem("/flows/never/schedule", 404)
    server.problem("/flows/hourly/schedule", 422, {"paused": "perhaps"})
