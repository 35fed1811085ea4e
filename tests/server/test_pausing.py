"""Runs of a server that are paused: they hold no runner, and survive its restart."""

from __future__ import annotations

import os
import signal
from time import time

import pytest
from serving import Place, Run, Server, until

from lokki.client import Client
from lokki.errors import ServerError

COUNTED = """
import time
from lokki import flow, step

@step
def numbers():
    return list(range(500))

@step
def held(n):
    with open(OPEN.parent / "began", "a") as began:
        began.write(f"{n} ")
    while not (OPEN.exists() and n < int(OPEN.read_text() or 0)):
        time.sleep(0.005)
    return n

@flow
def counted():
    return numbers().map(held, batch_size=1, concurrency_limit=2).agg(sum_of)

@step
def sum_of(numbers):
    return sum(numbers)
"""


def _began(place: Place) -> list[int]:
    file = place.folder / "began"
    return [int(each) for each in file.read_text().split()] if file.exists() else []


def _let_go(place: Place, most: int) -> None:
    """Let the first items end."""
    part = place.folder / "part"
    part.write_text(str(most))
    part.replace(place.folder / "open")


def _until_paused(place: Place, server: Server, run_id: str) -> Run:
    """Let one item after the other end until the run is paused."""
    for most in range(1, 500):
        if (run := server.get(f"/runs/{run_id}"))["status"] == "paused":
            return run
        _let_go(place, most)
    raise AssertionError("all items have begun")


def _ask(server: Server, run_id: str, verb: str) -> None:
    assert server.client.post(f"/runs/{run_id}/{verb}", json={}).status_code == 202


def test_a_paused_run_frees_its_runner_and_continues_after_a_restart(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOKKI_SERVER_MAX_RUNS", "1")
    place.write("counted.py", COUNTED)
    place.write("flows.py")
    server = place.serve("counted.py", "flows.py", "--runners", "1")
    run_id = server.start("counted")
    until(lambda: len(_began(place)) == 2, "two calls that run")
    behind = server.start("summed")
    _ask(server, run_id, "pause")
    assert server.get(f"/runs/{run_id}")["pause_requested"]
    paused = _until_paused(place, server, run_id)
    assert paused["owner"] is None
    assert len(_began(place)) == paused["stages"][1]["succeeded"] < 500
    assert server.ended(behind)["status"] == "succeeded"
    worked = paused["duration"]

    server.stop()
    server = place.serve("counted.py", "flows.py", "--runners", "1")
    again = server.get(f"/runs/{run_id}")
    assert (again["status"], again["duration"]) == ("paused", worked)
    since = time()
    _let_go(place, 500)
    _ask(server, run_id, "unpause")
    ended = server.ended(run_id)
    assert ended["status"] == "succeeded"
    assert sorted(_began(place)) == list(range(500))
    assert ended["duration"] < worked + time() - since
    assert server.get(f"/runs/{run_id}/result")["result"] == 124750


def test_a_queued_run_is_paused_and_a_tuned_one_has_its_concurrency_after_a_pause(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOKKI_SERVER_MAX_RUNS", "1")
    place.write("counted.py", COUNTED)
    server = place.serve("counted.py", "--runners", "1")
    client = Client(str(server.client.base_url))
    first = client.start("counted")
    until(lambda: len(_began(place)) == 2, "two calls that run")
    second = client.start("counted")
    second.pause()
    assert second.state()["status"] == "paused"
    first.tune(5)
    until(lambda: len(_began(place)) == 5, "three more calls that run")
    first.pause()
    _until_paused(place, server, first.id)
    before = len(_began(place))
    place.shut()
    first.unpause()
    until(lambda: len(_began(place)) == before + 5, "as many calls as before the pause")
    _let_go(place, 500)
    assert first.result(timeout=40) == 124750
    with pytest.raises(ServerError, match="has ended"):
        first.pause()
    assert second.state()["status"] == "paused"
    second.unpause()
    assert second.result(timeout=40) == 124750


def test_a_paused_run_whose_runner_is_killed_before_its_calls_have_ended(place: Place) -> None:
    place.write("counted.py", COUNTED)
    server = place.serve("counted.py", "--runners", "1")
    run_id = server.start("counted")
    until(lambda: len(_began(place)) == 2, "two calls that run")
    _ask(server, run_id, "pause")
    (runner,) = server.runners()
    os.kill(runner, signal.SIGKILL)
    paused = server.until_status(run_id, "paused")
    assert paused["owner"] is None
    _let_go(place, 500)
    _ask(server, run_id, "unpause")
    assert server.ended(run_id)["status"] == "succeeded"
    assert "has ended" in server.problem(f"/runs/{run_id}/unpause", 409, {})["detail"]
