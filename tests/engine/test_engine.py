"""Running flows: results, lanes, limits, retries, failures, cancellation, context."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise

import anyio
import numpy as np
import pytest

import lokki
from lokki import (
    DefinitionError,
    Engine,
    JournalError,
    ParameterError,
    RunCancelled,
    RunFailed,
    RunOwned,
    flow,
    step,
)
from lokki.engine.events import RunFinished, RunStarted, StageFinished, StageStarted
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

    with pytest.raises(RunFailed, match=r"step 'single'.* returned int, and \.map\(doubled\)"):
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
    stored = list((journal.parent / "payloads" / "blobs" / "runs").glob("*/blob/*/output.pkl.gz"))
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


async def test_limits_are_held_by_processes(tmp_path):
    inside = str(tmp_path / "inside")
    os.mkdir(inside)

    @step(executor="process")
    def busy(number):
        mark = os.path.join(inside, str(number))
        with open(mark, "w"):
            peak = len(os.listdir(inside))
            time.sleep(0.01)
        os.unlink(mark)
        return peak

    @flow
    def limiting():
        return numbers(30).map(busy, concurrency_limit=2)

    async with Engine(processes=4) as engine:
        peaks = await engine.run(limiting)
    assert max(peaks) == 2


async def test_a_small_run_finishes_while_a_large_one_is_under_way():
    @flow
    def large():
        return numbers(100_000).map(doubled).agg(total)

    async with Engine(concurrency=4) as engine:
        big = engine.submit(large)
        async for event in big.events():
            if isinstance(event, StageStarted) and event.is_map:
                break
        assert await engine.run(doubled_total, {"count": 10}) == 90
        assert big._run.state.counts.succeeded < 100_000
        assert await big.result() == 99_999 * 100_000


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
    @step
    async def adoubled(number):
        await anyio.sleep(0)
        return number * 2

    @flow
    def asynchronous():
        return numbers(100_000).map(adoubled).agg(total)

    async with Engine(concurrency=1) as engine:
        big = engine.submit(asynchronous)
        async for event in big.events():
            if isinstance(event, StageStarted) and event.is_map:
                break
        assert await engine.run(doubled_total, {"count": 10}) == 90
        assert not big._run.done.is_set()
        assert await big.result() == 99_999 * 100_000


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

    @step(retry={"retries": 3, "delay": 0.05, "backoff": 4, "max_delay": 0.1})
    def timed():
        times.append(time.monotonic())
        if len(times) < 4:
            raise OSError

    @flow
    def waiting():
        return timed()

    await waiting.run()
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[0] >= 0.05
    assert gaps[1] >= 0.1
    assert gaps[2] >= 0.1
    assert sum(gaps) < 1


async def test_a_waiting_retry_holds_no_lane():
    order = []

    @step(retry={"retries": 1, "delay": 0.2})
    def once(number):
        if number == 0 and lokki.current().attempt == 1:
            raise OSError
        order.append(number)

    @flow
    def waiting():
        return numbers(4).map(once)

    async with Engine(concurrency=1) as engine:
        await engine.run(waiting)
    assert order == [1, 2, 3, 0]


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
    started = threading.Event()

    @step
    def slow(number):
        if number == 1:
            assert started.wait(10)
            raise ValueError("one")
        started.set()
        time.sleep(0.05)
        return number

    @flow
    def failing_beside():
        return numbers(200).map(slow, batch_size=1, concurrency_limit=2)

    async with Engine() as engine:
        handle = engine.submit(failing_beside)
        with pytest.raises(RunFailed, match="item 1"):
            await handle.result()
        counts = engine.journal.stages(handle.run_id)[1]
        assert (counts.succeeded, counts.failed) == (1, 1)
        row = engine.journal.run(handle.run_id)
        assert row.status == "failed"
        assert '"type": "ValueError"' in row.error


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
        stage = engine.journal.stages(handle.run_id)[1]
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
        assert not handle._run.done.is_set()
        go.set()
        with pytest.raises(RunCancelled):
            await handle.result()
        assert engine.journal.stages(handle.run_id)[1].succeeded == 1


@pytest.mark.parametrize("ticks", range(0, 60, 3))
async def test_cancel_at_any_moment_ends_the_run_as_cancelled_or_done(ticks, journal):
    async with Engine() as engine:
        handle = engine.submit(doubled_total)
        for _ in range(ticks):
            await anyio.sleep(0)
        handle.cancel()
        try:
            assert await handle.result() == 90
            expected = "succeeded"
        except RunCancelled:
            expected = "cancelled"
        assert engine.journal.run(handle.run_id).status == expected
        if expected == "cancelled":
            assert await (await engine.resume(handle.run_id, doubled_total)).result() == 90


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
        assert engine.journal.find("last").status == "cancelled"


async def test_leaving_the_engine_by_an_error_cancels_its_runs(journal):
    @step
    async def endless():
        await anyio.sleep(3600)

    @flow
    def long():
        return endless()

    async def fail() -> None:
        async with Engine() as engine:
            engine.submit(long)
            await anyio.sleep(0.01)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with closing(Journal(journal)) as reader:
        assert reader.find("last").status == "cancelled"


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
        with pytest.raises(DefinitionError, match="is of the flow 'changing'"):
            await engine.resume(handle.run_id, doubled_total)
        with pytest.raises(lokki.RunNotFound):
            await engine.resume("nothing", doubled_total)


async def test_a_second_owner_is_told_who_has_the_run():
    release = anyio.Event()

    @step
    async def waiting():
        await release.wait()
        return 1

    @flow
    def owned():
        return waiting()

    async with Engine() as first, Engine() as second:
        handle = first.submit(owned)
        while not first.journal.stages(handle.run_id) if handle._run.work else True:
            await anyio.sleep(0.001)
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
        with pytest.raises(JournalError, match="there is a run mine already"):
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
        lines = [row[1:] for row in engine.journal.logs(handle.run_id)]
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


# ---- definition of an engine -------------------------------------------------------------------


@pytest.mark.parametrize("option", ["concurrency", "processes"])
async def test_limits_below_one_are_refused(option):
    with pytest.raises(DefinitionError, match=option):
        Engine(**{option: 0})


async def test_an_engine_runs_flows_alone():
    async with Engine() as engine:
        with pytest.raises(DefinitionError, match="see @flow"):
            engine.submit(print)


async def test_the_journal_is_sqlite_with_every_item(journal):
    await doubled_total.run(10)
    with closing(sqlite3.connect(journal)) as connection:
        statuses = connection.execute(
            "SELECT status, count(*) FROM items GROUP BY status"
        ).fetchall()
    assert statuses == [("succeeded", 12)]
