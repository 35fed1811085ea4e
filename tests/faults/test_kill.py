"""Real processes are killed in the middle of a run; resume loses and repeats nothing."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from journals import EVERY_ITEM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ITEMS = 400
LANES = 4
CALL_SECONDS = 0.05
"""Longer than a slice, even one of an async lane (which lasts the turns of the others, too): a lane
claims one item at a time.
"""
CALLS_PER_COMMIT = 3
"""How many calls a lane may end while one commit is written: it may take 150 ms."""
MOST_LOST = LANES * (1 + 2 * CALLS_PER_COMMIT)
"""Calls that a kill may cost. Of each lane: the one in flight, those whose outcomes are in the
commit that is being written, and those that have ended since and wait for the next one. A commit
takes all that waits (here never near the thousands of rows that one holds), so there is no third.
"""

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
    "thread": ("@step(retry={'retries': 1, 'delay': 0.01})", "def", f"time.sleep({CALL_SECONDS})"),
    "process": (
        "@step(retry={'retries': 1, 'delay': 0.01}, executor='process')",
        "def",
        f"time.sleep({CALL_SECONDS})",
    ),
    "async": (
        "@step(retry={'retries': 1, 'delay': 0.01})",
        "async def",
        f"await anyio.sleep({CALL_SECONDS})",
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

    def recorded(self) -> tuple[set[int], set[tuple[int, int]]]:
        """What is on disk: the items of the map that succeeded; the calls with an outcome."""
        with closing(sqlite3.connect(self.journal)) as connection:
            succeeded = connection.execute(
                f"SELECT items.id & 4294967295, attempts FROM {EVERY_ITEM}"
                " JOIN stages ON stages.id = items.id >> 32"
                " WHERE stages.position = 1 AND items.status = 'succeeded'"
            ).fetchall()
            failed = connection.execute(
                "SELECT item & 4294967295, attempt FROM failures WHERE step = 'work'"
            ).fetchall()
        return {index for index, _ in succeeded}, {*succeeded, *failed}


EVERY_CALL = Counter([(n, 1) for n in range(ITEMS)] + [(n, 2) for n in range(0, ITEMS, 10)])
"""What runs without a kill: every item once, every tenth again, since it fails at first."""


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.001)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(120)
def test_kill_and_resume(tmp_path, journal, kind):
    run = Killed(tmp_path, kind, journal)
    chance = random.Random(kind)
    before: Counter[tuple[int, int]] = Counter()
    lost: Counter[tuple[int, int]] = Counter()
    done: set[int] = set()
    settled: set[tuple[int, int]] = set()

    def check_nothing_repeated() -> Counter[tuple[int, int]]:
        """No call since the last kill is one that had its outcome on disk at that kill."""
        calls = run.calls()
        new = calls - before
        assert not {n for n, _ in new} & done, "an item that had succeeded ran again"
        assert not set(new) & settled, "a call whose outcome was committed was made again"
        return calls

    process = run.start("run")
    for _ in range(3):
        target = before.total() + chance.randrange(80, 120)
        wait_until(
            lambda most=target, process=process: (
                run.calls().total() >= most or process.poll() is not None
            ),
            "enough calls to kill the run in their midst",
        )
        process.kill()
        process.communicate()  # to the end of stderr, which the workers have, too: they are gone
        assert process.returncode == -signal.SIGKILL
        calls = check_nothing_repeated()
        done, settled = run.recorded()
        cost = Counter({call: n for call, n in (calls - before).items() if call not in settled})
        assert cost.total() <= MOST_LOST
        assert not cost or max(cost.values()) == 1, "a call was made twice in one process"
        lost += cost
        before = calls
        process = run.start("resume", "last")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == f"{sum(range(1, ITEMS + 1))}\n"
    assert check_nothing_repeated() == EVERY_CALL + lost


LARGE_FLOW = r"""
import random
import time
from lokki import flow, main, step

def noise(number):
    return random.Random(number).randbytes(300_000)

@step
def numbers():
    return list(range(100))

@step{executor}
def large(number):
    with open({calls!r}, "a") as calls:
        calls.write(f"{{number}}\n")
    time.sleep(0.05)
    return noise(number)

@step
def agree(results):
    return all(noise(number) == result for number, result in enumerate(results))

@flow
def heavy():
    return numbers().map(large, concurrency_limit=8).agg(agree)

if __name__ == "__main__":
    main(heavy)
"""


@pytest.mark.parametrize("executor", ["", "(executor='process')"])
def test_a_kill_amid_writes_of_large_results_loses_none_that_is_recorded(
    tmp_path, journal, executor
):
    script, calls = tmp_path / "heavy.py", tmp_path / "calls"
    script.write_text(LARGE_FLOW.format(calls=str(calls), executor=executor))

    def start(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def recorded() -> set[int]:
        if not journal.exists():
            return set()
        with closing(sqlite3.connect(journal)) as connection, suppress(sqlite3.OperationalError):
            rows = connection.execute("SELECT id & 4294967295 FROM items WHERE ref <> ''")
            return {index for (index,) in rows}
        return set()

    process, done = start("run"), set[int]()
    for most in (8, 24, 40):
        wait_until(lambda most=most: len(recorded()) >= most, "results on disk")
        process.kill()
        process.communicate()
        assert not done & set(map(int, calls.read_text().splitlines()))
        done = recorded()
        calls.write_text("")
        process = start("resume", "last")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "True\n"), err
    assert not done & set(map(int, calls.read_text().splitlines()))


SET_FLOW = r"""
import threading
from pathlib import Path
from lokki import flow, main, step

FOLDER = Path({folder!r})

@step
def names():
    return {{f"name {{n}}" for n in range(60)}}

@step
def work(name):
    calls = FOLDER / "calls"
    with open(calls, "a") as file:
        file.write(name + "\n")
    if len(calls.read_text().splitlines()) == 30:
        (FOLDER / "thirtieth").write_text(name)
        {ending}
    return name.upper()

@step
def gathered(names):
    return "\n".join(sorted(names))

@flow
def over_a_set():
    return names().map(work, concurrency_limit=1, batch_size=1).agg(gathered)

if __name__ == "__main__":
    main(over_a_set)
"""


@pytest.mark.parametrize("ending", ["raise OSError('broken')", "threading.Event().wait()"])
def test_a_set_is_a_source_in_the_same_order_in_another_process(tmp_path, journal, ending):
    script, thirtieth = tmp_path / "over_a_set.py", tmp_path / "thirtieth"
    script.write_text(SET_FLOW.format(folder=str(tmp_path), ending=ending))

    def start(seed: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def recorded() -> int:
        with closing(sqlite3.connect(journal)) as connection:
            return connection.execute(f"SELECT count(*) FROM {EVERY_ITEM}").fetchone()[0]

    first = start("1", "run")
    if "raise" in ending:
        first.communicate(timeout=30)
        assert first.returncode == 1
    else:
        wait_until(lambda: thirtieth.exists() and thirtieth.read_text(), "the thirtieth call")
        wait_until(lambda: recorded() == 1 + 29, "the names and the first 29 on disk")
        first.kill()
        first.communicate()
    second = start("2", "resume", "last")
    out, err = second.communicate(timeout=30)
    assert second.returncode == 0, err
    names = sorted(f"name {n}" for n in range(60))
    assert out.splitlines() == [name.upper() for name in names]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sorted(calls) == sorted([*names, thirtieth.read_text()])


def test_a_second_process_is_shown_who_has_the_run(tmp_path, journal):
    run = Killed(tmp_path, "thread", journal)
    first = run.start("run", "--count", "100000")
    try:
        wait_until(run.calls, "the first call")
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
    wait_until(lambda: run.calls().total() >= 20, "twenty calls")
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
    assert run.calls().keys() == run.recorded()[1]
    resumed = run.start("resume", "last")
    out, _ = resumed.communicate(timeout=60)
    assert out == f"{sum(range(1, ITEMS + 1))}\n"
    assert run.calls() == EVERY_CALL


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
    wait_until((tmp_path / "began").exists, "the step")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("cancelling" in line for line in iter(process.stderr.readline, ""))
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
    wait_until(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), "the worker")
    process.kill()
    process.communicate()
    worker = int(pid_file.read_text())
    wait_until(lambda: not _alive(worker), "the end of the worker whose engine is gone", 10)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # before, or while it is read
        return False
