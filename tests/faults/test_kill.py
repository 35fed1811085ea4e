"""Real processes are killed in the middle of a run; resume loses and repeats nothing."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = 400
LANES = 4

FLOW = r"""
import time
import anyio
import lokki
from lokki import flow, main, step

@step
def numbers(count: int):
    return list(range(count))

{decorator}
{definition} work(number):
    attempt = lokki.current().attempt
    with open({calls!r}, "a") as calls:
        calls.write(f"{{number}} {{attempt}}\n")
    {pause}
    if number % 10 == 0 and attempt == 1:
        raise OSError("try again")
    return number + 1

@step
def total(values):
    return sum(values)

@flow
def killed(count: int = {items}):
    return numbers(count).map(work, concurrency_limit={lanes}).agg(total)

if __name__ == "__main__":
    main(killed)
"""

KINDS = {
    "thread": ("@step(retry={'retries': 1, 'delay': 0.01})", "def", "time.sleep(0.001)"),
    "process": (
        "@step(retry={'retries': 1, 'delay': 0.01}, executor='process')",
        "def",
        "time.sleep(0.001)",
    ),
    "async": (
        "@step(retry={'retries': 1, 'delay': 0.01})",
        "async def",
        "await anyio.sleep(0.001)",
    ),
}


class Killed:
    """A flow file that is run, killed and resumed."""

    def __init__(self, folder: Path, kind: str, journal: Path) -> None:
        decorator, definition, pause = KINDS[kind]
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        self.script = folder / "killed.py"
        self.journal = journal
        self.script.write_text(
            textwrap.dedent(FLOW).format(
                calls=str(self.calls_file),
                decorator=decorator,
                definition=definition,
                pause=pause,
                items=ITEMS,
                lanes=LANES,
            )
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(self.script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self) -> Counter[tuple[int, int]]:
        lines = self.calls_file.read_text().splitlines()
        return Counter((int(n), int(a)) for n, a in (line.split() for line in lines))

    def committed(self) -> set[int]:
        """The items of the map whose success is on disk."""
        with closing(sqlite3.connect(self.journal)) as connection:
            rows = connection.execute(
                "SELECT items.id & 4294967295 FROM items JOIN stages ON stages.id = items.id >> 32"
                " WHERE stages.position = 1 AND items.status = 'succeeded'"
            ).fetchall()
        return {index for (index,) in rows}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(120)
def test_kill_and_resume(tmp_path, journal, kind):
    run = Killed(tmp_path, kind, journal)
    chance = random.Random(kind)
    process = run.start("run")
    for _ in range(3):
        target = len(run.calls()) + chance.randrange(20, 120)
        while sum(run.calls().values()) < target and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before, done = run.calls(), run.committed()
        process = run.start("resume", "last")
        while run.calls() == before and process.poll() is None:
            time.sleep(0.001)
        repeated = {n for (n, a), c in (run.calls() - before).items()}
        assert not repeated & done, "an item whose outcome was committed ran again"
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == f"{sum(range(1, ITEMS + 1))}\n"
    calls = run.calls()
    assert {n for n, _ in calls} == set(range(ITEMS))
    assert not {n for (n, a), _ in (calls - before).items()} & done


def test_a_second_process_is_told_who_has_the_run(tmp_path, journal):
    run = Killed(tmp_path, "thread", journal)
    first = run.start("run", "--count", "100000")
    try:
        while not run.calls():
            time.sleep(0.001)
        second = run.start("resume", "last")
        _, err = second.communicate(timeout=30)
        assert second.returncode == 1
        assert f"is being run by process {first.pid} on " in err
        assert "Traceback" not in err
    finally:
        first.kill()
        first.communicate()


def test_ctrl_c_records_and_says_how_to_go_on(tmp_path, journal):
    run = Killed(tmp_path, "thread", journal)
    process = run.start("run")
    while len(run.calls()) < 20:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == ""
    assert f"python {run.script} resume " in err
    assert "Traceback" not in err
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT status, owner FROM runs").fetchall() == [
            ("cancelled", None)
        ]
    done, before = run.committed(), run.calls()
    resumed = run.start("resume", "last")
    out, _ = resumed.communicate(timeout=60)
    assert out == f"{sum(range(1, ITEMS + 1))}\n"
    assert not {n for n, _ in run.calls() - before} & done


def test_a_second_ctrl_c_exits_at_once(tmp_path):
    script = tmp_path / "stuck.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import threading
            from lokki import flow, main, step

            @step
            def stuck():
                open({str(tmp_path / "began")!r}, "w").close()
                threading.Event().wait()

            @flow
            def forever():
                return stuck()

            main(forever)
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script), "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "began").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "cancelling" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_workers_die_with_their_engine(tmp_path, journal):
    script = tmp_path / "orphans.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, time
            from lokki import flow, main, step

            @step(executor="process")
            def stuck():
                with open({str(tmp_path / "pid")!r}, "w") as file:
                    file.write(f"{{os.getpid()}}\\n")
                time.sleep(600)

            @flow
            def forever():
                return stuck()

            main(forever)
            """
        )
    )
    process = subprocess.Popen([sys.executable, str(script), "run"], stderr=subprocess.PIPE)
    pid_file = tmp_path / "pid"
    while not (pid_file.exists() and pid_file.read_text().endswith("\n")):
        time.sleep(0.001)
    process.kill()
    process.communicate()
    worker = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while _alive(worker):
        assert time.monotonic() < deadline, "the worker outlived its engine"
        time.sleep(0.005)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
