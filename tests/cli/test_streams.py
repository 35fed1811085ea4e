"""The result alone is on stdout, whoever writes there meanwhile; streams that are watched."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from lokki.cli.streams import Watched

_FLOW = """
import os, subprocess, sys, threading
from lokki import flow, main, step

print("the module's")

@step
def noisy():
    print("the step's")
    sys.stdout.buffer.write(b"the buffer's\\n")
    os.write(1, b"the descriptor's\\n")
    thread = threading.Thread(target=print, args=["the thread's"])
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", "print('the child\\\\'s')"], check=True)
    return "the result"

@flow
def mine():
    print("the flow's")
    return noisy()

if __name__ == "__main__":
    main(mine)
"""

_PRINTING = """
import sys
from lokki import flow, step

@step
def printing():
    print("the step's")
    print("the step's error", file=sys.stderr)
    return "the result"

@flow
def mine():
    return printing()
"""


@pytest.fixture
def printing(tmp_path: Path) -> Path:
    path = tmp_path / "printing.py"
    path.write_text(_PRINTING)
    return path


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    path = tmp_path / "noisy.py"
    path.write_text(_FLOW)
    return path


def _run(path: Path, redirected: str = "") -> subprocess.CompletedProcess[str]:
    command = f"exec {sys.executable} -m lokki run {path} {redirected}"
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=50
    )


def test_all_but_the_result_goes_to_stderr(noisy: Path) -> None:
    done = _run(noisy)
    assert (done.returncode, done.stdout) == (0, "the result\n"), done.stderr
    for writer in ("module", "flow", "step", "buffer", "descriptor", "child"):
        assert f"the {writer}'s\n" in done.stderr
    assert "the thread's" in done.stderr  # a line of ours may come before the end of this one


def test_the_flow_of_a_script_is_kept_off_stdout_too(noisy: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(noisy), "run"], capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stdout) == (0, "the module's\nthe result\n"), done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "2> >(exec true)"])
def test_a_stderr_that_takes_nothing_does_not_harm_the_run(printing: Path, closed: str) -> None:
    done = _run(printing, closed)
    assert (done.returncode, done.stdout) == (0, "the result\n"), done.stderr


def test_a_closed_stdout_does_not_harm_the_run(printing: Path) -> None:
    done = _run(printing, ">&-")
    assert done.returncode == 0, done.stderr
    assert "the step's" in done.stderr


@pytest.mark.parametrize(
    "use",
    [
        lambda stream: stream.readline(),
        lambda stream: next(stream),
        lambda stream: next(iter(stream)),
        lambda stream: stream.read(4),
    ],
)
def test_what_is_done_with_a_watched_stream_is_announced(use) -> None:
    announced = []
    stream = Watched(io.StringIO("one\ntwo\n"), lambda: announced.append("before"))
    assert announced == []
    assert use(stream) == "one\n"
    assert announced == ["before"]
