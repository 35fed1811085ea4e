"""What the child processes of a call print and log is the call's."""

from __future__ import annotations

import contextvars
import fcntl
import io
import logging
import multiprocessing
import os
import select
import signal
import struct
import sys
import termios
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from capturing import attached, calling, texts
from serving import until

from lokki import current, output

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def forked(function):
    """Call a function in a forked child; its exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def writes(word):
    print("printed,", word)
    logging.getLogger("mine").warning("logged, %s", word)
    print(current().step, current().index, current().attempt, end="")


EXPECTED = [
    ("work", 7, 3, "INFO", "stdout", "printed, ***"),
    ("work", 7, 3, "WARNING", "mine", "logged, ***"),
    ("work", 7, 3, "INFO", "stdout", "work 7 3"),
]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_process_of_multiprocessing_prints_and_logs_for_its_call(method):
    def step():
        child = multiprocessing.get_context(method).Process(target=writes, args=("swordfish",))
        child.start()
        child.join()
        assert child.exitcode == 0

    shown = io.StringIO()
    with attached(echo=shown) as lines:
        calling(step, attempt=3, secrets=("swordfish",))
    assert [line[1:] for line in lines] == EXPECTED
    assert "printed, ***\n" in shown.getvalue()
    assert "swordfish" not in shown.getvalue()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_of_processes_prints_for_its_call(method):
    def step():
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            pool.submit(writes, "swordfish").result()

    with attached(echo=io.StringIO()) as lines:
        calling(step, attempt=3, secrets=("swordfish",))
    assert [line[1:] for line in lines] == EXPECTED


def test_a_fork_of_a_fork_prints_for_its_call():
    with attached(echo=io.StringIO()) as lines:
        calling(lambda: forked(lambda: forked(lambda: print("deep"))))
    assert texts(lines) == ["deep"]


def test_children_write_more_than_their_socket_holds_and_nothing_is_lost():
    def counts():
        for number in range(5000):
            print(number, "x" * 200)

    with attached(echo=io.StringIO()) as lines:
        assert calling(lambda: forked(counts)) == 0
    assert [int(text.split()[0]) for text in texts(lines)] == list(range(5000))


def test_a_line_that_the_parent_has_begun_is_not_the_childs():
    def step():
        print("asks: ", end="")
        forked(lambda: print("child"))
        print("done")

    with attached(echo=io.StringIO()) as lines:
        calling(step)
    assert sorted(texts(lines)) == ["asks: done", "child"]


def test_a_child_does_not_wait_for_a_stream_that_another_thread_was_writing_on(monkeypatch):
    def flushes():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        print("child", flush=True)

    reading, writing = os.pipe()
    with open(writing, "w") as stream, open(reading) as read:
        monkeypatch.setattr(sys, "stdout", stream)
        writer = threading.Thread(target=stream.write, args=("x" * 1_000_000,))
        with attached(echo=io.StringIO()) as lines:
            writer.start()
            until(
                lambda: waiting_in(read) == fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ), "a full pipe"
            )
            try:
                assert calling(lambda: forked(flushes)) == 0
            finally:
                read.read(1_000_000)
                writer.join()
    assert texts(lines) == ["child"]


def waiting_in(file):
    """The bytes in a pipe."""
    return struct.unpack("i", fcntl.ioctl(file, termios.FIONREAD, b"1234"))[0]


@pytest.mark.parametrize("reader", ["killed", "stuck"])
def test_a_child_whose_lines_nobody_reads_goes_on_and_shows_them_itself(reader, capfd):
    reading, writing = os.pipe()

    def step():
        if not os.fork():  # a child of the process that reads
            try:
                while reader == "killed" and os.getppid() == parent:
                    time.sleep(0.001)
                for number in range(2000):
                    print(number, "swordfish" * 20)
                os.write(writing, b"done")
            finally:
                os._exit(1)
        if reader == "killed":
            os.kill(parent, signal.SIGKILL)
        os.wait()

    if not (reads := os.fork()):
        try:
            parent = os.getpid()
            output.attach("run-1", lambda line: signal.pause(), io.StringIO())
            calling(step, secrets=("swordfish",))
        finally:
            os._exit(1)
    os.close(writing)
    try:
        assert select.select([reading], [], [], 30)[0]
        assert os.read(reading, 10) == b"done"
    finally:
        os.close(reading)
        os.kill(reads, signal.SIGKILL)
        os.waitpid(reads, 0)
    told = capfd.readouterr().err
    assert "1999 ***" in told
    assert "swordfish" not in told


def test_a_fork_outside_of_calls_records_nothing(capfd):
    with attached() as lines:
        assert forked(lambda: print("of the program", flush=True)) == 0
    assert lines == []
    assert capfd.readouterr().out == "of the program\n"


SAYS = {print: "of its own", forked: lambda: print("of its child")}


def test_a_child_may_run_flows_itself():
    def step():
        def runs():
            with attached("own") as own:
                for each in (print, forked):
                    apart = contextvars.copy_context()
                    apart.run(calling, lambda each=each: each(SAYS[each]), "own")
            print(*texts(own), sep=", ")

        return forked(runs)

    with attached(echo=io.StringIO()) as lines:
        assert calling(step) == 0
    assert texts(lines) == ["of its own, of its child"]
