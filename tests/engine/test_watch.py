"""Async calls that hold the event loop are told, with step, item and what to write instead."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import anyio
import pytest

from lokki import Engine, RunFailed, flow, step
from lokki.store.journal import Journal

pytestmark = pytest.mark.asyncio

LONG = 1.3
"""Seconds for which a call blocks that is to be told: longer than a second."""


@step
def numbers(count: int = 4):
    return range(count)


@pytest.fixture
def told(journal):
    """Runs a map of a step over numbers; gives what lokki tells of it: item, level, message."""

    async def run(work, **options):
        @flow
        def holding():
            return numbers().map(work, **options)

        async with Engine() as engine:
            handle = engine.submit(holding)
            assert await handle.result() == [0, 1, 2, 3]
        with closing(Journal(journal)) as reader:
            lines = list(reader.history.lines(handle.run_id))
        return [(line.item, line.level, line.message) for line in lines if line.source == "lokki"]

    return run


async def test_a_call_that_holds_the_loop_is_reported_while_it_does_and_when_it_is_over(
    told, capfd
):
    @step
    async def holding(number):
        await anyio.sleep(0)
        if number == 2:
            time.sleep(LONG)
        return number

    lines = await told(holding)
    assert [line[:2] for line in lines] == [(2, "WARNING")] * 2
    assert "has blocked the event loop for 1 s, at test_watch.py, line " in lines[0][2]
    assert "await anyio.to_thread.run_sync" in lines[0][2]
    assert lines[1][2].startswith("blocked the event loop for 1.")
    assert "[WARNING] step 'holding', item 2, has blocked the event loop" in capfd.readouterr().err


async def test_the_task_of_a_step_is_reported_as_the_steps_call(told):
    async def member(number):
        if number == 1:
            time.sleep(LONG)

    @step
    async def holding(number):
        await asyncio.create_task(member(number))
        return number

    assert [item for item, _, _ in await told(holding)] == [1, 1]


async def test_each_call_of_a_step_is_recorded_and_the_first_one_shown(told, capfd):
    @step
    async def holding(number):
        if number < 2:
            time.sleep(LONG)
        return number

    assert sorted(item for item, _, _ in await told(holding)) == [0, 0, 1, 1]
    assert capfd.readouterr().err.count("has blocked the event loop") == 1


async def test_calls_that_hold_the_loop_one_after_the_other_are_not_reported(told):
    @step
    async def short(number):
        for _ in range(4):
            time.sleep(0.15)
            await anyio.sleep(0)
        return number

    @step
    async def waiting(number):
        await anyio.sleep(LONG)
        return number

    assert await told(short) == []
    assert await told(waiting) == []


async def test_a_timeout_holds_for_a_call_that_it_could_not_interrupt():
    @step(timeout_seconds=0.05)
    async def holding():
        time.sleep(0.2)
        return "late"

    @flow
    def late():
        return holding()

    with pytest.raises(RunFailed, match=r"longer than 0\.05 s: it blocked the event loop"):
        await late.run()


async def test_a_timeout_that_is_held_up_for_long_is_reported_at_once(told):
    @step(timeout_seconds=0.5, retry={"retries": 1, "delay": 0})
    async def holding(number):
        if number == 1 and not missed:
            missed.append(number)
            time.sleep(LONG)
        return number

    missed: list[int] = []
    lines = await told(holding)
    first = lines[0]
    assert first[:2] == (1, "WARNING")
    assert "its timeout of 0.5 s cannot interrupt it" in first[2]
    assert any("will be retried: TimeoutError" in message for _, _, message in lines)


async def test_a_timeout_holds_for_a_call_that_does_not_want_to_be_cancelled():
    @step(timeout_seconds=0.05)
    async def stubborn():
        try:
            await anyio.sleep(3600)
        except asyncio.CancelledError:
            return "late"

    @flow
    def late():
        return stubborn()

    with pytest.raises(RunFailed, match=r"TimeoutError: the call took longer than 0\.05 s"):
        await late.run()
