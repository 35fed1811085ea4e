"""Lanes at their limits: errors of stores, cancellation at awkward moments, many at a time."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from contextlib import closing

import anyio
import pytest

import lokki
from lokki import Engine, LokkiError, RunCancelled, RunFailed, flow, step
from lokki.store.journal import Journal
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
        time.sleep(3600)

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
        assert reader.find("last").status == "cancelled"


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
