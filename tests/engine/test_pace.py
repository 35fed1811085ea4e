"""How fast maps begin their items: rate limits, RetryLater, and maps that slow down."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from pathlib import Path

import anyio
import pytest

import lokki
from lokki import DefinitionError, Engine, RetryLater, RunCancelled, RunFailed, flow, step
from lokki.chain import Step
from lokki.engine.state import Failed, RunState
from lokki.rate import rate_of
from lokki.stages import MapStage, StepCall


@step
def numbers(count: int = 30):
    return list(range(count))


@step
def begun(_):
    return time.time()


@step
async def begun_async(_):
    return time.time()


@step(executor="process")
def begun_in_process(_):
    return time.time()


@step
def told(value):
    return value


STEPS = {"thread": begun, "async": begun_async, "process": begun_in_process}


def most_within(times: list[float], seconds: float) -> int:
    """The most of the times that are in a period of this length."""
    times = sorted(times)
    return max(bisect_left(times, at + seconds) - n for n, at in enumerate(times))


def opened(count: int, **options) -> RunState:
    def work(value=None):
        return value

    call = StepCall(Step(work), "work")
    state = RunState([MapStage((call,), **options)])
    state.open(count)
    return state


# ---- rate limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "period", "tick"), [("50/s", 1, 0.001), ("7/s", 1, 0.013), ("100/m", 60, 0.05)]
)
def test_items_begin_evenly_and_never_more_in_a_period_than_the_rate_says(rate, period, tick):
    state = opened(10_000, rate_limit=rate_of(rate))
    most, now, times = int(rate.split("/")[0]), 0.0, []
    while now < 5 * period:
        while claim := state.claim(1000, now, steal=False):
            times += [now] * len(claim.works)
            works = [claim.works.popleft() for _ in range(len(claim.works))]
            state.report(claim, [range(index, index + 1) for index, _, _ in works], [], now)
        assert state.next_due > now
        now += tick
    assert most_within(times, period) <= most
    assert len(times) >= 4.8 * most
    assert most_within(times, period / 10) <= max(2, most / 5)


def test_items_that_did_not_begin_do_not_count():
    state = opened(100, rate_limit=rate_of("10/s"))
    assert state.claim(9, 0.0, steal=False)
    assert state.claim(9, 0.0, steal=False) is None
    state.pause()
    state.unpause()
    assert state.claim(9, 0.0, steal=False)


@pytest.mark.parametrize("kind", STEPS)
def test_a_rate_holds_for_all_lanes_of_a_map_together(kind):
    @flow
    def paced(count: int = 30):
        return numbers(count).map(STEPS[kind], rate_limit="20/s")

    times = paced.run_sync()
    assert most_within(times, 1.0) <= 22  # some begin a little later than they were handed out
    assert 1.2 < max(times) - min(times) < 10


@pytest.mark.parametrize("rate", ["fast", "0/s", "5", "5/d", 5, "-1/s", "1.5/s"])
def test_a_wrong_rate_is_refused(rate):
    with pytest.raises(DefinitionError, match=r"rate_limit must be a number per second, minute or"):
        numbers().map(begun, rate_limit=rate)


# ---- RetryLater ----------------------------------------------------------------------------------


def busy(folder: Path, item: int, times: int) -> None:
    """Ask for a later try the first times."""
    file = folder / f"asked {item}"
    asked = len(file.read_text()) if file.exists() else 0
    if asked < times:
        file.write_text("x" * (asked + 1))
        raise RetryLater(0.01, "the service is busy")


@step
def first(n, folder: str):
    with open(os.path.join(folder, f"first {n}"), "a") as file:
        file.write("x")
    return [n]


@step
def tries(value, folder: str):
    (n,) = value
    busy(Path(folder), n, 3 if n % 2 else 0)
    return n, lokki.current().attempt


@step
async def tries_async(value, folder: str):
    return tries.fn(value, folder)


@step(executor="process")
def tries_in_process(value, folder: str):
    return tries.fn(value, folder)


@step(executor="process")
def first_in_process(n, folder: str):
    return first.fn(n, folder)


@pytest.mark.parametrize(
    ("before", "asks"),
    [
        (first, tries),
        (first, tries_async),
        (first_in_process, tries_in_process),
        (first, tries_in_process),
    ],
)
def test_an_item_is_tried_later_without_using_up_an_attempt(before, asks, tmp_path):
    @flow
    def later(folder: str):
        return numbers(6).map([before, asks])

    assert later.run_sync(str(tmp_path)) == [(n, 1) for n in range(6)]
    assert [len((tmp_path / f"asked {n}").read_text()) for n in (1, 3, 5)] == [3, 3, 3]
    assert {(tmp_path / f"first {n}").read_text() for n in range(6)} == {"x"}


@pytest.mark.asyncio
async def test_attempts_are_counted_besides_and_failures_are_those_of_attempts(tmp_path):
    seen = []

    @step(retry={"retries": 1, "delay": 0.01})
    def fails(n):
        seen.append(lokki.current().attempt)
        if len(seen) in (1, 2, 4):
            raise RetryLater(0.01)
        if len(seen) == 3:
            raise ValueError("really")
        return n

    @flow
    def counted():
        return numbers(1).map(fails)

    async with Engine(journal=tmp_path / "lokki.db") as engine:
        handle = engine.submit(counted)
        assert await handle.result() == [0]
        rows = engine.journal.read("SELECT type, attempt FROM failures", ())
    assert (seen, rows) == ([1, 1, 1, 2, 2], [("ValueError", 1)])


@pytest.mark.asyncio
async def test_an_item_that_was_put_off_before_a_cancel_has_all_its_attempts_after_it(tmp_path):
    asked = anyio.Event()
    seen = []

    @step
    async def asks(n):
        seen.append(lokki.current().attempt)
        if len(seen) == 1:
            asked.set()
            raise RetryLater(600)
        return n

    @flow
    def cancelled():
        return numbers(1).map(asks)

    async with Engine(journal=tmp_path / "lokki.db") as engine:
        handle = engine.submit(cancelled)
        await asked.wait()
        handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        again = await engine.resume(handle.run_id, cancelled)
        assert await again.result() == [0]
    assert seen == [1, 1]


def test_an_item_that_asks_for_too_long_fails():
    @step
    def asks(n):
        raise RetryLater(0.01, "still busy", most=0.05)

    @flow
    def failing():
        return numbers(1).map(asks)

    with pytest.raises(RunFailed, match="RetryLater: still busy") as failed:
        failing.run_sync()
    assert failed.value.attempt == 1


@pytest.mark.parametrize("seconds", [-1, "5", None, float("inf"), float("nan")])
def test_a_wrong_time_is_refused(seconds):
    with pytest.raises(DefinitionError, match="RetryLater: seconds must be a number"):
        RetryLater(seconds)


# ---- maps that slow down -------------------------------------------------------------------------


def test_a_map_whose_step_asks_for_later_tries_is_slowed_to_what_its_service_can_do():
    """A service that takes 50 calls a second, and later any number; 400 could be made."""
    state, now, done, refused, pace = opened(20_000), 0.0, [], [], []
    served = []
    while now < 60:
        served = [at for at in served if at > now - 1]
        most = 50 if now < 40 else 10_000
        for _ in range(4):  # lanes, each of which makes a call in 10 ms
            claim = state.claim(1, now)
            if claim is None:
                break
            work = claim.works.popleft()
            if len(served) < most:
                served.append(now)
                done.append(now)
                state.report(claim, [range(work[0], work[0] + 1)], [], now)
            else:
                refused.append(now)
                state.report(claim, [], [Failed(*work, True, (1.0, 3600.0))], now)
        pace.append(state.slowed_to)
        now += 0.01
    made = len([at for at in done if 10 <= at < 40])
    late = len([at for at in refused if 10 <= at < 40])
    assert made > 0.6 * 30 * 50
    assert late < made
    assert pace[3900] < 200
    assert pace[-1] is None, "it is as fast as usual again"
    assert len([at for at in done if at >= 58]) > 0.9 * 2 * 400


def test_a_few_items_that_are_put_off_slow_nothing_down():
    state = opened(2_000)
    for tick in range(500):
        claim = state.claim(4, tick / 100)
        works = [claim.works.popleft() for _ in range(4)]
        failed = [Failed(*works[0], True, (600.0, 3600.0))] if tick % 30 == 0 else []
        succeeded = [range(index, index + 1) for index, _, _ in works[len(failed) :]]
        state.report(claim, succeeded, failed, tick / 100)
    assert state.slowed_to is None
