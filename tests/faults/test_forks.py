"""Steps that fork: a child that comes back from its call ends, and the run goes on as if alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import Counter

import pytest

ITEMS = 60

FLOW = r"""
import asyncio, gc, multiprocessing, os, subprocess, sys
from lokki import flow, step

CALLS = {calls!r}

def note(what):
    with open(CALLS, "a") as calls:
        calls.write(f"{{what}}\n")

def fork(number):
    note(number)
    if number == 7:
        {fork}
    return number

def own_child():
    child = os.fork()
    if child == 0:
        try:
            note("child")
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def joined():
    child = multiprocessing.get_context("fork").Process(target=note, args=("child",))
    child.start()
    child.join()
    assert child.exitcode == 0

def program():
    if os.fork() == 0:
        os.execv("/bin/sh", ["sh", "-c", f"echo child >> {{CALLS}}"])
    os.wait()

def reporting():
    loop = asyncio.get_running_loop()
    if os.fork() == 0:
        try:
            asyncio.Future(loop=loop).set_exception(OSError("disk full"))
            gc.collect()
            note("child")
        finally:
            os._exit(0)
    os.wait()

def nested():
    if os.fork() == 0:
        try:
            os.environ["LOKKI_LOCAL_JOURNAL"] += "-of-the-child"
            for result in small.run_sync():
                note("child")
        finally:
            os._exit(0)
    os.wait()

@step
def numbers():
    return range({items})

@step
def same(number):
    return number

@step
async def passed(number):
    await asyncio.sleep(0)
    return number

@step
def sync(number):
    return fork(number)

@step(executor="process")
def process(number):
    return fork(number)

@step
async def at_once(number):
    return fork(number)

@step
async def waiting(number):
    fork(number)
    await asyncio.sleep(0.001)
    return number

@step
async def of_a_task(number):
    async def task():
        fork(number)
        await asyncio.sleep(0.001)
    await asyncio.create_task(task())
    return number

@flow
def small():
    return numbers().map(same)

CHAINS = {{
    "thread": lambda: numbers().map(sync),
    "inner": lambda: numbers().map(same).next(sync).next(same),
    "hop": lambda: numbers().map(passed).next(sync),
    "process": lambda: numbers().map(process),
    "at once": lambda: numbers().map(at_once),
    "waiting": lambda: numbers().map(waiting),
    "of a task": lambda: numbers().map(of_a_task),
}}

@flow
def forking():
    return CHAINS[{kind!r}]()

if __name__ == "__main__":
    assert forking.run_sync() == list(range({items}))
    print("the run has succeeded")
"""

KINDS = ("thread", "inner", "hop", "process", "at once", "waiting", "of a task")


@pytest.fixture
def forked(tmp_path):
    """Runs a flow with a step that forks so, and gives what was called and what was told."""

    def run(kind, fork):
        calls, script = tmp_path / "calls", tmp_path / "forking.py"
        script.write_text(
            textwrap.dedent(FLOW).format(calls=str(calls), fork=fork, kind=kind, items=ITEMS)
        )
        # Python 3.12 and later warn of a fork beside threads, which the test is about.
        python = [sys.executable, "-W", "ignore::DeprecationWarning"]
        done = subprocess.run([*python, script], capture_output=True, text=True, timeout=50)
        assert (done.returncode, done.stdout) == (0, "the run has succeeded\n"), done.stderr
        return Counter(calls.read_text().split()), done.stderr

    return run


def once(calls) -> bool:
    return calls == {str(number): 1 for number in range(ITEMS)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_that_comes_back_ends_and_says_what_to_use(forked, kind):
    calls, told = forked(kind, "os.fork() and os.wait()")
    assert once(calls)
    assert told.count("the child returned from the call") == 1
    assert "multiprocessing" in told
    assert len(told.splitlines()) == 1


def test_a_child_that_raises_ends_too(forked):
    calls, told = forked("thread", "assert os.fork(), 'in the child'")
    assert once(calls)
    assert told.count("the child returned from the call") == 1


@pytest.mark.parametrize("kind", ["thread", "waiting", "of a task"])
def test_a_child_that_exits_has_its_own_code(forked, kind):
    check = "os.waitstatus_to_exitcode(os.wait()[1]) == 3"
    calls, told = forked(kind, f"child = os.fork() or sys.exit(3); assert {check}")
    assert once(calls)
    assert told == ""


@pytest.mark.parametrize("fork", ["own_child()", "joined()", "program()"])
@pytest.mark.parametrize("kind", ["thread", "hop", "process", "waiting", "of a task"])
def test_a_child_that_ends_by_itself_is_left_alone(forked, kind, fork):
    calls, told = forked(kind, fork)
    assert calls.pop("child") == 1
    assert once(calls)
    assert told == ""


def test_what_the_loop_of_a_child_reports_does_not_end_it(forked):
    calls, told = forked("of a task", "reporting()")
    assert calls.pop("child") == 1
    assert once(calls)
    assert "disk full" in told
    assert "the child returned" not in told


def test_a_child_may_run_a_flow_of_its_own(forked):
    calls, told = forked("thread", "nested()")
    assert calls.pop("child") == ITEMS
    assert once(calls)
    assert told == ""
