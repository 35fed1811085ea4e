"""Steps that end or cripple the process they are called in: it is told, and never with code 0."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap

import pytest

FLOW = r"""
import asyncio, multiprocessing, os, sys
from lokki import flow, main, step

def end(number):
    if number == 5:
        {end}
    return number

async def exiting():
    sys.exit(0)

@step
def numbers():
    return range(20)

@step
async def passed(number):
    await asyncio.sleep(0)
    return number

@step
def thread(number):
    return end(number)

@step(executor="process")
def apart(number):
    return end(number)

@step
async def on_loop(number):
    end(number)
    await asyncio.sleep(0.001)
    return number

CHAINS = {{
    "thread": lambda: numbers().map(thread),
    "hop": lambda: numbers().map(passed).next(thread),
    "on_loop": lambda: numbers().map(on_loop),
    "apart": lambda: numbers().map(apart),
}}

@flow
def ending():
    return CHAINS[{kind!r}]()

{before_main}
if __name__ == "__main__":
    main(ending)
"""


@pytest.fixture
def ended(tmp_path):
    """Runs a command of a flow whose step ends the process so; gives code, stdout and stderr."""

    def run(kind, end, *command, before_main=""):
        script = tmp_path / "ending.py"
        text = textwrap.dedent(FLOW)
        script.write_text(text.format(end=end, kind=kind, before_main=before_main))
        command = command or (sys.executable, script, "run")
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("kind", ["thread", "hop", "on_loop"])
def test_a_step_that_exits_its_process_is_reported(ended, kind):
    code, out, told = ended(kind, "os._exit(0)")
    assert (code, out) == (1, "")
    step = "on_loop" if kind == "on_loop" else "thread"
    assert f"step '{step}', item 5, called os._exit(0)" in told
    assert "ending.py resume" in told
    assert "Traceback" not in told


def test_a_thread_of_a_step_that_exits_the_process_is_reported(ended):
    exiting = (
        "import threading; threading.Thread(target=os._exit, args=(0,)).start(); os.read(0, 1)"
    )
    code, _, told = ended("thread", f"{exiting}")
    assert code == 1
    assert "called os._exit(0)" in told


def test_children_that_exit_are_left_alone(ended):
    fork = "os.fork() or os._exit(0); os.wait()"
    pool = 'child = multiprocessing.get_context("fork").Process(target=len, args=("",))'
    code, out, told = ended("thread", f"{fork}; {pool}; child.start(); child.join()")
    assert (code, out) == (0, f"{list(range(20))}\n"), told
    assert "called os._exit" not in told


def test_a_module_that_exits_while_it_is_loaded_is_reported(ended, tmp_path):
    lokki = os.path.join(os.path.dirname(sys.executable), "lokki")
    code, _, told = ended("thread", "pass", lokki, "run", "ending.py", before_main="os._exit(0)")
    assert code == 1
    assert "Error: the flow's code called os._exit(0)" in told


@pytest.mark.parametrize("kind", ["thread", "hop", "on_loop"])
@pytest.mark.parametrize("first", [3, 0])
def test_a_step_that_closes_all_descriptors_ends_the_process(ended, kind, first):
    code, out, told = ended(kind, f"os.closerange({first}, 1000)")
    assert (code, out) == (1, "")
    if first:
        assert told.count("a step has closed descriptors that it did not open") == 1
        assert "called os._exit" not in told
        assert "Traceback" not in told


def test_a_loop_that_is_about_to_wake_without_its_descriptors_ends_the_process(ended):
    waking = "asyncio.get_running_loop().call_soon_threadsafe(asyncio.create_task, closing())"
    closing = """
async def closing():
    asyncio.get_running_loop().call_soon_threadsafe(len, "")
    await asyncio.sleep(0)
    os.closerange(3, 1000)
"""
    code, out, told = ended("on_loop", waking, before_main=closing)
    assert (code, out) == (1, "")
    assert told.count("a step has closed descriptors that it did not open") == 1
    assert "Traceback" not in told


def test_a_worker_whose_descriptors_a_step_closes_is_reported(ended):
    code, out, told = ended("apart", "os.closerange(3, 1000)")
    assert (code, out) == (1, "")
    assert "Error: in a worker process, a step has closed descriptors that it did not" in told
    assert "WorkerDied: the worker process exited with code 1" in told
    assert "Traceback" not in told


def test_a_task_of_a_step_that_exits_is_reported(ended):
    code, out, told = ended(
        "on_loop", "tasks.append(asyncio.create_task(exiting()))", before_main="tasks = []"
    )
    assert (code, out) == (1, "")
    assert "a task that a step started ended the event loop with SystemExit(0)" in told


def test_a_step_that_stops_the_event_loop_is_reported(ended):
    code, out, told = ended("on_loop", "asyncio.get_running_loop().stop()")
    assert (code, out) == (1, "")
    assert "a step stopped the event loop" in told
    assert "Traceback" not in told


def test_an_exit_is_reported_below_the_view_of_a_terminal(ended, tmp_path):
    ended("thread", "__import__('time').sleep(1); os._exit(0)", "true")
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, tmp_path / "ending.py", "run"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    run.stdout.close()
    assert run.wait(50) == 1
    assert b"called os._exit(0)" in shown
