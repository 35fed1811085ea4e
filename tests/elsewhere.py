"""What a slice of items is in another process, asked of each place by its own test module.

The steps are sent by value: a worker has neither this module nor that of its tests.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from serving import until

import lokki
from lokki import Engine, RunCancelled, flow, step
from lokki.steps import Executor
from lokki.store.attachments import Attachments
from lokki.store.items import Items
from lokki.store.local import LocalStore

COUNT = 400


@dataclass
class Elsewhere:
    """Two processes that run slices: how an engine reaches them, and the executor of its steps."""

    options: dict[str, Any] = field(default_factory=dict)
    executor: Executor | None = None

    def engine(self, **more: Any) -> Engine:
        return Engine(processes=2, **self.options, **more)


@step
def numbers(count: int = COUNT):
    return list(range(count))


def attempts(engine, run_id, position=1):
    """How many attempts each item had that had more than one."""
    stage = engine.journal.history.stage(run_id, position)
    items = Items(engine.journal.read).page(stage, limit=10 * COUNT)
    assert [each.index for each in items] == list(range(len(items)))
    return {each.index: each.attempts for each in items if each.attempts != 1}


def failures(engine, run_id, index, position=1):
    stage = engine.journal.history.stage(run_id, position)
    failed = Items(engine.journal.read).attempts(stage, index)
    return [(each.type, each.attempt) for each in failed]


def told(engine, run_id):
    return [line.message for line in engine.journal.history.lines(run_id)]


def is_gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def of_every_size(executor):
    """A flow with ten small results for each large one."""

    @step(executor=executor)
    def made(number):
        return bytes([number]) * (300_000 if number % 10 == 0 else number)

    @step(executor=executor)
    def marked(data):
        return data + b"!"

    @flow
    def measuring():
        return numbers(30).map([made, marked])

    return measuring


SIZED = [bytes([n]) * (300_000 if n % 10 == 0 else n) + b"!" for n in range(30)]


def _raise(error):
    raise error


def _stubborn():
    """An error that no process can unpickle."""

    def refuse(error):
        raise TypeError("never")

    return type("Stubborn", (BaseException,), {"__reduce__": refuse})


ENDS = {
    10: lambda: os.kill(os.getpid(), signal.SIGKILL),
    11: lambda: os._exit(7),
    20: lambda: sys.exit(3),
    21: lambda: _raise(KeyboardInterrupt()),
    22: lambda: _raise(_stubborn()(1, 2)),
    23: lambda: _raise(GeneratorExit()),
    250: lambda: os.kill(os.getpid(), signal.SIGKILL),
}


@pytest.mark.asyncio
class Conformance:
    """Tests over the fixture ``elsewhere``."""

    async def test_each_item_ends_for_itself(self, elsewhere):
        @step(
            executor=elsewhere.executor,
            retry={"retries": 1, "delay": 0, "exceptions": (BaseException,)},
        )
        def ended(number):
            here = lokki.current()
            print(f"{number} is {here.index}, attempt {here.attempt}")
            lokki.show(f"# {number}", "Number")
            if number in ENDS and here.attempt == 1:
                ENDS[number]()
            return number, os.getpid()

        @flow
        def ending():
            return numbers().map(ended)

        async with elsewhere.engine() as engine:
            handle = engine.submit(ending)
            found = await handle.result()
            assert [number for number, _ in found] == list(range(COUNT))
            assert os.getpid() not in {process for _, process in found}
            assert attempts(engine, handle.run_id) == dict.fromkeys(ENDS, 2)
            for dead in (10, 11, 250):
                assert failures(engine, handle.run_id, dead) == [("WorkerDied", 1)]
            lines = engine.journal.history.lines(handle.run_id)
            said = [line for line in lines if line.source == "stdout"]
            assert {line.item for line in said} == set(range(COUNT))
            for line in said:
                assert line.message == f"{line.item} is {line.item}, attempt {line.attempt}"
            values = Attachments(engine.journal.read).page(handle.run_id, limit=1_000)
            assert {each.item for each in values if each.attempt == 1} == set(range(COUNT))
            assert {each.item for each in values if each.attempt == 2} == set(ENDS)
            assert b"tblib" not in pickle.dumps(OSError("a result that is read without Dask"))

    async def test_a_timeout_is_for_one_item_of_a_slice(self, elsewhere):
        @step(executor=elsewhere.executor, timeout_seconds=1, retry={"retries": 1, "delay": 0})
        def slow(number):
            if number == 100 and lokki.current().attempt == 1:
                time.sleep(600)
            return number

        @flow
        def waiting():
            return numbers().map(slow)

        async with elsewhere.engine() as engine:
            handle = engine.submit(waiting)
            assert await handle.result() == list(range(COUNT))
            assert attempts(engine, handle.run_id) == {100: 2}
            stage = engine.journal.history.stage(handle.run_id, 1)
            (failed,) = Items(engine.journal.read).attempts(stage, 100)
            assert (failed.type, failed.attempt) == ("TimeoutError", 1)
            assert failed.message == "the call took longer than 1 s"

    async def test_a_cancelled_run_leaves_nothing_running(self, elsewhere, tmp_path):
        @step(executor=elsewhere.executor)
        def endless(number, place):
            Path(place, str(os.getpid())).touch()
            time.sleep(600)

        @flow
        def hanging(place: str):
            return numbers().map(endless)

        calls = tmp_path / "calls"
        calls.mkdir()
        async with elsewhere.engine() as engine:
            handle = engine.submit(hanging, {"place": str(calls)})
            await asyncio.to_thread(until, lambda: len(list(calls.iterdir())) == 2, "two calls")
            began = time.monotonic()
            handle.cancel()
            with pytest.raises(RunCancelled):
                await handle.result()
            assert time.monotonic() - began < 10
            running = [int(each.name) for each in calls.iterdir()]
            await asyncio.to_thread(until, lambda: all(map(is_gone, running)), "the calls' ends")

    async def test_items_behind_one_that_takes_long_run_elsewhere(self, elsewhere, tmp_path):
        @step(executor=elsewhere.executor, timeout_seconds=30)
        def held(number, opened):
            if number == COUNT - 1:
                Path(opened).touch()
            while number == 100 and not Path(opened).exists():
                time.sleep(0.01)
            return number

        @flow
        def holding(opened: str):
            return numbers().map(held)

        async with elsewhere.engine() as engine:
            found = await engine.run(holding, {"opened": str(tmp_path / "open")})
            assert found == list(range(COUNT))

    async def test_a_retry_after_a_death_does_not_repeat_the_step_before(self, elsewhere, tmp_path):
        @step(executor=elsewhere.executor)
        def first(number):
            if number == 250:
                with (tmp_path / "calls").open("a") as file:
                    file.write("called\n")
            return [number]

        @step(executor=elsewhere.executor, retry={"retries": 1, "delay": 0})
        def second(numbers):
            if numbers == [250] and lokki.current().attempt == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return numbers[0]

        @flow
        def chained():
            return numbers().map([first, second])

        async with elsewhere.engine() as engine:
            assert await engine.run(chained) == list(range(COUNT))
        assert (tmp_path / "calls").read_text() == "called\n"

    async def test_results_of_every_size_arrive(self, elsewhere, tmp_path):
        async with elsewhere.engine(payloads=LocalStore(tmp_path / "large")) as engine:
            handle = engine.submit(of_every_size(elsewhere.executor))
            assert await handle.result() == SIZED
            lines = told(engine, handle.run_id)
            assert not any("cannot reach the payload store" in each for each in lines)
        assert len(list((tmp_path / "large").rglob("*.pkl.gz"))) == 3
        assert not list((tmp_path / "large").glob("lokki-cluster/*"))
