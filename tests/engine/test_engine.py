"""Running flows: results, lanes, limits, retries, failures, cancellation, context."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from journals import EVERY_ITEM

import lokki
from lokki import (
    ConfigError,
    DefinitionError,
    Engine,
    Flow,
    JournalError,
    ParameterError,
    RunCancelled,
    RunFailed,
    RunOwned,
    current,
    flow,
    step,
)
from lokki.config import Config, Local
from lokki.engine.events import (
    RunFinished,
    RunStarted,
    StageFinished,
    StageProgressed,
    StageStarted,
)
from lokki.engine.state import Counts
from lokki.store.journal import Journal

pytestmark = pytest.mark.asyncio


@step
def numbers(count: int = 10):
    return list(range(count))


@step
def doubled(number):
    return number * 2


@step
def total(values):
    return sum(values)


@flow
def doubled_total(count: int = 10):
    return numbers(count).map(doubled).agg(total)


class Peak:
    """The most callers that were inside at a time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that happens in another thread or process."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        await anyio.sleep(0.001)


async def bounded(what: Flow[..., Any], seconds: float = 20) -> Any:
    """The result of a flow whose engine might hang: it is run, and left behind, in a thread."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(what.run_sync())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wait_for(asyncio.wrap_future(future), seconds)


# ---- results -----------------------------------------------------------------------------------


async def test_the_three_ways_to_run_give_the_same():
    assert await doubled_total.run(5) == 20
    assert await asyncio.to_thread(doubled_total.run_sync, 5) == 20
    async with Engine() as engine:
        assert await engine.run(doubled_total, {"count": 5}) == 20
        assert await engine.run(doubled_total(5)) == 20
        assert await engine.run(doubled_total(), {"count": 5}) == 20


async def test_run_sync_works_inside_a_running_loop():
    assert doubled_total.run_sync(count=4) == 12


async def test_run_sync_inside_a_running_loop_raises_what_the_run_raises():
    with pytest.raises(RunFailed):
        failing_flow.run_sync()


@pytest.mark.parametrize("count", [0, 1, 2, 1000, 5000])
async def test_every_item_once_and_in_order(count):
    @flow
    def ordered():
        return numbers(count).map(doubled)

    assert await ordered.run() == [2 * n for n in range(count)]


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    "value",
    [b"\0\xff", (1, (2,)), dt.date(2026, 1, 2), {1, 2}, {"a": None}, 1 + 2j, Point(3), Point, "é"],
)
async def test_values_come_back_with_their_types(value):
    @step
    def source():
        return [value]

    @step
    def same(item):
        return item

    @flow
    def passing():
        return source().map(same)

    (result,) = await passing.run()
    assert result == value
    assert type(result) is type(value)


async def test_arrays_and_functions_come_back():
    @step
    def source():
        return [np.arange(5), lambda x: x + 1]

    @step
    def used(item):
        return item(1) if callable(item) else item.sum()

    @flow
    def passing():
        return source().map(used)

    assert await passing.run() == [10, 2]


@pytest.mark.parametrize(
    "source",
    [lambda: (n for n in "abc"), lambda: ("a", "b", "c"), lambda: {"a": 1, "b": 2, "c": 3}.keys()],
    ids=["generator", "tuple", "dict keys"],
)
async def test_any_iterable_is_a_source(source):
    make = source

    @step
    def letters():
        result = make()
        return result if not isinstance(result, type({}.keys())) else list(result)

    @step
    def upper(letter):
        return letter.upper()

    @flow
    def uppered():
        return letters().map(upper)

    assert await uppered.run() == ["A", "B", "C"]


async def test_generators_async_functions_and_async_generators_are_steps():
    @step
    def generated(count):
        yield from range(count)

    @step
    async def streamed(number):
        for _ in range(number):
            await anyio.sleep(0)
            yield number

    @step
    async def length(values):
        await anyio.sleep(0)
        return len(values)

    @flow
    def mixed(count: int):
        return generated(count).map(streamed).next(length)

    assert await mixed.run(4) == [0, 1, 2, 3]


async def test_long_chain_with_two_maps():
    @step
    def incremented(number):
        return number + 1

    @step
    def spread(number):
        return range(number)

    @flow
    def long():
        first = numbers(3).map(doubled).next(incremented).agg(total)
        return first.next(spread).map(doubled).map(incremented).agg(total)

    assert await long.run() == sum(2 * n + 1 for n in range(9))


async def test_a_source_that_cannot_be_iterated_names_the_step():
    @step
    def single():
        return 5

    @flow
    def wrong():
        return single().map(doubled)

    with pytest.raises(RunFailed, match=r"step 'single'.* returned int, but \.map\(doubled\)"):
        await wrong.run()


async def test_large_results_go_to_the_payload_store(journal):
    @step
    def blob(number):
        return os.urandom(200_000)

    @step
    def lengths(blobs):
        return [len(blob) for blob in blobs]

    @flow
    def blobs():
        return numbers(3).map(blob).agg(lengths)

    assert await blobs.run() == [200_000] * 3
    stored = list((journal.parent / "payloads" / "blobs" / "runs").glob("*/blob/*/*.pkl.gz"))
    assert len(stored) == 3


# ---- arguments and context ---------------------------------------------------------------------


async def test_bound_constants_win_over_flow_parameters():
    @step
    def scaled(number, factor, **rest):
        return number * factor, rest

    @step
    def plain(pair):
        return pair

    @flow
    def scaling(factor: int, extra: str = "e"):
        return numbers(1).map(scaled, extra="bound").next(plain)

    assert await scaling.run(3) == [(0, {"extra": "bound"})]

    @flow
    def bound(factor: int):
        return numbers(2).map(scaled, factor=7)

    assert await bound.run(3) == [(0, {}), (7, {})]


async def test_a_flow_parameter_named_like_the_input_leaves_the_input_alone():
    @flow
    def shadowing(number: int = 99):
        return numbers(3).map(doubled)

    assert await shadowing.run() == [0, 2, 4]


async def test_current_tells_the_call():
    @step(retry={"retries": 1, "delay": 0})
    def asked(number, seen=None):
        context = lokki.current()
        if context.attempt == 1:
            raise ValueError("again")
        return (
            context.flow,
            context.step,
            context.index,
            context.attempt,
            context.idempotency_key,
            context.params,
            context.run_id,
        )

    @flow
    def asking(limit: int = 2):
        return numbers(limit).map(asked)

    async with Engine() as engine:
        handle = engine.submit(asking)
        results = await handle.result()
    run = handle.run_id
    assert results == [
        ("asking", "asked", n, 2, f"{run}/asked/{n}", {"limit": 2}, run) for n in range(2)
    ]


async def test_current_is_an_error_outside_a_step():
    with pytest.raises(lokki.LokkiError, match="inside a step"):
        lokki.current()


async def test_wrong_parameters_are_refused_before_anything_runs(journal):
    with pytest.raises(ParameterError, match="count"):
        await doubled_total.run(count="many")
    assert not journal.exists()


# ---- concurrency -------------------------------------------------------------------------------


async def test_items_run_at_the_same_time():
    barrier = threading.Barrier(4, timeout=10)

    @step
    def together(number):
        barrier.wait()
        return number

    @flow
    def gathering():
        return numbers(8).map(together)

    async with Engine(concurrency=4) as engine:
        assert await engine.run(gathering) == list(range(8))


async def test_async_items_run_at_the_same_time():
    waiting = 0
    all_here = anyio.Event()

    @step
    async def together(number):
        nonlocal waiting
        waiting += 1
        if waiting == 50:
            all_here.set()
        await all_here.wait()
        return number

    @flow
    def gathering():
        return numbers(50).map(together)

    assert await gathering.run() == list(range(50))


@pytest.mark.parametrize("kind", ["thread", "async", "mixed"])
@pytest.mark.parametrize("limited", ["map", "engine"])
async def test_limits_are_held_exactly(kind, limited):
    peak = Peak()

    @step
    def busy(number):
        with peak:
            time.sleep(0.002)
        return number

    @step
    async def abusy(number):
        with peak:
            await anyio.sleep(0.002)
        return number

    @flow
    def limiting():
        limit = 2 if limited == "map" else None
        first = numbers(60).map(abusy if kind == "async" else busy, concurrency_limit=limit)
        return first.next(abusy) if kind == "mixed" else first

    async with Engine(concurrency=2 if limited == "engine" else 16) as engine:
        assert await engine.run(limiting) == list(range(60))
    assert peak.most == 2


@pytest.mark.parametrize("limited", ["map", "engine"])
async def test_limits_are_held_by_processes(tmp_path, limited):
    """Every call but the last stays until the next one has entered, so two are always inside,
    and then for a while in which a third might enter.
    """
    inside, entered = str(tmp_path / "inside"), str(tmp_path / "entered")
    os.mkdir(inside)
    os.mkdir(entered)
    count = 20

    @step(executor="process")
    def busy(number):
        mark = os.path.join(inside, str(number))
        for each in (mark, os.path.join(entered, str(number))):
            with open(each, "w"):
                pass
        peak = len(os.listdir(inside))
        awaited = min(count, number + 2)
        deadline = time.monotonic() + 20
        while len(os.listdir(entered)) < awaited:
            assert time.monotonic() < deadline, "the other lane does not come"
            time.sleep(0.001)
        time.sleep(0.03)
        peak = max(peak, len(os.listdir(inside)))
        os.unlink(mark)
        return peak

    @flow
    def limiting():
        limit = 2 if limited == "map" else None
        return numbers(count).map(busy, concurrency_limit=limit, batch_size=1)

    async with Engine(processes=4 if limited == "map" else 2) as engine:
        peaks = await engine.run(limiting)
    assert max(peaks) == 2


async def test_threads_are_limited_by_default_in_plain_and_in_mixed_chains():
    """Calls stay inside until all that may be there are, and none enters for a while."""
    limit = 4 * (os.cpu_count() or 1)
    peak, leave = Peak(), threading.Event()

    @step
    def busy(number):
        with peak:
            assert leave.wait(30)
        return number

    @step
    async def passed(number):
        return number

    @flow
    def mixed():
        return numbers(3 * limit).map(passed).next(busy)

    @flow
    def plain():
        return numbers(3 * limit).map(busy)

    async with Engine() as engine:
        handles = [engine.submit(mixed), engine.submit(plain), engine.submit(mixed)]
        try:
            await until(lambda: peak.now >= limit, "as many calls as there may be")
            with anyio.move_on_after(0.3):
                while peak.most <= limit:
                    await anyio.sleep(0.001)
        finally:
            leave.set()
        for handle in handles:
            assert await handle.result() == list(range(3 * limit))
    assert peak.most == limit


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_small_run_finishes_while_a_large_one_is_under_way(concurrency):
    """The large run has trivial items, as long slices have, then some that take their time until
    the small run has ended: by itself it would go on for ten seconds at least.
    """
    small_ended, calls = threading.Event(), []
    count = 1000 + 10_000 * concurrency

    @step
    def unhurried(number):
        calls.append(number)
        if number >= 1000:
            small_ended.wait(0.001)
        return number * 2

    @flow
    def large():
        return numbers(count).map(unhurried).agg(total)

    async with Engine(concurrency=concurrency) as engine:
        big = engine.submit(large)
        await until(lambda: calls, "items of the large run")
        assert await engine.run(doubled_total, {"count": 10}) == 90
        assert len(calls) < count / 2
        small_ended.set()
        assert await big.result() == (count - 1) * count


async def test_a_long_item_does_not_hold_up_the_items_behind_it():
    release = threading.Event()
    done = []

    @step
    def varied(number):
        if number == 500:
            assert release.wait(30)
        else:
            done.append(number)
            if len(done) == 1999:
                release.set()
        return number

    @flow
    def uneven():
        return numbers(2000).map(varied)

    async with Engine(concurrency=4) as engine:
        assert await engine.run(uneven) == list(range(2000))


async def test_thread_and_async_runs_share_a_total_fairly():
    """As the test above: the run on the event loop and that in threads share a single turn."""
    small_ended, calls = anyio.Event(), []
    count = 11_000

    @step
    async def unhurried(number):
        calls.append(number)
        if number < 1000:
            await anyio.sleep(0)
        else:
            with anyio.move_on_after(0.001):
                await small_ended.wait()
        return number * 2

    @flow
    def asynchronous():
        return numbers(count).map(unhurried).agg(total)

    async with Engine(concurrency=1) as engine:
        big = engine.submit(asynchronous)
        await until(lambda: calls, "items of the large run")
        assert await engine.run(doubled_total, {"count": 10}) == 90
        assert len(calls) < count / 2
        small_ended.set()
        assert await big.result() == (count - 1) * count


# ---- retries and failures ----------------------------------------------------------------------


@step
def failing(number):
    if number == 3:
        raise KeyError("no three")
    return number


@flow
def failing_flow():
    return numbers(10).map(failing).agg(total)


async def test_a_failure_tells_step_item_attempt_and_the_users_traceback():
    with pytest.raises(RunFailed) as caught:
        await failing_flow.run()
    error = caught.value
    assert (error.step, error.index, error.attempt, error.type) == ("failing", 3, 1, "KeyError")
    assert 'raise KeyError("no three")' in error.traceback
    assert "lokki/engine" not in error.traceback
    assert str(error) == "step 'failing', item 3, attempt 1: KeyError: 'no three'"


async def test_retries_count_and_reach_success():
    attempts = []

    @step(retry={"retries": 3, "delay": 0})
    def flaky(number):
        attempts.append(number)
        if attempts.count(number) <= 2:
            raise OSError("busy")
        return number

    @flow
    def retrying():
        return numbers(5).map(flaky)

    assert await retrying.run() == list(range(5))
    assert all(attempts.count(n) == 3 for n in range(5))


async def test_retries_run_out():
    @step(retry={"retries": 2, "delay": 0})
    async def broken(number):
        raise OSError("always")

    @flow
    def retrying():
        return numbers(1).map(broken)

    with pytest.raises(RunFailed, match="attempt 3: OSError: always"):
        await retrying.run()


async def test_an_exception_outside_exceptions_fails_at_once():
    @step(retry={"retries": 5, "delay": 0, "exceptions": (LookupError,)})
    def choosy(number):
        raise (KeyError("retried") if lokki.current().attempt == 1 else ValueError("not"))

    @flow
    def retrying():
        return numbers(1).map(choosy)

    with pytest.raises(RunFailed, match="attempt 2: ValueError: not"):
        await retrying.run()


async def test_backoff_waits_and_max_delay_caps_it():
    times = []

    @step(retry={"retries": 3, "delay": 0.05, "backoff": 1e6, "max_delay": 0.1})
    def timed():
        times.append(time.monotonic())
        if len(times) < 4:
            raise OSError

    @flow
    def waiting():
        return timed()

    with anyio.fail_after(30):  # the second wait would last 14 hours
        await waiting.run()
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[0] >= 0.05
    assert gaps[1] >= 0.1
    assert gaps[2] >= 0.1


async def test_a_waiting_retry_holds_no_lane():
    order = []

    @step(retry={"retries": 1, "delay": 3600, "max_delay": 3600})
    def once(number):
        order.append(number)
        if number == 0:
            raise OSError

    @flow
    def waiting():
        return numbers(4).map(once)

    async with Engine(concurrency=1) as engine:
        handle = engine.submit(waiting)
        await until(lambda: len(order) == 4, "the items behind the one that waits")
        handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        stage = engine.journal.history.stages(handle.run_id)[1]
        assert (stage.succeeded, stage.retrying) == (3, 1)
    assert order == [0, 1, 2, 3]


async def test_only_the_failed_inner_step_is_tried_again():
    calls = []

    @step
    def first(number):
        calls.append("first")
        return number + 1

    @step(retry={"retries": 1, "delay": 0})
    def second(number):
        calls.append("second")
        if lokki.current().attempt == 1:
            raise OSError
        return number * 10

    @flow
    def chained():
        return numbers(1).map(first).next(second)

    assert await chained.run() == [10]
    assert calls == ["first", "second", "second"]


async def test_a_failure_lets_what_is_in_flight_finish_and_be_recorded(journal):
    began, go = threading.Event(), threading.Event()

    @step
    def held(number):
        if number == 0:
            began.set()
            assert go.wait(20)
            return number
        assert began.wait(20)
        raise ValueError(f"item {number}")

    @flow
    def failing_beside():
        return numbers(200).map(held, batch_size=1, concurrency_limit=2)

    async with Engine() as engine:
        handle = engine.submit(failing_beside)
        await until(lambda: handle._run.state.counts.failed, "the failure")
        assert not handle._run.done.is_set()
        go.set()
        with pytest.raises(RunFailed, match="item 1"):
            await handle.result()
        counts = engine.journal.history.stages(handle.run_id)[1]
        assert (counts.succeeded, counts.failed) == (1, 1)
        row = engine.journal.run(handle.run_id)
        assert row.status == "failed"
        assert '"type": "ValueError"' in row.error


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize("kind", ["thread", "async", "process"])
async def test_an_error_whose_text_cannot_be_had_fails_its_item(kind):
    def fail(number):
        if number == 1:
            raise Unspeakable
        return number

    async def afail(number):
        return fail(number)

    work = step(afail) if kind == "async" else step(executor=kind)(fail)

    @step
    def gathered(values):
        return values, lokki.current().failures

    @flow
    def speechless():
        return numbers(3).map(work, tolerated_failures=1).agg(gathered)

    values, (failure,) = await bounded(speechless)
    assert values == [0, 2]
    assert (failure.index, failure.type) == (1, "Unspeakable")


@pytest.mark.parametrize(
    ("tolerated", "passes"), [(2, True), (0.2, True), (1, False), (0.1, False)]
)
async def test_tolerated_failures(tolerated, passes):
    @step
    def picky(number):
        if number in (3, 7):
            raise ValueError(number)
        return number

    @step
    def gathered(values):
        return values, lokki.current().failures

    @flow
    def tolerant():
        return numbers(10).map(picky, tolerated_failures=tolerated).agg(gathered)

    if not passes:
        with pytest.raises(RunFailed):
            await tolerant.run()
        return
    values, failures = await tolerant.run()
    assert values == [0, 1, 2, 4, 5, 6, 8, 9]
    assert [(f.index, f.type, f.reason) for f in failures] == [
        (3, "ValueError", "3"),
        (7, "ValueError", "7"),
    ]


async def test_a_map_that_ends_the_flow_gives_the_tolerated_rest():
    @flow
    def tolerant():
        return numbers(5).map(failing, tolerated_failures=1)

    assert await tolerant.run() == [0, 1, 2, 4]


async def test_an_unpicklable_result_names_step_and_type():
    @step(retry={"retries": 3, "delay": 0})
    def locked(number):
        return threading.Lock()

    @flow
    def unpicklable():
        return numbers(2).map(locked)

    with pytest.raises(RunFailed, match=r"step 'locked'.*attempt 1.*'_thread.lock'"):
        await unpicklable.run()


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), StopIteration(), KeyboardInterrupt()]
)
async def test_whatever_a_sync_step_raises_fails_the_item_alone(error):
    @step
    def raising(number):
        raise error

    @flow
    def odd():
        return numbers(1).map(raising)

    with pytest.raises(RunFailed, match=type(error).__name__):
        await odd.run()


async def test_a_cancelled_error_of_the_users_own_is_a_failure():
    @step
    async def cancelling(number):
        raise asyncio.CancelledError("mine")

    @flow
    def odd():
        return numbers(3).map(cancelling)

    with pytest.raises(RunFailed, match="CancelledError: mine"):
        await odd.run()


async def test_an_async_step_over_its_timeout_is_cancelled_and_retried():
    @step(timeout_seconds=0.05, retry={"retries": 1, "delay": 0})
    async def slow(number):
        if lokki.current().attempt == 1:
            await anyio.sleep(60)
        return number

    @flow
    def timing():
        return numbers(2).map(slow)

    assert await timing.run() == [0, 1]


async def test_batch_steps_run_here_too():
    @step(job_type="batch", vcpu=2, memory_mb=2048)
    def heavy(number):
        return number + 1

    @flow
    def batched():
        return numbers(3).map(heavy, batch_size=2)

    assert await batched.run() == [1, 2, 3]


# ---- cancellation ------------------------------------------------------------------------------


async def test_cancel_stops_async_calls_and_claims_nothing_more(journal):
    started = []

    @step
    async def endless(number):
        started.append(number)
        await anyio.sleep(3600)

    @flow
    def long():
        return numbers(1000).map(endless, concurrency_limit=5)

    async with Engine() as engine:
        handle = engine.submit(long)
        while len(started) < 5:
            await anyio.sleep(0.001)
        handle.cancel()
        with pytest.raises(RunCancelled, match="was cancelled"):
            await handle.result()
        row = engine.journal.run(handle.run_id)
        stage = engine.journal.history.stages(handle.run_id)[1]
        recorded = list(engine.journal.recorded(stage.id))
    assert sorted(started) == [0, 1, 2, 3, 4]
    assert row.status == "cancelled"
    assert [status for _, status, _, _ in recorded] == ["cancelled"] * 5


async def test_cancel_waits_for_threads_and_records_what_they_finish():
    began, go = threading.Event(), threading.Event()

    @step
    def held(number):
        began.set()
        assert go.wait(10)
        return number

    @flow
    def long():
        return numbers(100).map(held, concurrency_limit=1)

    async with Engine() as engine:
        handle = engine.submit(long)
        await asyncio.to_thread(began.wait)
        handle.cancel()
        handle.cancel()
        asked = lambda: engine.journal.run(handle.run_id).cancel_requested  # noqa: E731
        await until(lambda: asked() is not None, "others see that it is cancelled")
        first = asked()
        assert engine.journal.run(handle.run_id).status == "running"
        assert not handle._run.done.is_set()
        go.set()
        with pytest.raises(RunCancelled):
            await handle.result()
        assert (engine.journal.run(handle.run_id).status, asked()) == ("cancelled", first)
        assert engine.journal.history.stages(handle.run_id)[1].succeeded == 1
        *_, progressed, finished = [event async for event in handle.events()]
    assert progressed == StageProgressed(1, Counts(100, succeeded=1)), "what ended after the cancel"
    assert isinstance(finished, RunFinished)


@pytest.mark.parametrize("moment", ["first stage", "map", "aggregation"])
async def test_cancel_in_any_stage_is_resumed_where_it_was(moment, journal):
    began, go, calls = threading.Event(), threading.Event(), []

    def held_in(stage):
        calls.append(stage)
        if stage == moment and calls.count(stage) == 5 - 4 * (moment != "map"):
            began.set()
            assert go.wait(20)

    @step
    def source():
        held_in("first stage")
        return list(range(10))

    @step
    def item(number):
        held_in("map")
        return number * 2

    @step
    def aggregated(values):
        held_in("aggregation")
        return sum(values)

    @flow
    def held():
        return source().map(item, concurrency_limit=1, batch_size=1).agg(aggregated)

    async with Engine() as engine:
        handle = engine.submit(held)
        await until(began.is_set, f"a call of the {moment}")
        handle.cancel()
        go.set()
        with pytest.raises(RunCancelled):
            await handle.result()
        assert engine.journal.run(handle.run_id).status == "cancelled"
        assert calls.count("map") == {"first stage": 0, "map": 5, "aggregation": 10}[moment]
        assert await (await engine.resume(handle.run_id, held)).result() == 90
        assert engine.journal.run(handle.run_id).status == "succeeded"
    assert [calls.count(stage) for stage in ("first stage", "map", "aggregation")] == [1, 10, 1]


async def test_cancel_at_any_moment_ends_the_run_as_cancelled_or_done(journal):
    """Later and later, from before the run has begun until it is too late."""
    ends, ticks = [], 0
    async with Engine() as engine:
        while ends[-1:] != ["succeeded"]:
            assert ticks < 10_000_000, "the run does not end"
            handle = engine.submit(doubled_total)
            for _ in range(ticks):
                await anyio.sleep(0)
                if handle._run.done.is_set():
                    break
            handle.cancel()
            try:
                assert await handle.result() == 90
                ends.append("succeeded")
            except RunCancelled:
                ends.append("cancelled")
            assert engine.journal.run(handle.run_id).status == ends[-1]
            if ends[-1] == "cancelled":
                assert await (await engine.resume(handle.run_id, doubled_total)).result() == 90
            ticks = ticks * 5 // 4 + 1
    assert ends[0] == "cancelled"


async def test_cancel_after_the_end_changes_nothing(journal):
    async with Engine() as engine:
        handle = engine.submit(doubled_total)
        assert await handle.result() == 90
        handle.cancel()
        assert await handle.result() == 90
        assert engine.journal.run(handle.run_id).status == "succeeded"


async def test_a_run_after_a_cancelled_one_has_worker_processes(tmp_path):
    began = str(tmp_path / "began")
    os.mkdir(began)

    @step(executor="process")
    def endless(number):
        with open(os.path.join(began, str(number)), "w"):
            pass
        time.sleep(3600)

    @step(executor="process")
    def worker(number):
        return number, os.getpid()

    @flow
    def long():
        return numbers(10).map(endless)

    @flow
    def after():
        return numbers(10).map(worker)

    async with Engine(processes=2) as engine:
        for _ in range(2):
            handle = engine.submit(long)
            await until(lambda: len(os.listdir(began)) == 2, "a call in both workers")
            handle.cancel()
            with pytest.raises(RunCancelled):
                await handle.result()
            for name in os.listdir(began):
                os.unlink(os.path.join(began, name))
            results = await engine.run(after)
            assert [number for number, _ in results] == list(range(10))
            assert len({pid for _, pid in results}) <= 2


async def test_cancelling_the_caller_cancels_the_run():
    started = anyio.Event()

    @step
    async def endless():
        started.set()
        await anyio.sleep(3600)

    @flow
    def long():
        return endless()

    async with Engine() as engine:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(engine.run, long)
                await started.wait()
                scope.cancel()
        assert engine.journal.history.find("last").status == "cancelled"


async def test_leaving_the_engine_by_an_error_cancels_its_runs(journal):
    started = anyio.Event()

    @step
    async def endless():
        started.set()
        await anyio.sleep(3600)

    @flow
    def long():
        return endless()

    async def fail() -> None:
        async with Engine() as engine:
            engine.submit(long)
            with anyio.fail_after(20):
                await started.wait()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with closing(Journal(journal)) as reader:
        assert reader.history.find("last").status == "cancelled"


async def test_leaving_the_engine_waits_for_its_runs(journal):
    async with Engine() as engine:
        handle = engine.submit(doubled_total)
    assert await handle.result() == 90


# ---- events ------------------------------------------------------------------------------------


async def test_events_tell_the_run_from_start_to_end():
    async with Engine() as engine:
        handle = engine.submit(doubled_total, {"count": 3})
        events = [event async for event in handle.events()]
        again = [event async for event in handle.events()]
    kinds = [type(e) for e in events if type(e).__name__ != "StageProgressed"]
    assert kinds == [RunStarted, *[StageStarted, StageFinished] * 3, RunFinished]
    assert events[-1] == RunFinished("succeeded", None)
    assert [e.counts.total for e in events if isinstance(e, StageFinished)] == [1, 3, 1]
    assert [type(e) for e in again] == kinds


async def test_a_reader_has_the_start_of_a_run_before_a_step_is_called():
    order = []

    @step
    def called():
        order.append("called")

    @flow
    def calling():
        return called()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # a thread that starts is at once ahead of this one
    try:
        async with Engine() as engine:
            for _ in range(50):
                async for event in engine.submit(calling).events():
                    order += ["started"] * isinstance(event, RunStarted)
    finally:
        sys.setswitchinterval(before)
    assert order == ["started", "called"] * 50


async def test_events_of_a_long_stage_show_progress():
    gate = threading.Semaphore(0)

    @step
    def gated(number):
        assert gate.acquire(timeout=30)
        return number

    @flow
    def gating():
        return numbers(3).map(gated)

    seen = []
    async with Engine() as engine:
        async for event in engine.submit(gating).events():
            if type(event).__name__ == "StageProgressed" and event.position == 1:
                seen.append(event.counts.succeeded)
            if isinstance(event, StageStarted) and event.is_map:
                gate.release()
            if seen and seen[-1] == 1:
                gate.release(2)
    assert seen[0] <= 1
    assert 1 in seen


@pytest.mark.parametrize(
    ("tolerated", "order", "index"),
    [
        pytest.param(0, [2, 0, 1], 0, id="neither the first that failed nor the last"),
        pytest.param(1, [0, 2, 1], 1, id="not the one that was tolerated"),
    ],
)
async def test_of_several_failures_that_of_the_first_item_ends_the_run(tolerated, order, index):
    gates = [threading.Event() for _ in order]

    @step
    def gated(number):
        assert gates[number].wait(30)
        raise ValueError(f"no {number}")

    @flow
    def failing():
        return numbers(3).map(gated, batch_size=1, tolerated_failures=tolerated)

    async with Engine(concurrency=3) as engine:
        handle = engine.submit(failing)
        async for event in handle.events():
            if isinstance(event, StageStarted) and event.is_map:
                gates[order[0]].set()
            elif isinstance(event, StageProgressed) and event.position == 1:
                failures = event.counts.failed + event.counts.tolerated
                gates[order[min(failures, 2)]].set()
        with pytest.raises(RunFailed) as caught:
            await handle.result()
    assert (caught.value.index, caught.value.reason) == (index, f"no {index}")


# ---- resume ------------------------------------------------------------------------------------


async def test_resume_runs_only_what_is_not_done():
    calls = []
    broken = True

    @step
    def sometimes(number):
        calls.append(number)
        if number == 5 and broken:
            raise ValueError("not yet")
        return number

    @flow
    def resumable(count: int = 8):
        return numbers(count).map(sometimes, concurrency_limit=1).agg(total)

    async with Engine() as engine:
        handle = engine.submit(resumable)
        with pytest.raises(RunFailed):
            await handle.result()
        assert calls == [0, 1, 2, 3, 4, 5]
        broken = False
        calls.clear()
        resumed = await engine.resume(handle.run_id, resumable)
        assert await resumed.result() == 28
        assert calls == [5, 6, 7]
        calls.clear()
        assert await (await engine.resume(handle.run_id, resumable)).result() == 28
        assert calls == []


async def test_resume_refuses_a_changed_structure_and_another_flow():
    @flow
    def changing():
        return numbers(10).map(failing)

    async with Engine() as engine:
        handle = engine.submit(changing)
        with pytest.raises(RunFailed):
            await handle.result()

        @flow
        def changing():
            return numbers(10).map(failing).map(doubled)

        with pytest.raises(lokki.FingerprintError, match="structure has changed"):
            await engine.resume(handle.run_id, changing)
        with pytest.raises(DefinitionError, match="belongs to flow 'changing'"):
            await engine.resume(handle.run_id, doubled_total)
        with pytest.raises(lokki.RunNotFound):
            await engine.resume("nothing", doubled_total)


async def test_a_second_owner_is_shown_who_has_the_run():
    began, release = anyio.Event(), anyio.Event()

    @step
    async def waiting():
        began.set()
        await release.wait()
        return 1

    @flow
    def owned():
        return waiting()

    async with Engine() as first, Engine() as second:
        handle = first.submit(owned)
        with anyio.fail_after(20):
            await began.wait()
        other = await second.resume(handle.run_id, owned)
        with pytest.raises(RunOwned, match=f"process {os.getpid()}"):
            await other.result()
        release.set()
        assert await handle.result() == 1


async def test_two_engines_share_a_journal():
    async with Engine() as first, Engine() as second:
        results = [None, None]

        async def run(place, engine):
            results[place] = await engine.run(doubled_total, {"count": 2000})

        async with anyio.create_task_group() as group:
            group.start_soon(run, 0, first)
            group.start_soon(run, 1, second)
    assert results == [3_998_000, 3_998_000]


async def test_a_run_id_can_be_chosen_once():
    async with Engine() as engine:
        assert await engine.run(doubled_total, run_id="mine") == 90
        with pytest.raises(JournalError, match="there is already a run mine"):
            await engine.run(doubled_total, run_id="mine")
        with pytest.raises(lokki.PayloadError, match="run id"):
            await engine.run(doubled_total, run_id="a/b")


# ---- output ------------------------------------------------------------------------------------


async def test_prints_and_logs_are_captured_with_their_call(capsys):
    import logging
    import sys

    @step
    def talking(number):
        print("hello", number)
        print("partial", end="")
        print("to stderr", file=sys.stderr)
        logging.getLogger("mine").warning("careful %d", number)
        return number

    @step
    async def atalking(number):
        print("async", number)
        return number

    @flow
    def chatty():
        return numbers(2).map(talking).next(atalking)

    async with Engine() as engine:
        handle = engine.submit(chatty)
        await handle.result()
        lines = [line[2:] for line in engine.journal.history.lines(handle.run_id)]
    assert sorted(line for line in lines if line[1] == 1) == sorted(
        [
            ("talking", 1, 1, "INFO", "stdout", "hello 1"),
            ("talking", 1, 1, "WARNING", "stderr", "to stderr"),
            ("talking", 1, 1, "WARNING", "mine", "careful 1"),
            ("talking", 1, 1, "INFO", "stdout", "partial"),
            ("atalking", 1, 1, "INFO", "stdout", "async 1"),
        ]
    )
    out = capsys.readouterr()
    assert "hello 0" in out.out
    assert "to stderr" in out.err


@pytest.mark.parametrize("kind", ["thread", "async"])
async def test_two_runs_that_print_at_once_keep_their_lines_apart(kind):
    """Both runs are in the middle of a line, line after line."""
    barrier, here = threading.Barrier(2, timeout=20), [0] * 10
    both = [anyio.Event() for _ in here]

    @step
    def talking(number, name):
        print(name, end=" ")
        barrier.wait()
        print(number)

    @step
    async def atalking(number, name):
        print(name, end=" ")
        here[number] += 1
        if here[number] == 2:
            both[number].set()
        with anyio.fail_after(20):
            await both[number].wait()
        print(number)

    @flow
    def chatty(name: str):
        work = talking if kind == "thread" else atalking
        return numbers(len(here)).map(work, concurrency_limit=1)

    async with Engine() as engine:
        handles = {name: engine.submit(chatty, {"name": name}) for name in ("one", "two")}
        for name, handle in handles.items():
            await handle.result()
            lines = [line.message for line in engine.journal.history.lines(handle.run_id)]
            assert lines == [f"{name} {n}" for n in range(len(here))]


# ---- definition of an engine -------------------------------------------------------------------


@pytest.mark.parametrize("option", ["concurrency", "processes"])
async def test_limits_below_one_are_refused(option):
    with pytest.raises(DefinitionError, match=option):
        Engine(**{option: 0})
    with pytest.raises(DefinitionError, match=option):
        Engine(**{option: "4"})


CONFIG = Config(local=Local(journal="configured.db", concurrency=3, processes=2))


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A working directory with a configuration."""
    (tmp_path / "lokki.toml").write_text("[local]\nconcurrency = 2\nprocesses = 1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("given", "most"),
    [({}, 2), ({"config": CONFIG}, 3), ({"concurrency": 4}, 4)]
    + [({"config": CONFIG, "concurrency": 4}, 4)],
)
async def test_as_many_calls_at_a_time_as_configured_unless_the_engine_is_told(given, most):
    peak, full = Peak(), threading.Barrier(most, timeout=20)

    @step
    def busy(number):
        with peak:
            full.wait()
            time.sleep(0.002)

    @flow
    def limited():
        return numbers(5 * most).map(busy)

    async with Engine(**given) as engine:
        await engine.run(limited)
    assert peak.most == most


@pytest.mark.parametrize(
    ("given", "most"), [({}, 1), ({"config": CONFIG}, 2), ({"config": CONFIG, "processes": 1}, 1)]
)
async def test_as_many_processes_as_configured_unless_the_engine_is_told(configured, given, most):
    @step(executor="process")
    def process(number):
        (configured / f"{number}.entered").touch()
        deadline = time.monotonic() + 20
        while len(list(configured.glob("*.entered"))) < most:
            assert time.monotonic() < deadline, "the other process does not come"
            time.sleep(0.001)
        return os.getpid()

    @flow
    def limited():
        return numbers(8).map(process, batch_size=1)

    async with Engine(**given) as engine:
        assert len(set(await engine.run(limited))) == most


async def test_the_journal_is_where_the_configuration_has_it_unless_the_engine_is_told(configured):
    async with Engine(config=CONFIG) as engine:
        await engine.run(doubled_total)
    assert (configured / "configured.db").exists()
    async with Engine(config=CONFIG, journal="told.db") as engine:
        assert engine.journal.path == Path("told.db")


async def test_a_wrong_configuration_is_reported_before_anything_runs(configured, journal):
    (configured / "lokki.toml").write_text("[local]\nconcurrency = 0")
    with pytest.raises(ConfigError, match=r"lokki.toml: key 'local.concurrency' must be .* not 0"):
        doubled_total.run_sync()
    assert not journal.exists()


async def test_an_engine_runs_flows_alone():
    async with Engine() as engine:
        with pytest.raises(DefinitionError, match="see @flow"):
            engine.submit(print)


async def test_the_journal_is_sqlite_with_every_item(journal):
    await doubled_total.run(10)
    with closing(sqlite3.connect(journal)) as connection:
        statuses = connection.execute(
            f"SELECT status, count(*) FROM {EVERY_ITEM} GROUP BY status"
        ).fetchall()
    assert statuses == [("succeeded", 12)]


@pytest.mark.parametrize("given", [":memory:", Path(":memory:")])
async def test_a_journal_is_a_file(given):
    with pytest.raises(DefinitionError, match=r"the journal must be a file.*journal='lokki.db'"):
        Engine(journal=given)


@pytest.mark.parametrize("given", ["kept", Path("kept")])
async def test_a_path_is_no_store_of_payloads(given):
    with pytest.raises(DefinitionError, match=r"payloads=LocalStore\('kept'\).*import LocalStore"):
        Engine(payloads=given)


async def test_a_home_directory_that_nobody_knows():
    with pytest.raises(JournalError, match=r"Engine: journal: .*'~no-such-user/x.db'.*without '~'"):
        Engine(journal="~no-such-user/x.db")


@pytest.mark.parametrize("name", ["LOKKI_LOCAL_JOURNAL", "LOKKI_LOCAL_PAYLOADS"])
async def test_a_home_directory_that_nobody_knows_in_the_environment(monkeypatch, name):
    monkeypatch.setenv(name, "~no-such-user/x")
    with pytest.raises(JournalError, match=rf"{name}: .*'~no-such-user/x' is unknown"):
        Engine()


# ---- mistakes in a step's body -----------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"executor": "process"}])
async def test_a_step_called_inside_a_step(options):
    @step(retry={"retries": 3, "delay": 0}, **options)
    def twice(number):
        return doubled(number)

    @flow
    def nested():
        return numbers(1).map(twice)

    told = r"attempt 1: DefinitionError: step 'doubled' .* inside step 'twice'.*doubled\.fn\("
    with pytest.raises(RunFailed, match=told):
        await nested.run()


async def test_a_step_called_inside_an_async_step():
    @step
    async def twice(number):
        await anyio.sleep(0)
        return await doubled(number)

    @flow
    def nested():
        return numbers(1).map(twice)

    with pytest.raises(RunFailed, match=r"write doubled\.fn\("):
        await nested.run()


async def test_a_step_may_run_another_flow():
    @step
    def inner(number):
        return doubled_total.run_sync(number)

    @flow
    def outer():
        return numbers(3).map(inner)

    assert await outer.run() == [0, 0, 2]


async def test_objects_with_an_async_call_and_builtins_are_called():
    class Words:
        __name__ = "words"

        async def __call__(self, number):
            await anyio.sleep(0)
            for each in range(number):
                yield f"w{each}"

    @flow
    def shouted():
        return numbers(3).map(step(Words())).next(step(" ".join)).next(step(str.upper))

    assert await shouted.run() == ["", "W0", "W0 W1"]


async def _double(number):
    return 2 * number


async def _few(number):
    yield number


@pytest.mark.parametrize(
    ("function", "told"),
    [(_double, "a coroutine.*return await …"), (_few, "an async generator.*async for")],
)
@pytest.mark.parametrize("executor", [None, "process"])
@pytest.mark.parametrize("inner", [False, True])
async def test_a_result_that_nothing_awaits_is_refused(function, told, executor, inner):
    @step
    def numbers():
        return [1]

    @step(executor=executor, retry={"retries": 3, "delay": 0})
    def unawaited(number):
        return function(number)

    @step
    def after(value):
        return value

    @flow
    def careless():
        return numbers().map([unawaited, after] if inner else unawaited)

    with pytest.raises(RunFailed, match=f"attempt 1: DefinitionError: step 'unawaited' .*{told}"):
        await careless.run()


async def test_an_inner_result_that_cannot_be_pickled_is_given_to_every_attempt():
    @step
    def numbers():
        return [1, 2]

    @step
    def locked(number):
        return threading.Lock(), number

    @step(retry={"retries": 1, "delay": 0})
    def opened(pair):
        if current().attempt == 1:
            raise OSError("once more")
        return pair[1]

    @flow
    def unpicklable_between():
        return numbers().map([locked, opened])

    assert await unpicklable_between.run() == [1, 2]
