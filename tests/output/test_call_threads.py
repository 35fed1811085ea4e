"""What the threads of a call print and log is the call's."""

from __future__ import annotations

import _thread
import asyncio
import concurrent.futures
import contextvars
import io
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
from capturing import attached, calling, texts

import lokki
from lokki import current

since_3_14 = pytest.mark.skipif(sys.version_info < (3, 14), reason="new in Python 3.14")

PACKAGE = Path(lokki.__file__).parent

POOL = ThreadPoolExecutor(1)
"""A pool of the program's: its one thread serves all that follow."""


def by_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def by_subclass(function):
    class Own(threading.Thread):
        def run(self):
            function()

    thread = Own()
    thread.start()
    thread.join()


def by_timer(function):
    timer = threading.Timer(0, function)
    timer.start()
    timer.join()


def by_low_level_thread(function):
    done = threading.Event()

    def doing(first, last=None):
        try:
            function()
        finally:
            done.set()

    _thread.start_new_thread(doing, (1,), {"last": 2})
    assert done.wait(20)


def by_thread_of_thread(function):
    by_thread(lambda: by_thread(function))


def by_executor(function):
    with ThreadPoolExecutor() as pool:
        pool.submit(function).result()


def by_map_of_executor(function):
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: function(), [1]))


def by_pool_of_the_program(function):
    POOL.submit(function).result()


def by_initializer(function):
    with ThreadPoolExecutor(1, initializer=function) as pool:
        pool.submit(int).result()


def by_thread_pool(function):
    pool = ThreadPool(1)
    pool.apply(function)
    pool.close()
    pool.join()


def by_to_thread(function):
    asyncio.run(asyncio.to_thread(function))


def by_default_executor(function):
    async def main():
        await asyncio.get_running_loop().run_in_executor(None, function)

    asyncio.run(main())


def by_context(function):
    thread = threading.Thread(target=function, context=contextvars.Context())
    thread.start()
    thread.join()


WAYS = [
    by_thread, by_subclass, by_timer, by_low_level_thread, by_thread_of_thread, by_executor,
    by_map_of_executor, by_pool_of_the_program, by_initializer, by_thread_pool, by_to_thread,
    by_default_executor, pytest.param(by_context, marks=since_3_14),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_thread_of_a_call_prints_and_logs_for_it(way):
    def writes():
        print("printed, swordfish")
        logging.getLogger("mine").warning("logged, %s", "swordfish")
        print(current().step, current().index, current().attempt, end="")

    shown = io.StringIO()
    with attached(echo=shown) as lines:
        calling(lambda: way(writes), attempt=3, secrets=("swordfish",))
    assert [line[1:] for line in lines] == [
        ("work", 7, 3, "INFO", "stdout", "printed, ***"),
        ("work", 7, 3, "WARNING", "mine", "logged, ***"),
        ("work", 7, 3, "INFO", "stdout", "work 7 3"),
    ]
    assert "printed, ***\n" in shown.getvalue()
    assert "swordfish" not in shown.getvalue()


def test_the_thread_of_a_pool_serves_calls_and_the_program_in_turn(capsys):
    def report(word):
        print(word)

    pool = ThreadPoolExecutor(1)
    with attached("a") as a, attached("b") as b:
        calling(lambda: pool.submit(report, "for a").result(), "a")  # which starts the thread
        calling(lambda: pool.submit(report, "for b").result(), "b")
        pool.submit(report, "for the program").result()
    pool.submit(report, "after the runs").result()
    pool.shutdown()
    assert (texts(a), texts(b)) == (["for a"], ["for b"])
    assert capsys.readouterr().out == "for a\nfor b\nfor the program\nafter the runs\n"


@since_3_14
def test_a_pool_of_interpreters_does_its_tasks():
    def squares():
        with concurrent.futures.InterpreterPoolExecutor(1) as pool:
            return list(pool.map(abs, [-1, 2]))

    with attached():
        assert calling(squares) == [1, 2]


@since_3_14
def test_a_context_that_another_thread_is_in_is_reported_of_by_python(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda report: told.append(report.exc_value))

    def starts():
        context = contextvars.Context()
        thread = threading.Thread(target=print, context=context)
        context.run(thread.start)
        thread.join()

    with attached():
        calling(starts)
    assert "already entered" in str(told[0])


def test_a_thread_goes_on_after_its_call_while_the_run_lasts(capsys):
    returned, detached = threading.Event(), threading.Event()

    def late(word):
        assert returned.wait(20)
        print("after the call,", word)
        assert detached.wait(20)
        print("after the run")

    threads = []

    def step():
        threads.append(threading.Thread(target=late, args=("swordfish",)))
        threads[0].start()

    with attached() as lines:
        calling(step, secrets=("swordfish",))
        returned.set()
        while not lines:
            threads[0].join(0.001)
    detached.set()
    threads[0].join()
    assert texts(lines) == ["after the call, ***"]
    assert capsys.readouterr().out == "after the call, ***\nafter the run\n"


def test_the_error_of_a_thread_is_reported_without_frames_of_ours(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)

    def fails():
        raise ValueError("no swordfish here")

    with attached(echo=io.StringIO()) as lines:
        calling(lambda: by_thread(fails), secrets=("swordfish",))
    assert texts(lines)[-1] == "ValueError: no *** here"
    assert "Traceback (most recent call last):" in texts(lines)
    assert not [line for line in texts(lines) if str(PACKAGE) in line]


def test_threads_of_one_call_do_not_mix_their_lines():
    words = [f"word {number} " * 5 for number in range(4)]
    start = threading.Barrier(len(words), timeout=20)

    def spell(word):
        start.wait()
        for _ in range(50):
            for letter in word:
                sys.stdout.write(letter)
            sys.stdout.write("\n")

    async def step():
        await asyncio.gather(*(asyncio.to_thread(spell, word) for word in words))

    with attached(echo=io.StringIO()) as lines:
        calling(lambda: asyncio.run(step()))
    assert sorted(texts(lines)) == sorted(words * 50)


def test_contexts_of_threads_are_otherwise_as_they_are_without_a_run():
    from contextvars import ContextVar

    variable = ContextVar("variable", default="unset")
    seen = []

    def step():
        variable.set("set by the step")
        by_thread(lambda: seen.append(variable.get()))
        by_executor(lambda: seen.append(variable.get()))
        by_to_thread(lambda: seen.append(variable.get()))

    with attached():
        calling(step)
    assert seen == ["unset", "unset", "set by the step"]


def test_what_is_replaced_for_threads_is_put_back():
    before = threading.Thread.start, ThreadPoolExecutor.submit, _thread.start_new_thread
    with attached():
        assert threading.Thread.start is not before[0]
    assert before == (threading.Thread.start, ThreadPoolExecutor.submit, _thread.start_new_thread)


def test_a_thread_that_cannot_start_says_so_as_always():
    def step():
        thread = threading.Thread(target=print)
        thread.start()
        with pytest.raises(RuntimeError, match="threads can only be started once"):
            thread.start()
        with pytest.raises(TypeError):
            _thread.start_new_thread("no function", ())
        thread.join()

    with attached():
        calling(step)
