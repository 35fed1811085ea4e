"""Lanes at their limits: errors of stores, cancellation at awkward moments, many at a time."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing

import anyio
import pytest

import lokki
from lokki import Engine, LokkiError, PayloadError, RunCancelled, RunFailed, flow, step
from lokki.engine.events import StageStarted
from lokki.store.journal import Journal
from lokki.store.keys import run_prefix
from lokki.store.memory import MemoryStore

pytestmark = pytest.mark.asyncio


@step
def numbers(count: int = 4):
    return list(range(count))


class BrokenStore(MemoryStore):
    """A store that counts what is put, and fails where it is told to."""

    def __init__(self, fails: str = "") -> None:
        super().__init__()
        self.fails = fails
        self.puts: list[str] = []

    def write(self, key: str, data) -> None:
        self.puts.append(key)
        if self.fails and self.fails in key:
            raise OSError("the network is down")
        super().write(key, data)


async def test_a_store_that_fails_fails_the_item_with_its_reason():
    @step(retry={"retries": 3, "delay": 0})
    def large(number):
        return b"x" * 100_000

    @flow
    def storing():
        return numbers(2).map(large)

    async with Engine(payloads=BrokenStore(fails="large")) as engine:
        with pytest.raises(RunFailed, match=r"attempt 1: .*cannot be stored: the network is down"):
            await engine.run(storing)


@pytest.mark.parametrize("fails", ["", "grown"])
async def test_a_later_step_is_retried_with_its_input_which_is_stored_once(fails):
    @step
    def grown(number):
        return b"ab" * 50_000

    @step(retry={"retries": 4, "delay": 0})
    def flaky(data):
        if lokki.current().attempt < 4:
            raise OSError("again")
        return data[:2]

    @flow
    def chained():
        return numbers(1).map(grown).next(flaky)

    store = BrokenStore(fails)
    async with Engine(payloads=store) as engine:
        assert await engine.run(chained) == [b"ab"]
    assert len(store.puts) == 1


@pytest.mark.parametrize("executor", [None, "process"])
@pytest.mark.parametrize("inner", [False, True], ids=["first step", "later step"])
async def test_every_attempt_is_given_the_input_as_it_was(executor, inner, journal):
    @step
    def records():
        return [{"raw": number} for number in range(3)]

    @step
    def same(record):
        return record

    @step(retry={"retries": 2, "delay": 0}, executor=executor)
    def consuming(record):
        raw = record.pop("raw")
        if lokki.current().attempt < 3:
            raise OSError("again")
        return raw

    @flow
    def changing():
        mapped = records().map(same) if inner else records().map(consuming)
        return mapped.next(consuming) if inner else mapped

    assert await changing.run() == [0, 1, 2]


async def test_an_attempt_after_a_resume_is_given_the_input_as_it_was(tmp_path):
    first_time = True

    @step
    def record(number):
        return {"raw": number}

    @step(retry={"retries": 5, "delay": 3600})
    def consuming(record):
        raw = record.pop("raw")
        if first_time:
            raise OSError("again")
        return raw

    @flow
    def changing():
        return numbers(2).map(record).next(consuming)

    async with Engine() as engine:
        handle = engine.submit(changing)
        with anyio.fail_after(20):
            while handle._run.state.counts.retrying < 2:
                await anyio.sleep(0.001)
        handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        first_time = False
        assert await (await engine.resume(handle.run_id, changing)).result() == [0, 1]


async def test_a_payload_error_of_a_step_is_the_steps_own():
    for executor in (None, "process"):

        @step(executor=executor)
        def raising(number):
            raise lokki.PayloadError("my own")

        @flow
        def odd():
            return numbers(1).map(raising)

        with pytest.raises(RunFailed, match="PayloadError: my own") as caught:
            await odd.run()
        assert "raise lokki.PayloadError" in caught.value.traceback


async def test_cancel_keeps_the_record_of_a_retrying_item():
    calls: list[str] = []
    waiting = anyio.Event()

    @step
    async def first(number):
        calls.append("first")
        return number + 1

    @step(retry={"retries": 5, "delay": 0})
    async def second(number):
        calls.append(f"second {lokki.current().attempt}")
        if lokki.current().attempt == 1:
            raise OSError
        if not waiting.is_set():
            waiting.set()
            await anyio.sleep(3600)
        return number * 10

    @flow
    def chained():
        return numbers(1).map(first).next(second)

    async with Engine() as engine:
        handle = engine.submit(chained)
        await waiting.wait()
        handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        assert await (await engine.resume(handle.run_id, chained)).result() == [10]
    assert calls == ["first", "second 1", "second 2", "second 2"]


async def test_a_step_over_its_timeout_whose_clean_up_fails_is_a_timeout():
    @step(timeout_seconds=0.01)
    async def untidy():
        try:
            await anyio.sleep(3600)
        finally:
            raise RuntimeError("while cleaning up")

    @flow
    def timing():
        return untidy()

    with pytest.raises(RunFailed, match=r"TimeoutError: the call took longer than 0\.01 s"):
        await timing.run()


async def test_a_keyboard_interrupt_of_an_async_step_fails_the_item():
    @step
    async def interrupting(number):
        raise KeyboardInterrupt

    @flow
    def odd():
        return numbers(1).map(interrupting)

    with pytest.raises(RunFailed, match="KeyboardInterrupt"):
        await odd.run()


async def test_thousands_of_async_calls_at_a_time():
    inside = 0
    all_here = asyncio.Event()

    @step
    async def meeting(number):
        nonlocal inside
        inside += 1
        if inside == 3000:
            all_here.set()
        await all_here.wait()
        return number

    @flow
    def crowd():
        return numbers(3000).map(meeting)

    async with Engine(concurrency=3000) as engine:
        assert await engine.run(crowd) == list(range(3000))


async def test_an_engine_that_is_not_open_says_so():
    @flow
    def small():
        return numbers(1)

    with pytest.raises(LokkiError, match="async with Engine"):
        await Engine().run(small)


async def test_a_run_submitted_while_the_engine_is_left_is_waited_for(journal):
    @flow
    def small():
        return numbers(2)

    @step
    async def gated(number):
        handles.append(engine.submit(small))
        return number

    @flow
    def gating():
        return numbers(1).map(gated)

    handles = []
    async with Engine() as engine:
        engine.submit(gating)
    assert await handles[0].result() == [0, 1]


class AsyncStore:
    """A payload store that can be used on the event loop alone."""

    def __init__(self) -> None:
        self._kept = MemoryStore()
        self.loops: list[asyncio.AbstractEventLoop] = []
        for name in ("get", "exists", "delete_prefix", "list", "url"):
            setattr(self, name, getattr(self._kept, name))

    async def put(self, key: str, data) -> None:
        self.loops.append(asyncio.get_running_loop())
        await self._kept.put(key, data)


def grown(number):
    return b"ab" * 50_000 + bytes([number])


async def async_grown(number):
    return grown(number)


@pytest.mark.parametrize("store", [AsyncStore, BrokenStore])
@pytest.mark.parametrize("function", [grown, async_grown])
async def test_lanes_of_all_kinds_put_large_results_in_stores_of_all_kinds(function, store):
    @flow
    def storing():
        return numbers(3).map(step(function))

    store = store()
    async with Engine(payloads=store) as engine:
        handle = engine.submit(storing)
        assert await handle.result() == [grown(number) for number in range(3)]
        kept = await store.list(run_prefix("storing", handle.run_id))
    assert len(kept) == 3
    if isinstance(store, AsyncStore):
        assert store.loops == [asyncio.get_running_loop()] * 3


async def test_an_async_step_that_fails_within_its_timeout_tells_its_own_error():
    @step(timeout_seconds=3600)
    async def failing():
        raise ValueError("my own")

    @flow
    def timing():
        return failing()

    with pytest.raises(RunFailed, match="ValueError: my own"):
        await timing.run()


class Once:
    """A value that can be unpickled once."""

    left = 1

    def __reduce__(self):
        return _once, ()


def _once() -> Once:
    if not Once.left:
        raise OSError("it is gone")
    Once.left -= 1
    return Once()


@pytest.mark.parametrize("kind", ["thread", "async"])
async def test_an_error_of_the_lanes_own_ends_its_run_and_no_other(monkeypatch, journal, kind):
    monkeypatch.setattr(Once, "left", 1)

    @step
    def records():
        return [Once()]

    @step(retry={"retries": 2, "delay": 0})
    def failing(record):
        raise OSError("again")

    @step(retry={"retries": 2, "delay": 0})
    async def failing_async(record):
        raise OSError("again")

    @flow
    def broken():
        return records().map(failing if kind == "thread" else failing_async)

    @flow
    def small():
        return numbers(2)

    async with Engine(concurrency=1) as engine:
        handle = engine.submit(broken)
        with pytest.raises(PayloadError, match="it is gone"):
            await handle.result()
        assert await engine.run(small) == [0, 1]
    with closing(Journal(journal)) as reader:
        assert reader.history.find(handle.run_id).status == "failed"


def few_threads(monkeypatch, most: int) -> None:
    """Let the system have ``most`` threads for lanes, from now on."""
    start, left = threading.Thread.start, [most]

    def scarce(thread) -> None:
        if thread.name.startswith("lokki-lane"):
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)


async def test_a_run_that_gets_no_thread_fails_and_runs_nothing_later(monkeypatch):
    called: list[int] = []

    @step
    def calling():
        called.append(1)

    @flow
    def unlucky():
        return calling()

    @flow
    def small():
        return numbers(2)

    async with Engine(concurrency=1) as engine:
        with monkeypatch.context() as patch:
            few_threads(patch, 0)
            with pytest.raises(LokkiError, match="can't start new thread"):
                await engine.run(unlucky)
        assert await engine.run(small) == [0, 1]
    assert not called


async def test_a_run_that_gets_no_thread_when_its_turn_comes_fails(monkeypatch):
    turn = anyio.Event()

    @step
    async def holding():
        await turn.wait()
        return "held"

    @flow
    def first():
        return holding()

    @flow
    def second():
        return numbers(2)

    few_threads(monkeypatch, 0)
    async with Engine(concurrency=1) as engine:
        holder, waiter = engine.submit(first), engine.submit(second)
        for handle in (holder, waiter):
            async for event in handle.events():
                if isinstance(event, StageStarted):
                    break
        turn.set()
        assert await holder.result() == "held"
        with pytest.raises(LokkiError, match="can't start new thread"):
            await waiter.result()


async def test_a_run_goes_on_with_the_threads_that_there_are(monkeypatch):
    both = threading.Barrier(2)

    @step
    def meeting(number):
        both.wait(20)
        return number

    @flow
    def crowd():
        return numbers(20).map(meeting)

    few_threads(monkeypatch, 2)
    async with Engine(concurrency=8) as engine:
        assert await engine.run(crowd) == list(range(20))


async def test_async_lanes_wait_for_a_journal_that_is_behind(journal):
    called = 0
    first = anyio.Event()

    @step
    async def talking(number):
        nonlocal called
        called += 1
        if called == 1:
            writer.execute("BEGIN IMMEDIATE")  # the journal can write no more
            for line in range(20_000):
                print(line)
            first.set()
        return number

    @flow
    def chatty():
        return numbers(3).map(talking)

    async with Engine(concurrency=1) as engine:
        with closing(sqlite3.connect(journal, timeout=30, isolation_level=None)) as writer:
            handle = engine.submit(chatty)
            await first.wait()
            for _ in range(20):
                await anyio.sleep(0)
            assert called == 1
        assert await handle.result() == [0, 1, 2]


NOTEBOOK = """
    import asyncio, threading
    from lokki import flow, step

    @step
    def numbers():
        return list(range(10_000))

    @step
    async def slow(number):
        if number == 0:
            print("began", flush=True)
        await asyncio.sleep(30)

    @flow
    def notebook():
        return numbers().map(slow)

    async def cell():
        try:
            notebook.run_sync()
        except KeyboardInterrupt:
            print("interrupted", flush=True)

    asyncio.new_event_loop().run_until_complete(cell())  # as a notebook's kernel does
"""

BLOCKED = """
    import time
    from lokki import flow, main, step

    @step
    async def blocking():
        print("began", flush=True)
        while True:  # a signal that comes just before a single long sleep would wait for its end
            time.sleep(0.01)

    @flow
    def blocked():
        return blocking()

    main(blocked)
"""


async def test_ctrl_c_in_a_notebook_cancels_the_run(tmp_path, journal):
    process = _script(tmp_path, NOTEBOOK)
    assert process.stdout.readline() == "began\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert "interrupted" in out, err
    with closing(Journal(journal)) as reader:
        assert reader.history.find("last").status == "cancelled"


async def test_a_second_ctrl_c_ends_a_process_whose_loop_is_blocked(tmp_path):
    process = _script(tmp_path, BLOCKED, "run")
    while process.stderr.readline() != "began\n":
        pass
    process.send_signal(signal.SIGINT)
    while "cancelling" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def _script(folder, body: str, *arguments: str) -> subprocess.Popen[str]:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(body))
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
