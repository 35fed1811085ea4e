"""Events as they happen: one run, its lines, and all runs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter

import httpx
import pytest
from serving import until

SPEAKING = """
import time
from lokki import flow, step

@step
def numbers(count):
    return list(range(count))

@step
def speak(number):
    while number >= 5 and not OPEN.exists():
        time.sleep(0.01)
    print("number", number)

@step
def busy(number):
    time.sleep(0.004)
    print("busy with", number)

@flow
def speech(count: int = 10):
    return numbers(count).map(speak, batch_size=1, concurrency_limit=1)

@flow
def bustle(count: int = 500):
    return numbers(count).map(busy, batch_size=1, concurrency_limit=1)
"""


@pytest.fixture(scope="module")
def spoken(shared, server):
    shared.write("speaking.py", SPEAKING)
    return shared.serve("flows.py", "speaking.py")


def test_a_run_that_has_ended_is_reported_at_once(spoken):
    run = spoken.ran("summed")
    with spoken.events(f"/runs/{run['id']}/events") as events:
        found = list(events)
    assert [name for name, _, _ in found] == ["run", "end"]
    shape = found[0][2]
    assert (shape["id"], shape["status"]) == (run["id"], "succeeded")
    assert [stage["succeeded"] for stage in shape["stages"]] == [1, 4, 1]
    assert found[1][2] == {"status": "succeeded"}


def test_a_run_is_reported_at_once_on_each_change_and_at_its_end(spoken, shared):
    shared.shut()
    run_id = spoken.start("speech")
    with spoken.events(f"/runs/{run_id}/events") as events:
        name, _, shape = next(events)
        assert (name, shape["id"]) == ("run", run_id)
        while len(shape["stages"]) < 2 or shape["stages"][1]["succeeded"] < 5:
            name, _, shape = next(events)
            assert name == "run"
        shared.open()
        found = list(events)
    assert [name for name, _, _ in found].count("end") == 1
    assert found[-1][0] == "end"
    assert found[-2][2]["status"] == "succeeded"
    assert found[-2][2]["stages"][1]["succeeded"] == 10
    done = [each["stages"][1]["succeeded"] for _, _, each in found[:-1]]
    assert done == sorted(done)


@pytest.mark.parametrize("query", ["", "?logs=1"])
def test_there_are_at_most_ten_messages_a_second(spoken, query):
    run_id = spoken.start("bustle")
    with spoken.events(f"/runs/{run_id}/events{query}") as events:
        began = time.monotonic()
        found = list(events)
        took = time.monotonic() - began
    assert found[-1][0] == "end"
    assert 2 <= len(found) <= 10 * took + 3


def messages(found):
    return [line["message"] for name, _, data in found if name == "lines" for line in data["lines"]]


def test_lines_come_if_they_are_asked_for(spoken, shared):
    shared.shut()
    run_id = spoken.start("speech")
    with spoken.events(f"/runs/{run_id}/events?logs=1", **{"Last-Event-ID": "0"}) as events:
        early = []
        while len(messages(early)) < 5:
            early.append(next(events))
        shared.open()
        found = early + list(events)
    assert messages(found) == [f"number {n}" for n in range(10)]
    lines = [line for name, _, data in found if name == "lines" for line in data["lines"]]
    assert lines == spoken.get(f"/runs/{run_id}/logs")["lines"]
    with spoken.events(f"/runs/{run_id}/events") as events:
        assert messages(events) == []
    with spoken.events(f"/runs/{run_id}/events?logs=1") as events:
        assert messages(events) == [], "what was there before is asked for with /logs"


def test_after_a_break_no_line_is_lost_or_comes_twice(spoken, shared):
    shared.shut()
    run_id = spoken.start("speech")
    found, last = [], "0"
    while not found or found[-1][0] != "end":
        path = f"/runs/{run_id}/events?logs=1"
        with spoken.events(path, **{"Last-Event-ID": last}) as events:
            for event in events:
                found.append(event)
                last = event[1]
                if event[0] == "lines":
                    break
            if len(messages(found)) >= 5:
                shared.open()
    assert messages(found) == [f"number {n}" for n in range(10)]


def test_many_lines_come_without_waiting_for_a_change(spoken, shared):
    shared.open()
    run = spoken.ran("speech", count=3000)
    with spoken.events(f"/runs/{run['id']}/events?logs=1", **{"Last-Event-ID": "0"}) as events:
        found = list(events)
    assert [name for name, _, _ in found] == ["run", *["lines"] * 3, "end"]
    assert messages(found) == [f"number {n}" for n in range(3000)]
    assert all(len(data["lines"]) <= 1000 for name, _, data in found if name == "lines")


@pytest.mark.parametrize("last", ["", "x", "-1", "9" * 40, "é".encode()])
def test_a_wrong_last_id_is_no_error(spoken, last):
    run = spoken.ran("summed")
    with spoken.events(f"/runs/{run['id']}/events?logs=1", **{"Last-Event-ID": last}) as events:
        assert [name for name, _, _ in events][-1] == "end"


def test_runs_of_other_processes_are_seen(spoken, shared):
    spoken.ran("summed")
    shared.shut()
    with spoken.events("/events") as events:
        next(events)  # the newest runs, at once
        process = subprocess.Popen(
            [sys.executable, "-m", "lokki", "run", "speaking.py:speech", "--count", "7"],
            cwd=shared.folder,
            env=os.environ | {"LOKKI_LOCAL_JOURNAL": str(shared.folder / "journal" / "lokki.db")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            seen = []
            for name, _, data in events:
                assert name == "runs"
                own = [run for run in data["runs"] if run["params"] == {"count": 7}]
                assert all(run["id"] == own[0]["id"] for run in own)
                seen += own
                if own and own[0]["stages"]:
                    shared.open()
                if own and own[0]["finished"]:
                    break
            assert seen[0]["owner"]["process"] == process.pid
            assert (seen[0]["status"], seen[-1]["status"]) == ("running", "succeeded")
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()


def test_all_runs_tell_only_what_has_changed(spoken):
    first = spoken.ran("summed")
    with spoken.events("/events") as events:
        _, _, data = next(events)
        assert first["id"] in {run["id"] for run in data["runs"]}
        second = spoken.ran("summed")
        later = []
        while not any(run["id"] == second["id"] and run["finished"] for run in later):
            later += next(events)[2]["runs"]
        assert first["id"] not in {run["id"] for run in later}


def test_all_runs_go_on_after_the_last_id(spoken):
    first = spoken.ran("summed")
    with spoken.events("/events") as events:
        _, last, _ = next(events)
    second = spoken.ran("summed")
    with spoken.events("/events", **{"Last-Event-ID": last}) as events:
        _, later, data = next(events)
    ids = [run["id"] for run in data["runs"]]
    assert second["id"] in ids
    assert first["id"] not in ids
    assert later != last


@pytest.mark.parametrize("last", ["x", "another-7", "-", "9" * 90])
def test_all_runs_are_reported_to_who_has_an_id_of_another_server(spoken, last):
    run = spoken.ran("summed")
    with spoken.events("/events", **{"Last-Event-ID": last}) as events:
        assert run["id"] in {each["id"] for each in next(events)[2]["runs"]}


def test_a_run_that_only_lasts_is_not_reported_again(place):
    place.write("speaking.py", SPEAKING)
    server = place.serve("speaking.py")
    run_id = server.start("speech")
    with server.events(f"/runs/{run_id}/events") as events:
        for _, _, run in events:
            if len(run["stages"]) == 2 and run["stages"][1]["succeeded"] == 5:
                break
        server.ran("bustle", count=20)  # changes of another run
        place.open()
        shapes = [still(data) for name, _, data in events if name == "run"]
    told = [before for before, after in itertools.pairwise(shapes) if before == after]
    assert told == []
    assert still(run) not in shapes


def still(run):
    """A run but for what grows with time."""
    stages = [{**stage, "duration": 0} for stage in run["stages"]]
    return {**run, "duration": 0, "stages": stages}


@pytest.mark.asyncio
async def test_five_hundred_streams_are_bounded_and_given_back(place):
    place.write("speaking.py", SPEAKING)
    server = place.serve("speaking.py")
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=server.client.base_url, limits=limits, timeout=30
    ) as client:

        async def open_stream():
            return await client.send(client.build_request("GET", "/events"), stream=True)

        answers = await asyncio.gather(*(open_stream() for _ in range(500)))
        statuses = Counter(answer.status_code for answer in answers)
        assert statuses == {200: 200, 503: 300}
        refused = next(answer for answer in answers if answer.status_code == 503)
        assert refused.headers["retry-after"] == "5"
        assert json.loads(await refused.aread())["title"] == "Too many streams"
        run = server.start("bustle", count=20)
        assert server.ended(run)["status"] == "succeeded"
        opened = [answer for answer in answers if answer.status_code == 200]
        for answer in opened:
            async for line in answer.aiter_lines():
                if run in line and '"succeeded"' in line:
                    break
        for answer in answers:
            await answer.aclose()
    until(lambda: server.client.get("/metrics").status_code == 200, "an answer")

    def is_free():
        with server.client.stream("GET", "/events") as answer:
            return answer.status_code == 200

    until(is_free, "a place for a stream")


def test_a_lost_run_goes_on_in_the_stream(place):
    """A stream does not end while a run may go on: its runner has died, and another takes it."""
    place.write("speaking.py", SPEAKING)
    server = place.serve("speaking.py")
    run_id = server.start("speech")
    with server.events(f"/runs/{run_id}/events") as events:
        for _, _, shape in events:
            if len(shape["stages"]) == 2 and shape["stages"][1]["succeeded"] >= 5:
                break
        (runner,) = server.runners()
        os.kill(runner, 9)
        place.open()
        found = list(events)
    assert found[-1] == ("end", found[-1][1], {"status": "succeeded"})


def test_a_server_that_stops_ends_its_streams(place):
    place.write("speaking.py", SPEAKING)
    server = place.serve("speaking.py", "--grace", "0")
    run_id = server.start("speech")
    server.until_status(run_id, "running")
    with server.events(f"/runs/{run_id}/events") as events:
        server.process.terminate()
        try:
            for _ in events:
                pass
        except httpx.TransportError:
            pass
    assert server.process.wait(30) == 0
    until(lambda: server.process.poll() == 0, "its end")


def test_a_server_listens_to_postgres_as_long_as_somebody_watches(place, postgres, monkeypatch):
    """What another host changes is told; it has a connection for that, which does nothing else."""
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", postgres.journal().url)
    place.write("flows.py")
    watched, other = (place.serve("flows.py", "--runners", "1") for _ in range(2))

    def listens() -> bool:
        query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN \"lokki%changed%'"
        return bool(postgres.ask(query))

    assert not listens()
    with watched.events("/events") as events:
        until(listens, "a connection that listens")
        run_id = other.start("summed")
        until(lambda: run_id in json.dumps(next(events)[2]), "the run of another host")
    other.ran("summed")
    until(lambda: other.ran("summed") and not listens(), "the end of the connection")
