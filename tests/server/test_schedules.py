"""Schedules: the times they give, and the runs that a server starts by them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import islice, pairwise
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import until

from lokki.backends.schedules import times
from lokki.schedule import parse

HOUR = 3_600
TIMES = st.integers(1_700_000_000, 1_900_000_000)
SCHEDULES = st.sampled_from(
    [
        *(parse(text) for text in ("rate(1 minute)", "rate(5 hours)", "rate(2 days)")),
        *(parse(text, "Asia/Tokyo") for text in ("cron(0 9 * * ? *)", "cron(0/15 * ? * MON *)")),
    ]
)
FLOWS = """
from lokki import flow, step

@step
def one():
    return 1

@flow(schedule="rate(1 hour)")
def hourly():
    return one()

@flow
def never():
    return one()
"""
OVERLAPPING = """
import time
from lokki import flow, step

@step
def waits():
    while not OPEN.exists():
        time.sleep(0.01)

@flow(schedule="rate(1 hour)"OVERLAP)
def hourly():
    return waits()
"""
SLOW = """
import time
from lokki import flow, step

@step
def one():
    return 1

@flow(schedule="rate(1 hour)")
def ahead():
    while OPEN.with_name("shut").exists():
        time.sleep(0.01)
    return one()
"""
IN_TOKYO = FLOWS.replace('"rate(1 hour)"', '"cron(0 9 * * ? 2190)", timezone="Asia/Tokyo"').replace(
    "hourly", "morning"
)


@given(SCHEDULES, TIMES, TIMES)
def test_times_are_reported_the_same_from_both_sides(schedule, since, at):
    since, at = sorted((since, at))
    following = list(islice(times(schedule, at, since), 5))
    assert following == sorted(set(following))
    assert all(each > at for each in following)
    for before, after in pairwise(following):
        assert schedule.last_until(after, since) == after
        assert schedule.last_until(after - 1, since) == before
        assert schedule.next_after(before, since) == after


@pytest.fixture
def served(place, journal):
    """Start a server whose hourly schedule was followed since so many seconds ago, and no server
    has been there for ``down`` of them."""

    def started(ago, down, more=(), **variables):
        place.write("flows.py", FLOWS)
        first = place.serve("flows.py")
        until(lambda: first.get("/flows/hourly/schedule")["next"], "a schedule that is followed")
        assert first.stop() == 0
        now = time()
        with closing(sqlite3.connect(journal)) as connection, connection:
            connection.execute("UPDATE schedules SET since = ?, last = ?", (now - ago, now - down))
        return place.serve("flows.py", *more, **variables)

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


def test_a_flow_that_takes_long_to_start_holds_up_no_other(place, journal):
    place.write("slow.py", SLOW)
    place.write("flows.py", FLOWS)
    server = place.serve("slow.py", "flows.py")

    def schedule(name):
        return server.get(f"/flows/{name}/schedule")

    for name in ("ahead", "hourly"):
        until(lambda name=name: schedule(name)["next"], "a schedule that is followed")
    (place.folder / "shut").touch()
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute(
            "UPDATE schedules SET since = ?, last = ?", (time() - HOUR - 1, time() - HOUR)
        )
    until(lambda: schedule("hourly")["last"], "a run of the flow that is quick", seconds=15)
    assert schedule("ahead")["last"] is None
    (place.folder / "shut").unlink()
    until(lambda: schedule("ahead")["last"], "a run of the flow that takes long")


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


def test_a_schedule_is_reported(place):
    place.write("flows.py", FLOWS)
    place.write("tokyo.py", IN_TOKYO.replace("never", "neither"))
    server = place.serve("flows.py", "tokyo.py")
    until(lambda: server.get("/flows/morning/schedule")["next"], "a schedule that is followed")
    told = server.get("/flows/morning/schedule")
    assert (told["expression"], told["timezone"]) == ("cron(0 9 * * ? 2190)", "Asia/Tokyo")
    assert [at[:16] for at in told["next"][:2]] == ["2190-01-01T00:00", "2190-01-02T00:00"]
    assert server.get("/flows/hourly")["schedule"]["timezone"] == "UTC"
    assert server.get("/flows/never")["schedule"] is None
    server.problem("/flows/never/schedule", 404)
    server.problem("/flows/hourly/schedule", 422, {"paused": "perhaps"})


def test_another_time_zone_is_another_schedule(place, journal):
    def followed():
        with closing(sqlite3.connect(journal)) as connection:
            rows = connection.execute("SELECT expression, last FROM schedules")
            return rows.fetchone()

    place.write("flows.py", IN_TOKYO)
    place.serve("flows.py")
    _, before = until(followed, "a schedule that is followed")
    place.write("flows.py", IN_TOKYO.replace("Asia/Tokyo", "America/Lima"))
    expression = "cron(0 9 * * ? 2190) America/Lima"
    until(lambda: followed()[0] == expression, "the schedule as it is now")
    assert followed()[1] > before


def test_what_is_wrong_with_one_schedule_is_reported_of_it_alone(served, place, tmp_path):
    place.write(
        "elsewhere.py",
        f"""
        import shutil, zoneinfo
        from pathlib import Path
        from lokki import flow, step

        own = Path({str(tmp_path)!r}, "zones", "Mars")  # a zone that the server does not know
        own.mkdir(parents=True, exist_ok=True)
        zones = (Path(path, "Europe", "Helsinki") for path in zoneinfo.TZPATH)
        shutil.copy(next(zone for zone in zones if zone.exists()), own / "Base")
        zoneinfo.reset_tzpath([str(own.parent)])

        @step
        def one():
            return 1

        @flow(schedule="cron(* * * * ? *)", timezone="Mars/Base")
        def astray():
            return one()
        """,
    )
    server = served(ago=2 * HOUR + 1, down=HOUR, more=["elsewhere.py"])
    told = settled(server)
    assert server.ended(told["last"])["status"] == "succeeded"
    schedules = {each["name"]: each["schedule"] for each in server.get("/flows")["flows"]}
    assert (
        "timezone 'Mars/Base': the IANA database has no such zone" in schedules["astray"]["error"]
    )
    assert (schedules["astray"]["next"], schedules["hourly"]["error"]) == ([], None)
    assert server.told.count("the schedule of astray: timezone 'Mars/Base'") == 1


# ---- runs that last longer than until the next time ----------------------------------------------


@pytest.fixture
def overlapping(place):
    """Start servers of an hourly flow whose runs last until the place is opened."""

    def started(overlap="", servers=1):
        place.write("flows.py", OVERLAPPING.replace("OVERLAP", overlap))
        made = [place.serve("flows.py") for _ in range(servers)]
        for server in made:
            until(lambda each=server: each.get("/schedules/hourly")["next"], "a schedule")
        return made

    return started


@pytest.fixture
def tick(journal):
    """Make it the time of the schedule; gives what becomes of it."""

    def ticked(server):
        def dealt_with():
            told = server.get("/schedules/hourly")["ticks"]
            return told[0] if sum(each["count"] for each in told) > before else None

        before = sum(each["count"] for each in server.get("/schedules/hourly")["ticks"])
        now = time()
        with closing(sqlite3.connect(journal)) as connection, connection:
            connection.execute("UPDATE schedules SET since = ?, last = ?", (now - HOUR, now - 1))
        return until(dealt_with, "what became of a time")

    return ticked


def statuses(server):
    runs = server.get("/runs", flow="hourly")["runs"]
    return [(each["id"], each["status"]) for each in reversed(runs)]


def test_a_time_is_skipped_while_the_run_of_an_earlier_one_has_not_ended(overlapping, tick, place):
    server, other = overlapping(servers=2)
    first = tick(server)
    assert (first["outcome"], first["count"]) == ("started", 1)
    server.until_status(first["run"], "running")
    assert tick(server)["outcome"] == "skipped"
    skipped = tick(other)
    assert (skipped["outcome"], skipped["run"], skipped["count"]) == ("skipped", first["run"], 2)
    assert skipped["first"] < skipped["last"]
    assert statuses(server) == [(first["run"], "running")]
    place.open()
    server.ended(first["run"])
    last = tick(other)
    assert last["outcome"] == "started"
    assert server.ended(last["run"])["status"] == "succeeded"
    assert server.get("/flows/hourly/schedule")["last"] == last["run"]
    ticks = other.get("/schedules/hourly")["ticks"]
    assert [each["outcome"] for each in ticks] == ["started", "skipped", "started"]
    assert other.get("/schedules/hourly", n=1)["ticks"] == ticks[:1]


def test_runs_of_a_schedule_begin_one_after_the_other(overlapping, tick, place):
    server, other = overlapping(', overlap="queue"', servers=2)
    first, second, third = (tick(each)["run"] for each in (server, other, server))
    server.until_status(first, "running")
    assert statuses(server) == [(first, "running"), (second, "queued"), (third, "queued")]
    assert server.client.post(f"/runs/{second}/cancel", json={}).status_code == 202
    manual = server.start("hourly")  # what is not of the schedule waits for nothing
    server.until_status(manual, "running")
    assert statuses(server)[2] == (third, "queued")
    place.open()
    assert server.ended(third)["status"] == "succeeded"
    assert server.get(f"/runs/{third}")["started"] >= server.get(f"/runs/{first}")["finished"]


def test_runs_of_a_schedule_overlap_if_they_may(overlapping, tick, place):
    (server,) = overlapping(', overlap="allow"')
    for run in (tick(server)["run"], tick(server)["run"]):
        server.until_status(run, "running")
    assert [status for _, status in statuses(server)] == ["running", "running"]
    place.open()


def test_schedules_are_listed(overlapping, place):
    place.write("others.py", FLOWS.replace("hourly", "nightly"))
    server = place.serve("others.py")
    (told,) = server.get("/schedules")["schedules"]
    assert (told["flow"], told["expression"]) == ("nightly", "rate(1 hour)")
    assert told["overlap"] == "skip"
    assert server.get("/schedules/nightly")["ticks"] == []
    server.problem("/schedules/never", 404)
    server.problem("/schedules/nosuch", 404)


def test_what_was_missed_or_paused_is_in_the_history(served):
    server = served(ago=10.5 * HOUR, down=4 * HOUR)
    assert settled(server)["missed"] == 4
    (missed,) = server.get("/schedules/hourly")["ticks"]
    assert (missed["outcome"], missed["count"], missed["run"]) == ("missed", 4, None)
    assert missed["reason"] is None


def test_a_time_that_came_while_something_was_wrong_was_missed_for_a_reason(
    overlapping, place, journal
):
    def turn(since, last):
        with closing(sqlite3.connect(journal)) as connection, connection:
            connection.execute("UPDATE schedules SET since = ?, last = ?", (since, last))

    (server,) = overlapping()
    text = OVERLAPPING.replace("OVERLAP", "")
    place.write("flows.py", text.replace("def hourly()", "def hourly(count: int)"))
    flow = "/flows/hourly"
    until(lambda: server.get(flow)["parameters"].get("required"), "the file as it is now")
    now = time()
    turn(now - HOUR, now - 1)
    wrong = until(lambda: server.get("/schedules/hourly")["error"], "what is wrong")
    turn(now - HOUR - 120, now - 121)
    assert settled(server)["missed"] == 1
    (missed,) = server.get("/schedules/hourly")["ticks"]
    assert (missed["outcome"], missed["reason"]) == ("missed", wrong)
