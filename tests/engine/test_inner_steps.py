"""What is told of the inner steps of a map: how many items are past each, and what it takes."""

from __future__ import annotations

import time

import anyio
import pytest
import pytest_asyncio

from lokki import Engine, RunFailed, flow, step
from lokki.backends import recorded
from lokki.model.run import InnerStep
from lokki.resumption import ResumeOptions

pytestmark = pytest.mark.asyncio

QUICK, SLOW = 0.001, 0.1


@pytest_asyncio.fixture
async def engine():
    async with Engine() as engine:
        yield engine


def inner(engine: Engine, run_id: str, position: int = 1) -> list[InnerStep]:
    history = engine.journal.history
    return recorded.run(history, history.find(run_id)).stages[position].inner


@step
def numbers(count: int) -> list[int]:
    return list(range(count))


@step
def sleeps(number: int) -> int:
    time.sleep(QUICK)
    return number


@step(retry={"retries": 1, "delay": 0})
def fragile(number: int) -> int:
    time.sleep(SLOW)
    if number % 3 == 0:
        raise ValueError(number)
    return number


@step(executor="process")
def apart(number: int) -> int:
    time.sleep(SLOW)
    return number


@step
async def awaits(number: int) -> int:
    await anyio.sleep(SLOW)
    return number


@step
def picky(number: int) -> int:
    time.sleep(3 * SLOW)
    if number == 1:
        raise KeyError(number)
    return number


@step
def same(number: int) -> int:
    return number


async def test_attempts_that_failed_are_reported_of_their_inner_step(engine):
    @flow
    def chained(count: int):
        return numbers(count).map([sleeps, fragile, picky], tolerated_failures=3)

    handle = engine.submit(chained, {"count": 6})
    assert await handle.result() == [2, 4, 5]
    told = inner(engine, handle.run_id)
    assert [[each.step, each.succeeded, each.failed_attempts] for each in told] == [
        ["sleeps", 6, 0],
        ["fragile", 4, 4],  # two items failed twice
        ["picky", 3, 1],
    ]
    assert inner(engine, handle.run_id, 0) == []


@pytest.mark.parametrize("slow", [fragile, apart, awaits])
async def test_each_inner_step_has_its_time(engine, slow):
    @flow
    def chained():
        return numbers(3).map([sleeps, slow, picky], tolerated_failures=1.0)

    handle = engine.submit(chained)
    await handle.result()
    means = [each.mean_seconds for each in inner(engine, handle.run_id)]
    assert all(taken >= least for taken, least in zip(means, (QUICK, SLOW, 3 * SLOW), strict=True))
    assert means[0] < min(means[1:])


async def test_short_inner_steps_have_times(engine):
    @flow
    def chained():
        return numbers(5_000).map([same, same, same])

    handle = engine.submit(chained)
    await handle.result()
    told = inner(engine, handle.run_id)
    assert [each.step for each in told] == ["same", "same-2", "same-3"]
    assert [each.succeeded for each in told] == [5_000] * 3
    assert all(0 <= each.mean_seconds < SLOW for each in told)


async def test_a_resume_adds_to_what_is_reported_and_a_stage_that_is_done_anew_begins_anew(engine):
    slow, broken = {0}, {1}

    @step
    def first(number: int) -> int:
        time.sleep(SLOW if number in slow else QUICK)
        if number in broken:
            raise ValueError(number)
        return number

    @flow
    def chained():
        return numbers(2).map([first, same], concurrency_limit=1)

    handle = engine.submit(chained)
    with pytest.raises(RunFailed):
        await handle.result()
    before, after_it = inner(engine, handle.run_id)
    assert (before.succeeded, before.failed_attempts) == (1, 1)
    assert (after_it.succeeded, after_it.failed_attempts) == (1, 0)
    broken.clear()
    await (await engine.resume(handle.run_id, chained)).result()
    both, _ = inner(engine, handle.run_id)
    assert (both.succeeded, both.failed_attempts) == (2, 1)
    assert before.mean_seconds / 2 <= both.mean_seconds < before.mean_seconds
    slow.clear()
    again = await engine.resume(handle.run_id, chained, ResumeOptions(from_stage="first"))
    await again.result()
    anew, _ = inner(engine, handle.run_id)
    assert (anew.succeeded, anew.failed_attempts) == (2, 0)
    assert anew.mean_seconds < both.mean_seconds


async def test_a_map_of_one_step_has_no_inner_steps(engine):
    @flow
    def single():
        return numbers(3).map(sleeps)

    handle = engine.submit(single)
    await handle.result()
    assert [inner(engine, handle.run_id, position) for position in (0, 1)] == [[], []]
