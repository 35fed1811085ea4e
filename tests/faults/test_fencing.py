"""A process that has lost its run changes nothing of it any more, large results included."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from lokki.store.references import Reference

ITEMS = 16
FLOW = f"""
import os, time
from lokki import RetryConfig, current, flow, main, step

@step
def numbers():
    return list(range({ITEMS}))

@step
def large(number):
    time.sleep(0.15)
    return os.getpid(), number, os.urandom(100_000)

@step(retry=RetryConfig(retries=1, delay=0.01))
def checked(row):
    if current().attempt == 1 and row[1] % 2:
        raise OSError("the first attempt fails, with a large input to keep")
    return row

@step
def pids(rows):
    return sorted({{row[0] for row in rows}})

@flow
def fenced():
    return numbers().map(large, concurrency_limit=2).next(checked).agg(pids)

if __name__ == "__main__":
    main(fenced)
"""


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)


class Stopped:
    """A run whose process is stopped in the midst of its map, for longer than its lease."""

    def __init__(self, folder: Path, journal: Path) -> None:
        self.script = folder / "fenced.py"
        self.journal = journal
        self.payloads = journal.parent / "payloads"
        self.script.write_text(textwrap.dedent(FLOW))
        self.process = self._start("run")
        wait_until(lambda: self._recorded() >= 3, "three items on disk")
        wait_until(self._stop, "a stop outside a transaction, which would keep all others out")

    def _stop(self) -> bool:
        """Stop the process, and let its lease be over, as time would."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(self.journal, timeout=0.2)) as connection:
                connection.execute("UPDATE runs SET leased_until = 1.0")
                connection.commit()
        except sqlite3.OperationalError:
            self.process.send_signal(signal.SIGCONT)
            return False
        return True

    def _start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(self.script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def call(self, *arguments: str) -> str:
        process = self._start(*arguments)
        out, err = process.communicate(timeout=50)
        assert process.returncode == 0, err
        return out

    def _recorded(self) -> int:
        rows = self._rows("SELECT succeeded FROM stages WHERE name = 'large'")
        return rows[0][0] if rows else 0

    def _rows(self, sql: str) -> list[tuple]:
        if not self.journal.exists():
            return []
        with (
            closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)) as connection,
            suppress(sqlite3.OperationalError),  # it is just being made
        ):
            return connection.execute(sql).fetchall()
        return []

    def refs(self) -> set[str]:
        rows = self._rows("SELECT ref FROM items WHERE ref IS NOT NULL")
        return {Reference.parse(ref).key for (ref,) in rows}

    def files(self) -> dict[str, bytes]:
        files = [path for path in self.payloads.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.payloads)): path.read_bytes() for path in files}

    def go_on(self) -> str:
        """Let the process go on to its end; what it has told."""
        self.process.send_signal(signal.SIGCONT)
        out, err = self.process.communicate(timeout=50)
        assert (self.process.returncode, out) == (1, ""), err
        return err


@pytest.fixture
def stopped(tmp_path, journal):
    run = Stopped(tmp_path, journal)
    yield run
    run.process.kill()
    run.process.communicate()


def test_a_late_process_changes_no_payload_of_a_run_that_was_finished_by_another(stopped):
    first = stopped.process.pid
    pids = stopped.call("resume", "last")
    assert str(first) in pids, "the results of the first process are kept"
    assert pids.count(",") == 1, "and those of the second"
    before, refs = stopped.files(), stopped.refs()
    assert len(refs) == ITEMS
    assert refs <= before.keys()
    assert "was taken over by another process" in stopped.go_on()
    after = stopped.files()
    assert {key: after[key] for key in refs} == {key: before[key] for key in refs}
    unrecorded = after.keys() - refs
    assert not {key for key in unrecorded if "/checked/" in key}, "a late result is left there"
    assert unrecorded <= before.keys()
    assert stopped.call("resume", "last", "--from", "pids") == pids


def test_a_run_that_was_removed_gets_no_files_back(stopped):
    with closing(sqlite3.connect(stopped.journal)) as connection:
        connection.execute("UPDATE runs SET status = 'failed', finished = 2.0, owner = NULL")
        connection.commit()
    stopped.call("gc", "--older-than", "1d")
    assert stopped.files() == {}
    assert "Traceback" not in stopped.go_on()
    assert stopped.files() == {}
    assert not list(stopped.payloads.rglob("*"))


def test_a_resume_from_a_stage_leaves_none_of_its_old_payloads(stopped):
    stopped.call("resume", "last")
    stopped.go_on()
    before = stopped.refs()
    for _ in range(2):
        stopped.call("resume", "last", "--from", "large")
    refs = stopped.refs()
    assert not refs & before
    last = {key.split("/")[4] for key in refs}
    assert len(last) == 1
    assert {key.split("/")[4] for key in stopped.files() if "/checked/" in key} == last
