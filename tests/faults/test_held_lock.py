"""A step in C holds the interpreter's lock of its runner for longer than a lease lasts."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing

import pytest
from serving import Place, until

FLOW = """
import ctypes, os, time
from lokki import flow, step

HERE = Path(__file__).parent

@step
def held():
    with open(HERE / "calls", "a") as calls:
        calls.write("held" + chr(10))
    ctypes.PyDLL(None).open(str(HERE / "gate").encode(), os.O_RDONLY)  # does not let go of the lock
    return "done"

@step
def waits():
    while not OPEN.exists():
        time.sleep(0.01)

@flow
def holding():
    return held()

@flow
def waiting():
    return waits()
"""


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    made.write("flows.py", FLOW)
    os.mkfifo(tmp_path / "gate")
    yield made
    made.close()


def test_a_run_whose_step_holds_the_interpreters_lock_stays_with_its_runner(place, journal):
    servers = [place.serve("flows.py", LOKKI_SERVER_RUNNERS="1") for _ in range(2)]
    run = servers[0].start("holding")
    calls = place.folder / "calls"
    until(calls.exists, "the call")
    with closing(sqlite3.connect(journal, timeout=30)) as connection:
        connection.execute("UPDATE runs SET leased_until = 1.0")  # as time would
        connection.commit()
    owner = servers[0].get(f"/runs/{run}")["owner"]["process"]
    (other,) = (server for server in servers if owner not in server.runners())
    (idle,) = other.runners()
    os.kill(idle, signal.SIGKILL)  # so that its service looks for lost runs at once
    until(lambda: f"runner {idle} died" in other.told, "the end of the idle runner")
    other.ready()
    for server in servers:
        told = server.get(f"/runs/{run}")
        assert (told["status"], told["owner"]["alive"]) == ("running", True)
    with open(place.folder / "gate", "w"):
        ended = other.ended(run)
    assert ended["status"] == "succeeded"
    assert calls.read_text() == "held\n"


def test_a_runner_whose_step_holds_the_interpreters_lock_keeps_no_other_runs_waiting(place):
    server = place.serve("flows.py", LOKKI_SERVER_RUNNERS="2")
    held = server.start("holding")
    until((place.folder / "calls").exists, "the call")
    others = [server.start("waiting") for _ in range(5)]
    runs = [server.until_status(run, "running") for run in others]
    stuck = server.get(f"/runs/{held}")["owner"]["process"]
    assert stuck not in {run["owner"]["process"] for run in runs}
    place.open()
    with open(place.folder / "gate", "w"):
        for run in (held, *others):
            ended = server.ended(run)
            assert (ended["status"], ended["resumes"]) == ("succeeded", [])
