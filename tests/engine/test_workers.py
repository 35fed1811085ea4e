"""Steps in worker processes: values, output, timeouts, deaths, cancellation."""

from __future__ import annotations

import contextvars
import ctypes
import gc
import importlib
import io
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
import types
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

import lokki
from lokki import Engine, RunCancelled, RunFailed, flow, step
from lokki.call import BoundCall
from lokki.engine import workers
from lokki.engine.channel import Channel
from lokki.output.sinks import attached

pytestmark = pytest.mark.asyncio


@step
def numbers(count: int = 6):
    return list(range(count))


@dataclass
class Point:
    x: int


async def test_calls_are_made_in_other_processes():
    @step(executor="process")
    def pid(number):
        return os.getpid()

    @flow
    def pids():
        return numbers(20).map(pid)

    async with Engine(processes=2) as engine:
        used = set(await engine.run(pids))
    assert os.getpid() not in used
    assert 1 <= len(used) <= 2


async def test_closures_classes_and_arguments_reach_the_worker():
    offset = 10

    @step(executor="process")
    def shifted(number, factor, **rest):
        return Point(number * factor + offset), rest

    @step(executor="process")
    def x_of(pair):
        point, rest = pair
        assert isinstance(point, Point)
        return point.x, rest

    @flow
    def shifting(factor: int, extra: str = "e"):
        return numbers(2).map(shifted).next(x_of)

    assert await shifting.run(3) == [(10, {"extra": "e"}), (13, {"extra": "e"})]


async def test_async_and_generator_steps_run_in_workers():
    @step(executor="process")
    async def slept(number):
        await anyio.sleep(0)
        return number, os.getpid()

    @step(executor="process")
    def counted(pair):
        yield from range(pair[0])

    @flow
    def working():
        return numbers(3).map(slept).next(counted)

    assert await working.run() == [[], [0], [0, 1]]


async def test_a_chain_may_mix_threads_loop_and_processes():
    @step
    def here(number):
        return [number, os.getpid()]

    @step(executor="process")
    def there(values):
        return [*values, os.getpid()]

    @step
    async def on_the_loop(values):
        await anyio.sleep(0)
        return [*values, os.getpid()]

    @flow
    def mixed():
        return numbers(4).map(here).next(there).next(on_the_loop)

    for number, first, second, third in await mixed.run():
        assert number in range(4)
        assert first == third == os.getpid() != second


async def test_context_and_output_of_a_worker(capfd):
    @step(executor="process", retry={"retries": 1, "delay": 0})
    def talking(number):
        context = lokki.current()
        print("hello", number, flush=True)
        logging.getLogger("mine").warning("careful")
        logging.getLogger("mine").info("by the way")
        if context.attempt == 1:
            raise ValueError("again")
        return context.index, context.attempt, context.idempotency_key.rpartition("/")[2]

    @flow
    def chatty():
        return numbers(2).map(talking)

    async with Engine() as engine:
        handle = engine.submit(chatty)
        assert await handle.result() == [(0, 2, "0"), (1, 2, "1")]
        lines = {line[2:] for line in engine.journal.history.lines(handle.run_id)}
    assert ("talking", 1, 2, "INFO", "stdout", "hello 1") in lines
    assert ("talking", 0, 1, "WARNING", "mine", "careful") in lines
    assert ("talking", 1, 2, "INFO", "mine", "by the way") in lines
    failed = "failed, will be retried: ValueError: again"
    assert ("talking", 0, 1, "WARNING", "lokki", failed) in lines
    assert len(lines) == 14


async def test_an_error_in_a_worker_has_the_users_traceback():
    @step(executor="process")
    def raising(number):
        return {}["missing"]

    @flow
    def failing():
        return numbers(1).map(raising)

    with pytest.raises(RunFailed, match="item 0, attempt 1: KeyError: 'missing'") as caught:
        await failing.run()
    assert 'return {}["missing"]' in caught.value.traceback


async def test_exceptions_are_matched_in_a_worker_too():
    class Busy(OSError):
        pass

    @step(executor="process", retry={"retries": 1, "delay": 0, "exceptions": (OSError,)})
    def flaky(number):
        if lokki.current().attempt == 1:
            raise Busy
        return number

    @flow
    def retrying():
        return numbers(3).map(flaky)

    assert await retrying.run() == [0, 1, 2]


@pytest.mark.parametrize(
    ("death", "told"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL"),
        (lambda: ctypes.string_at(0), "killed by SIGSEGV"),
        (lambda: os._exit(7), "exited with code 7"),
    ],
    ids=["SIGKILL", "SIGSEGV", "exit"],
)
async def test_a_worker_that_dies_fails_its_item_alone(death, told):
    @step(executor="process")
    def deadly(number):
        if number == 2:
            death()
        return number

    @step
    def gathered(values):
        return values, [(f.index, f.type, f.reason) for f in lokki.current().failures]

    @flow
    def surviving():
        return numbers(6).map(deadly, tolerated_failures=1).agg(gathered)

    values, failures = await surviving.run()
    assert values == [0, 1, 3, 4, 5]
    ((index, kind, reason),) = failures
    assert (index, kind) == (2, "WorkerDied")
    assert told in reason


async def test_a_worker_that_dies_is_retried_in_another():
    @step(executor="process", retry={"retries": 1, "delay": 0})
    def once(number):
        if lokki.current().attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    @flow
    def retrying():
        return numbers(3).map(once)

    assert await retrying.run() == [0, 1, 2]


async def test_a_sync_step_over_its_timeout_is_killed_with_what_it_started(tmp_path):
    marker = str(tmp_path / "child")

    @step(timeout_seconds=0.5, retry={"retries": 1, "delay": 0})
    def stuck(number):
        if lokki.current().attempt == 1:
            child = subprocess.Popen(["sleep", "600"])
            Path(marker).write_text(str(child.pid))
            time.sleep(600)
        return number

    @flow
    def timing():
        return numbers(1).map(stuck)

    assert await timing.run() == [0]
    await _until_gone(int(Path(marker).read_text()))


async def test_a_timeout_is_a_timeout_error():
    @step(timeout_seconds=0.2, job_type="batch")
    def stuck():
        time.sleep(600)

    @flow
    def timing():
        return stuck()

    with pytest.raises(RunFailed, match=r"TimeoutError: the call took longer than 0\.2 s"):
        await timing.run()


async def test_cancel_kills_the_processes(tmp_path):
    marker = tmp_path / "pid"
    path = str(marker)

    @step(executor="process")
    def endless(number):
        with open(path + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(path + ".new", path)
        time.sleep(600)

    @flow
    def long():
        return numbers(5).map(endless, concurrency_limit=1)

    async with Engine() as engine:
        handle = engine.submit(long)
        while not marker.exists():
            await anyio.sleep(0.005)
        handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()
        stage = engine.journal.history.stages(handle.run_id)[1]
        assert [s for _, s, _, _ in engine.journal.recorded(stage.id)] == ["cancelled"]
    await _until_gone(int(marker.read_text()))


async def test_an_unpicklable_result_in_a_worker_names_step_and_type():
    @step(executor="process")
    def locked(number):
        import threading

        return threading.Lock()

    @flow
    def unpicklable():
        return numbers(1).map(locked)

    with pytest.raises(RunFailed, match=r"result of step 'locked' cannot be stored.*_thread.lock"):
        await unpicklable.run()


async def test_a_function_that_cannot_be_sent_names_the_step():
    import threading

    lock = threading.Lock()

    @step(executor="process")
    def closing(number):
        return lock

    @flow
    def unsendable():
        return numbers(1).map(closing)

    with pytest.raises(RunFailed, match=r"step 'closing' cannot be sent to a worker process"):
        await unsendable.run()


async def test_a_call_that_a_worker_cannot_load_is_reported(monkeypatch):
    ghost = types.ModuleType("ghost")
    exec("class Spectre: pass", vars(ghost))
    monkeypatch.setitem(sys.modules, "ghost", ghost)

    @step
    def spectres():
        return [ghost.Spectre()]

    @step(executor="process", retry={"retries": 3, "delay": 0})
    def haunted(spectre):
        return 1

    @flow
    def haunting():
        return spectres().map(haunted)

    with pytest.raises(RunFailed, match=r"attempt 1: PayloadError: a worker .* module 'ghost'"):
        await haunting.run()


async def test_an_async_chain_is_cancelled_while_it_is_in_a_worker(tmp_path):
    marker = tmp_path / "began"
    path = str(marker)

    @step
    async def first(number):
        return number

    @step(executor="process")
    def second(number):
        open(path, "w").close()
        time.sleep(600)

    @flow
    def hopping():
        return numbers(2).map(first).next(second)

    async with Engine(processes=1) as engine:
        handle = engine.submit(hopping)
        while not marker.exists():
            await anyio.sleep(0.005)
        handle.cancel()
        with pytest.raises(RunCancelled):
            await handle.result()


@dataclass
class Held:
    """A result that the engine, which made it known where it runs, is long in reading."""

    engine: int

    def __reduce__(self):
        return _held, (self.engine,)


reading, read_on = threading.Event(), threading.Event()


def _held(engine):
    if os.getpid() == engine:
        reading.set()
        assert read_on.wait(30)
    return Held(engine)


async def test_a_cancel_that_meets_an_answer_spoils_no_later_run():
    reading.clear()
    read_on.clear()
    engine_pid = os.getpid()

    @step
    def passed(number):
        return number

    @step(executor="process")
    def answering(number):
        return Held(engine_pid)

    @step(executor="process")
    def doubled(number):
        return 2 * number

    @flow
    def cancelled():
        return numbers(3).map([passed, answering], concurrency_limit=1)

    @flow
    def later():
        return numbers(3).map(doubled)

    async with Engine(processes=1) as engine:
        handle = engine.submit(cancelled)
        await anyio.to_thread.run_sync(reading.wait, 20)
        handle.cancel()
        read_on.set()
        with pytest.raises(RunCancelled):
            await handle.result()
        stage = engine.journal.history.stages(handle.run_id)[1]
        assert engine.journal.extents(stage.id) == [range(1)]
        assert await engine.run(later) == [0, 2, 4]


@pytest.mark.parametrize("pause", [0.05, 0])
async def test_a_timeout_is_for_the_whole_call_however_much_it_prints(pause, capfd):
    @step(timeout_seconds=0.5)
    def ticking():
        while True:
            print("tick")
            time.sleep(pause)

    @flow
    def timing():
        return ticking()

    with pytest.raises(RunFailed, match=r"TimeoutError: the call took longer than 0\.5 s"):
        await timing.run()


@pytest.fixture
def slow_module(tmp_path, monkeypatch):
    """A module that takes a second to import, except in this process."""
    (tmp_path / "slow_to_import.py").write_text(
        "import os, time\n"
        "if os.environ['ENGINE_PID'] != str(os.getpid()):\n"
        "    time.sleep(1)\n"
        "def seven():\n"
        "    return 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ENGINE_PID", str(os.getpid()))
    yield importlib.import_module("slow_to_import")
    del sys.modules["slow_to_import"]


async def test_a_timeout_begins_when_the_step_does(slow_module):
    @step(timeout_seconds=0.5)
    def importing():
        return slow_module.seven()

    @flow
    def timing():
        return importing()

    assert await timing.run() == 7


async def test_a_worker_that_does_not_get_ready_is_reported(slow_module, monkeypatch):
    monkeypatch.setattr(workers, "START_SECONDS", 0.3)

    @step(executor="process")
    def importing():
        return slow_module.seven()

    @flow
    def waiting():
        return importing()

    with pytest.raises(RunFailed, match=r"WorkerDied: .* not ready within 0\.3 s"):
        await waiting.run()


async def test_threads_of_a_step_may_all_print_at_once():
    @step(executor="process")
    def crowds(number):
        def shout(letter):
            for _ in range(20):
                print(letter * 60_000)

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(shout, letter))
            for letter in "abcd"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return number

    @flow
    def loud():
        return numbers(2).map(crowds)

    async with Engine(processes=1, echo=io.StringIO()) as engine:
        handle = engine.submit(loud)
        assert await handle.result() == [0, 1]
        assert list(engine.journal.history.lines(handle.run_id))


async def test_a_thread_that_a_step_left_behind_answers_no_other_call():
    @step(executor="process")
    def leaving(number):
        def babble():
            while True:
                print("babble")
                time.sleep(0.001)

        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(babble,), daemon=True).start()
        return number

    @step(executor="process", timeout_seconds=30)
    def doubled(number):
        return 2 * number

    @flow
    def left():
        return numbers(10).map(leaving).next(doubled)

    @flow
    def later():
        return numbers(100).map(doubled)

    async with Engine(processes=1, echo=io.StringIO()) as engine:
        assert await engine.run(left) == list(range(0, 20, 2))
        handle = engine.submit(later)
        assert await handle.result() == list(range(0, 200, 2))
        assert list(engine.journal.history.lines(handle.run_id)) == []


def sockets():
    """The descriptors of this process that are sockets."""
    return [each for each in range(3, 100) if _is_socket(each)]


def _is_socket(descriptor):
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False


@pytest.mark.parametrize(
    "send",
    [
        lambda descriptor: os.write(descriptor, b"hello, world\n"),
        lambda descriptor: os.write(descriptor, b"\xff" * 12),
        lambda descriptor: Channel(os.dup(descriptor)).send_pickle(b"junk"),
        lambda descriptor: Channel(os.dup(descriptor)).send((1, 2)),
    ],
    ids=["text", "bytes", "no pickle", "no answer"],
)
async def test_a_worker_that_sends_rubbish_is_replaced(send):
    @step(executor="process")
    def spoiling(number, spoil):
        if spoil:
            (descriptor,) = sockets()
            send(descriptor)
            time.sleep(600)
        return number

    @flow
    def spoilt(spoil: bool):
        return numbers(2).map(spoiling)

    async with Engine(processes=1) as engine:
        with pytest.raises(RunFailed, match="the worker process sent an invalid answer"):
            await engine.run(spoilt, {"spoil": True})
        assert await engine.run(spoilt, {"spoil": False}) == [0, 1]


async def test_a_default_timeout_of_sockets_is_none_of_a_workers():
    @step(executor="process")
    def slow(number):
        time.sleep(0.1)
        return number

    @flow
    def slowly():
        return numbers(2).map(slow)

    socket.setdefaulttimeout(0.01)
    try:
        async with Engine(processes=1) as engine:
            assert await engine.run(slowly) == [0, 1]
    finally:
        socket.setdefaulttimeout(None)


async def test_a_worker_that_died_while_idle_costs_nothing():
    @step(executor="process")
    def pid(number):
        return os.getpid()

    @flow
    def pids():
        return numbers(1).map(pid)

    async with Engine(processes=1) as engine:
        (first,) = await engine.run(pids)
        os.kill(first, signal.SIGKILL)
        await _until_gone(first)
        (second,) = await engine.run(pids)
    assert second != first


@pytest.mark.parametrize("size", [10, 10_000_000])
async def test_a_worker_that_dies_before_it_reads_a_call_costs_nothing(size):
    @step
    def big():
        return ["x" * size]

    @step(executor="process")
    def pid(text):
        return os.getpid()

    @flow
    def pids():
        return big().map(pid)

    async with Engine(processes=1) as engine:
        (first,) = await engine.run(pids)
        os.kill(first, signal.SIGSTOP)
        handle = engine.submit(pids)
        while len(engine.journal.history.stages(handle.run_id)) < 2:
            await anyio.sleep(0.005)
        await anyio.sleep(0.05)  # if it is not sent by now, the case is the one above
        os.kill(first, signal.SIGKILL)
        (second,) = await handle.result()
    assert second != first


async def test_a_worker_forgets_the_runs_before():
    @step(executor="process")
    def held(number, blob):
        kept = sum(type(each) is BoundCall for each in gc.get_objects())
        return os.getpid(), kept, len(attached)

    @step(executor="process")
    def again(state):
        return state

    @flow
    def holding(blob: bytes):
        return numbers(2).map(held).next(again)

    async with Engine(processes=1) as engine:
        states = [await engine.run(holding, {"blob": b"x" * 1000}) for _ in range(4)]
    assert len({pid for state in states for pid, _, _ in state}) == 1
    assert {kept for state in states for _, kept, _ in state} <= {1, 2}
    assert {sinks for state in states for _, _, sinks in state} == {1}


async def test_runs_that_take_turns_share_the_workers():
    @step(executor="process")
    def added(number, to):
        return number + to

    @flow
    def adding(to: int):
        return numbers(50).map(added)

    async with Engine(processes=2) as engine:
        handles = [engine.submit(adding, {"to": to}) for to in range(4)]
        for to, handle in enumerate(handles):
            assert await handle.result() == list(range(to, to + 50))


class Sluggish:
    """Pickles when it is told to."""

    def __init__(self):
        self.pickling, self.pickle = threading.Event(), threading.Event()

    def __reduce__(self):
        self.pickling.set()
        assert self.pickle.wait(30)
        return int, ()


async def test_a_cancel_does_not_wait_for_what_is_being_pickled(tmp_path):
    marker = tmp_path / "began"
    path = str(marker)
    sluggish = Sluggish()

    @step(executor="process")
    def endless():
        open(path, "w").close()
        time.sleep(600)

    @step(executor="process")
    def burdened():
        return sluggish

    @flow
    def long():
        return endless()

    @flow
    def pickling():
        return burdened()

    async with Engine(processes=2) as engine:
        first = engine.submit(long)
        while not marker.exists():
            await anyio.sleep(0.005)
        second = engine.submit(pickling)
        await anyio.to_thread.run_sync(sluggish.pickling.wait, 20)
        first.cancel()
        with pytest.raises(RunCancelled):
            await first.result()
        sluggish.pickle.set()
        assert await second.result() == 0


async def test_a_worker_that_cannot_be_started_is_reported_and_tried_again(monkeypatch):
    python = sys.executable

    @step(executor="process", retry={"retries": 2, "delay": 0.01})
    def there(number):
        return lokki.current().attempt

    @flow
    def starting():
        return numbers(1).map(there)

    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with Engine(processes=1) as engine:
        with pytest.raises(RunFailed, match=r"attempt 3: WorkerDied: .* could not be started: .*"):
            await engine.run(starting)
        monkeypatch.setattr(sys, "executable", python)
        assert await engine.run(starting) == [1]


async def test_classes_of_the_main_module_keep_their_identity(tmp_path):
    script = tmp_path / "own.py"
    script.write_text(
        textwrap.dedent(
            """
            from dataclasses import dataclass
            from lokki import flow, main, step

            @dataclass
            class Point:
                x: int

            @step
            def points():
                return [Point(n) for n in range(3)]

            @step(executor="process")
            def moved(point):
                assert type(point) is Point
                return Point(point.x + 1)

            @step
            def summed(points):
                assert all(type(point) is Point for point in points)
                return sum(point.x for point in points)

            @flow
            def own():
                return points().map(moved).agg(summed)

            if __name__ == "__main__":
                main(own)
            """
        )
    )
    for command in ([str(script)], ["-m", "lokki", "run", str(script)]):
        arguments = command if command[0] == "-m" else [*command, "run"]
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


async def _until_gone(pid: int) -> None:
    with anyio.fail_after(10):
        while True:
            try:
                os.kill(pid, 0)
                if "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]:
                    return
            except (ProcessLookupError, FileNotFoundError):
                return
            await anyio.sleep(0.01)


LOCK = threading.Lock()


async def test_a_global_that_keeps_a_step_from_being_sent_is_named():
    cell = {"LOCK": LOCK, "step": step}  # as of a notebook, whose globals no module has
    exec("@step(executor='process')\ndef guarded(number):\n    with LOCK: return number", cell)

    @flow
    def unsendable():
        return numbers(1).map(cell["guarded"])

    told = r"function of step 'guarded' cannot be sent .*global 'LOCK': .*_thread.lock.*make it in"
    with pytest.raises(RunFailed, match=told):
        await unsendable.run()


async def test_a_helper_that_keeps_a_step_from_being_sent_is_named():
    held = threading.Lock()

    def helper():
        return held

    @step(executor="process")
    async def guarded(number):
        return helper()

    @flow
    def unsendable():
        return numbers(1).map(guarded)

    with pytest.raises(RunFailed, match=r"variable 'helper': .*'_thread.lock'; make it in"):
        await unsendable.run()


async def test_a_constant_that_cannot_be_sent_is_named():
    @step(executor="process")
    def guarded(number, lock):
        return number

    @flow
    def unsendable():
        return numbers(1).map(guarded, lock=LOCK)

    with pytest.raises(RunFailed, match=r"its argument 'lock': .*_thread.lock.*make it inside"):
        await unsendable.run()
