"""Limits that all runs with the same journal share, in whatever process they are."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from bisect import bisect_left

import anyio
import pytest

from lokki import ConfigError, DefinitionError, Engine, flow, step
from lokki.config import Config

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


def config(**limits: str) -> Config:
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
async def test_a_limit_that_is_no_rate_is_reported_before_anything_runs(tmp_path):
    async with Engine(journal=tmp_path / "lokki.db", config=config(shared="fast")) as engine:
        with pytest.raises(ConfigError, match=r"key 'limits.shared' must be a number per second"):
            engine.submit(limited)


@pytest.mark.parametrize("wrong", ["not a name", 5, ""])
def test_a_wrong_name_of_a_limit_is_refused(wrong):
    with pytest.raises(DefinitionError, match="limit must be the name of one of the"):
        step(limit=wrong)(lambda_named)


def lambda_named(value):
    return value
