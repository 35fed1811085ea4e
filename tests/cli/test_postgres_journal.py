"""Commands with a journal on PostgreSQL."""

from __future__ import annotations

import signal

import pytest
from journals import EVERY_ITEM, ask
from serving import until

FLOW = """
from pathlib import Path
from time import sleep
from lokki import flow, step

@step
def numbers():
    return list(range(40))

@step
def square(number):
    with open("calls", "a") as calls:
        print(number, file=calls)
    while number >= 30 and not Path("go").exists():
        sleep(0.01)
    return number * number

@step
def total(squares):
    return sum(squares)

@flow
def squares():
    return numbers().map(square, concurrency_limit=2).agg(total)
"""
SQUARED = f"SELECT id & 4294967295 FROM {EVERY_ITEM} WHERE (id >> 32) & 255 = 1"


@pytest.fixture
def place(postgres, monkeypatch, terminal):
    found = postgres.journal()
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", found.url)
    (terminal / "flow.py").write_text(FLOW)
    return found


def test_a_run_that_was_killed_is_resumed_and_calls_nothing_again(
    place, start, done, terminal, monkeypatch
):
    process, calls = start("run", "flow.py"), terminal / "calls"
    until(lambda: calls.exists() and "30" in calls.read_text().split(), "that it has begun")
    until(lambda: len(ask(place, SQUARED)) >= 20, "that results are recorded")
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    recorded = [index for (index,) in ask(place, SQUARED)]
    code, out, err = done("runs")
    assert (code, "lost" in out) == (0, True), err
    (terminal / "go").touch()
    code, out, err = done("resume", "last", "flow.py")
    assert (code, out) == (0, f"{sum(n * n for n in range(40))}\n"), err
    called = calls.read_text().split()
    assert {called.count(str(index)) for index in recorded} == {1}
    code, out, err = done("journal", "copy", place.url, "copy.db")
    assert (code, out) == (0, "1 run copied to copy.db\n"), err
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", "copy.db")
    code, out, err = done("show", "last")
    assert (code, "succeeded" in out) == (0, True), err


def test_no_command_shows_the_password(postgres, monkeypatch, done):
    address = f"127.0.0.1:{postgres.port}"
    url = f"postgresql://lokki:hush-1@{address}/postgres?password=hush-2"
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", url)
    for command in ("runs", "show last", "config", "config --json"):
        _, out, err = done(*command.split())
        assert address in out + err, command
        assert "hush" not in out + err, command
