"""Limits that all runs with the same journal share, in whatever process they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from bisect import bisect_left
from contextlib import closing
from itertools import accumulate

import anyio
import pytest
from serving import until

from lokki import ConfigError, DefinitionError, Engine, flow, step
from lokki.config import Config, journal_place
from lokki.store.connection import Reader
from lokki.store.leases import LEASE_SECONDS

FLOW = """
import json, sys, time
from lokki import flow, step

@step
def numbers(count: int):
    return list(range(count))

@step(limit="shared")
def begun(_):
    return time.time()

@flow
def limited(count: int):
    return numbers(count).map(begun)

if __name__ == "__main__":
    print(json.dumps(limited.run_sync(int(sys.argv[1]))))
"""


def most_within(times: list[float], seconds: float) -> int:
    """The most of the times that are in a period of this length."""
    times = sorted(times)
    return max(bisect_left(times, at + seconds) - n for n, at in enumerate(times))


@step
def numbers(count: int = 15):
    return list(range(count))


@step(limit="shared")
async def begun(_):
    return time.time()


@flow
def limited(count: int = 15):
    return numbers(count).map(begun)


def config(**limits: str | int) -> Config:
    return Config(limits=limits)


def test_processes_share_a_limit(tmp_path, monkeypatch):
    (tmp_path / "lokki.toml").write_text('[limits]\nshared = "20/s"\n')
    script = tmp_path / "limited.py"
    script.write_text(textwrap.dedent(FLOW))
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", str(tmp_path / "lokki.db"))
    command = [sys.executable, str(script), "20"]
    started = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    times = [at for each in started for at in json.loads(each.communicate(timeout=50)[0])]
    assert len(times) == 40
    assert most_within(times, 1.0) <= 23  # some begin a little later than they were handed out
    assert max(times) - min(times) > 1.7


@pytest.mark.asyncio
async def test_runs_of_an_engine_share_a_limit_and_use_it_fully(tmp_path):
    async with Engine(journal=tmp_path / "lokki.db", config=config(shared="30/s")) as engine:
        times: list[float] = []

        async def run() -> None:
            times.extend(await engine.run(limited))

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(run)
        assert most_within(times, 1.0) <= 34
        assert 1.3 < max(times) - min(times) < 8


@pytest.mark.asyncio
async def test_a_limit_that_is_not_configured_is_reported_before_anything_runs(tmp_path):
    async with Engine(journal=tmp_path / "lokki.db", config=config()) as engine:
        with pytest.raises(ConfigError, match=r"step 'begun' has the limit 'shared', which is not"):
            engine.submit(limited)
        assert engine.journal.history.counts() == {}


@pytest.mark.asyncio
@pytest.mark.parametrize("wrong", ["fast", 0, "0", "-1", "1.5"])
async def test_a_limit_that_is_none_is_reported_before_anything_runs(tmp_path, wrong):
    async with Engine(journal=tmp_path / "lokki.db", config=config(shared=wrong)) as engine:
        with pytest.raises(ConfigError, match=r"key 'limits.shared' must be how many calls"):
            engine.submit(limited)


@pytest.mark.parametrize("wrong", ["not a name", 5, ""])
def test_a_wrong_name_of_a_limit_is_refused(wrong):
    with pytest.raises(DefinitionError, match="limit must be the name of one of the"):
        step(limit=wrong)(lambda_named)


def lambda_named(value):
    return value


# ---- how many calls run at a time ----------------------------------------------------------------

AT_A_TIME = """
import json, os, sys, time
from lokki import flow, step

@step
def numbers(count: int):
    return list(range(count))

@step(limit="gpu", executor=os.environ["EXECUTOR"])
def busy(_):
    began = time.time()
    time.sleep(0.05)
    return began, time.time()

@flow
def limited(count: int):
    return numbers(count).map(busy)

if __name__ == "__main__":
    print(json.dumps(limited.run_sync(int(sys.argv[1]))))
"""


def most_at_a_time(calls: list[tuple[float, float]]) -> int:
    changes = sorted([(began, 1) for began, _ in calls] + [(ended, -1) for _, ended in calls])
    return max(accumulate(change for _, change in changes))


@pytest.fixture(params=["threads, SQLite", "processes, PostgreSQL"])
def two_at_a_time(request, tmp_path, monkeypatch):
    """Starts a process whose calls, of 50 ms, share two places in a journal; it prints them."""
    in_threads = request.param == "threads, SQLite"
    journal = tmp_path / "lokki.db" if in_threads else request.getfixturevalue("postgres").journal()
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", getattr(journal, "url", str(journal)))
    monkeypatch.setenv("EXECUTOR", "thread" if in_threads else "process")
    (tmp_path / "lokki.toml").write_text("[limits]\ngpu = 2\n")
    script = tmp_path / "limited.py"
    script.write_text(AT_A_TIME)

    def start(count: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), str(count)]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)

    return start


def test_processes_share_the_places_of_a_limit(two_at_a_time):
    started = [two_at_a_time(count) for count in (30, 15, 15)]
    calls = [json.loads(each.communicate(timeout=50)[0]) for each in started]
    at_once = most_at_a_time([tuple(call) for each in calls for call in each])
    assert [len(each) for each in calls] == [30, 15, 15]
    assert at_once == 2
    (_, second, third) = [min(began for began, _ in each) for each in calls]
    assert max(second, third) < max(ended for _, ended in calls[0]), "they take turns"


def test_a_process_that_dies_gives_its_places_back(two_at_a_time, tmp_path):
    dying = two_at_a_time(100_000)
    try:
        with closing(Reader(journal_place(os.environ["LOKKI_LOCAL_JOURNAL"], ""))) as read:
            until(lambda: read("SELECT * FROM stages WHERE succeeded > 0"), "items of the map")
    finally:
        dying.kill()
        dying.communicate()
    began = time.monotonic()
    calls = json.loads(two_at_a_time(8).communicate(timeout=50)[0])
    assert most_at_a_time([tuple(call) for call in calls]) == 2
    assert time.monotonic() - began < LEASE_SECONDS / 2, "on the same host, it is known to be gone"


@pytest.mark.asyncio
async def test_runs_of_an_engine_and_single_steps_share_places(tmp_path):
    running = most = 0

    @step(limit="one")
    async def alone(_=None):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.sleep(0.005)
        running -= 1

    @flow
    def single():
        return alone()

    @flow
    def mapped():
        return numbers(10).map(alone)

    engine = Engine(journal=tmp_path / "lokki.db", config=config(one=1))
    async with engine, anyio.create_task_group() as group:
        for each in (mapped, single, mapped):
            group.start_soon(engine.run, each)
    assert most == 1
