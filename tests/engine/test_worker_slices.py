"""Slices of items in worker processes: what an item's end means for those beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from elsewhere import Conformance, Elsewhere, numbers

import lokki
from lokki import Engine, flow, step
from lokki.engine.progress import Progress, shared_memory
from lokki.store.memory import MemoryStore


@pytest.fixture
def elsewhere():
    return Elsewhere(executor="process")


class TestSlicesInProcesses(Conformance):
    """The worker processes of an engine."""


class Slow:
    """A value that takes long to pickle, for longer than an idle lane waits before it helps."""

    def __reduce__(self):
        time.sleep(1.0)
        return Slow, ()


@pytest.mark.asyncio
async def test_no_item_runs_twice_while_its_input_is_pickled(tmp_path):
    @step
    def values():
        return [1, Slow(), 3]

    @step(executor="process")
    def noted(value):
        with (tmp_path / "calls").open("a") as file:
            file.write(f"{lokki.current().index}\n")

    @flow
    def noting():
        return values().map(noted)

    async with Engine(processes=2) as engine:
        await engine.run(noting)
    assert sorted((tmp_path / "calls").read_text().split()) == ["0", "1", "2"]


def raising():
    raise ValueError("once more")


def dying():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.asyncio
@pytest.mark.parametrize("end", [raising, dying])
async def test_an_inner_result_that_cannot_be_kept_for_a_retry_fails_its_step(end):
    @step(executor="process")
    def opened(number):
        return threading.Lock()

    @step(executor="process", retry={"retries": 1, "delay": 0})
    def locked(lock):
        end()

    @flow
    def chained():
        return numbers(3).map([opened, locked])

    async with Engine(processes=1) as engine:
        with pytest.raises(lokki.RunFailed, match="result of step 'opened' cannot be stored"):
            await engine.run(chained)


@pytest.mark.asyncio
@pytest.mark.parametrize("store", [None, MemoryStore])
async def test_large_results_of_a_slice_are_stored(store, journal):
    @step(executor="process")
    def large(number):
        return bytes([number]) * 300_000 + os.urandom(100_000)

    @step(executor="process")
    def first_bytes(values):
        return [value[0] for value in values]

    @flow
    def growing():
        return numbers(20).map(large).agg(first_bytes)

    more = {} if store is None else {"payloads": store()}
    async with Engine(processes=2, **more) as engine:
        assert await engine.run(growing) == list(range(20))
    stored = list(journal.parent.rglob("*.pkl.gz"))
    assert len(stored) == (20 if store is None else 0)


class Refused(Exception):
    """An error that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("the store is closed")
        self.lock = threading.Lock()


class RefusingStore(MemoryStore):
    def write(self, key, data):
        raise Refused


@pytest.mark.asyncio
async def test_a_store_that_refuses_a_result_fails_its_item():
    @step(executor="process")
    def large(number):
        return os.urandom(100_000)

    @flow
    def growing():
        return numbers(3).map(large)

    async with Engine(processes=1, payloads=RefusingStore()) as engine:
        with pytest.raises(lokki.RunFailed, match="cannot be stored: the store is closed"):
            await engine.run(growing)


CHILD = """
import sys
from lokki.engine.progress import Progress
progress = Progress(int(sys.argv[1]))
for _ in sys.stdin:
    print(sum(1 for _ in progress.items()), flush=True)
"""


def test_no_item_is_both_begun_and_taken_back():
    memory = shared_memory()
    progress = Progress(memory)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(memory)],
        pass_fds=(memory,),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    os.close(memory)
    for _ in range(200):
        progress.reset(2_000)
        child.stdin.write("go\n")
        child.stdin.flush()
        taken = 0
        while progress.take_back():
            taken += 1
        begun = int(child.stdout.readline())
        assert 2_000 - taken - 1 <= begun <= 2_000 - taken
    child.communicate()
    assert child.returncode == 0
