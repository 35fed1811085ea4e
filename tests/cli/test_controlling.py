"""Pausing, continuing and tuning runs of this machine, each in a process of its own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from serving import until

from lokki.backends.local import opened

GATED = """
import time
from pathlib import Path
from lokki import flow, step

HERE = Path(__file__).parent

@step
def numbers():
    return list(range(30))

@step
def held(n):
    with open(HERE / "began", "a") as began:
        began.write(f"{n} ")
    while not (HERE / "open").exists():
        time.sleep(0.01)
    return n

@step
async def held_async(n):
    import anyio
    with open(HERE / "began", "a") as began:
        began.write(f"{n} ")
    while not (HERE / "open").exists():
        await anyio.sleep(0.01)
    return n

@step
def total(numbers):
    return sum(numbers)

@flow
def gated():
    return numbers().map(held, batch_size=1, concurrency_limit=2).agg(total)

@flow
def gated_async():
    return numbers().map(held_async, batch_size=1, concurrency_limit=2).agg(total)
"""


class Gate:
    """The gate of a folder's flow, and which items have begun."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "gated.py").write_text(GATED)

    @property
    def began(self) -> list[int]:
        file = self._folder / "began"
        return [int(each) for each in file.read_text().split()] if file.exists() else []

    @property
    def told(self) -> str:
        """What a run has written on stderr."""
        return (self._folder / "told").read_text()

    def run(self, start, *arguments):
        """A run of a flow in a process; until two calls run."""
        with (self._folder / "told").open("w") as told:
            process = start("run", *arguments, stderr=told)
        until(lambda: len(self.began) == 2, "two calls that run")
        return process

    def until_pausing(self) -> None:
        until(lambda: "pausing: waiting for the running calls" in self.told, "the pause")

    def open(self) -> None:
        (self._folder / "open").touch()

    def shut(self) -> None:
        (self._folder / "open").unlink()


@pytest.fixture
def gate(terminal):
    return Gate(terminal)


def _last():
    with opened() as backend:
        return backend.find("last")


@pytest.fixture
def paused(gate, start):
    """A run that is paused: its process, and the run; the gate is open."""
    process = gate.run(start, "gated.py:gated")
    pausing = start("pause", "last")
    assert "waiting for its calls to end" in pausing.stderr.readline()
    gate.until_pausing()
    gate.open()
    assert pausing.wait(30) == 0
    run = _last()
    assert run.status == "paused"
    return process, run.id


@pytest.mark.parametrize("flow", ["gated", "gated_async"])
def test_a_run_of_another_process_is_paused_tuned_and_continued(gate, start, done, flow):
    process = gate.run(start, f"gated.py:{flow}", "--concurrency", "3")
    pausing = start("pause", "last")
    assert "waiting for its calls to end" in pausing.stderr.readline()
    run = _last()
    assert run.status == "running"
    assert run.pause_requested
    assert "pausing" in done("show", "last")[1]

    gate.until_pausing()
    gate.open()
    _, told = pausing.communicate(timeout=30)
    assert told == f"run {run.id} is paused; continue: lokki unpause {run.id}\n"
    assert sorted(gate.began) == [0, 1]
    paused = _last()
    assert (paused.status, paused.stages[1].succeeded) == ("paused", 2)
    assert f"continue: lokki unpause {run.id}" in done("show", "last")[1]
    code, _, told = done("resume", "last")
    assert code == 1
    assert f"lokki unpause {run.id}" in told

    gate.shut()
    assert done("tune", "last", "--concurrency", "8")[1] == (
        f"map 'held{flow.removeprefix('gated')}' of run {run.id}: 8 at a time\n"
    )
    assert done("unpause", "last")[2] == f"run {run.id} continues\n"
    until(lambda: len(gate.began) == 10, "eight more calls that run")
    assert _last().status == "running"
    assert done("tune", "last", "--concurrency", "1")[1].endswith("1 at a time, not 8\n")
    gate.open()
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "435\n")
    assert sorted(gate.began) == list(range(30))
    for words in ("pausing: waiting for the running calls", "is paused", "continues"):
        assert gate.told.count(words) == 1
    code, _, told = done("pause", "last")
    assert (code, told) == (1, f"Error: run {run.id} has ended: it is succeeded\n")
    code, _, told = done("tune", "last", "--concurrency", "3")
    assert (code, told) == (1, f"Error: run {run.id} has ended: it is succeeded\n")


def test_a_paused_run_whose_process_is_killed_stays_paused_and_is_resumed(gate, paused, done):
    process, run_id = paused
    process.kill()
    process.wait()
    assert _last().status == "paused"
    code, _, told = done("unpause", "last")
    assert (code, told) == (
        1,
        f"Error: the process of run {run_id} is gone, so nothing can continue it: "
        f"lokki resume {run_id}\n",
    )
    assert done("resume", "last")[:2] == (0, "435\n")
    assert sorted(gate.began) == list(range(30))
    ended = _last()
    assert (ended.status, ended.pause_requested) == ("succeeded", None)


def test_ctrl_c_cancels_a_paused_run(gate, paused, done):
    process, _ = paused
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert _last().status == "cancelled"
    assert done("resume", "last")[1] == "435\n"
    assert sorted(gate.began) == list(range(30))
