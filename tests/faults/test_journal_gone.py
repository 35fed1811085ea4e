"""The journal's file is removed, moved or replaced under a run: never a success with no record."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from serving import Place, until

from lokki.errors import JournalGone
from lokki.store.journal import Journal
from lokki.store.schema import MIGRATIONS

FLOW = """
import asyncio
from pathlib import Path
from lokki import flow, main, step

@step
def numbers():
    return list(range(40))

@step
async def work(number, folder):
    if number >= 8:
        Path(folder, "waits").touch()
    while number >= 8 and not Path(folder, "go").exists():
        await asyncio.sleep(0.01)
    return number

@step
def total(values):
    return sum(values)

@flow
def watched(folder: str):
    return numbers().map(work, concurrency_limit=2, batch_size=1).agg(total)

if __name__ == "__main__":
    main(watched)
"""


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path, journal):
    """A run that has had eight items, and waits for a file called go."""
    script = tmp_path / "watched.py"
    script.write_text(textwrap.dedent(FLOW))
    process = start(script, "run", "--folder", str(tmp_path))
    wait_until((tmp_path / "waits").exists, "the ninth call")
    yield process
    process.kill()
    process.communicate()


def start(script: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def removed(journal: Path) -> None:
    for path in list(journal.parent.glob("lokki.db*")):
        path.unlink()


def removed_alone(journal: Path) -> None:
    journal.unlink()


def moved(journal: Path) -> None:
    journal.rename(journal.with_name("away.db"))


def folder_moved(journal: Path) -> None:
    journal.parent.rename(journal.parent.with_name("away"))


def replaced(journal: Path) -> None:
    other = journal.with_name("other.db")
    Journal(other).close()
    other.replace(journal)


def emptied(journal: Path) -> None:
    os.truncate(journal, 0)


def log_removed(journal: Path) -> None:
    journal.with_name("lokki.db-wal").unlink()


@pytest.mark.parametrize(
    "done", [removed, removed_alone, moved, folder_moved, replaced, emptied, log_removed]
)
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_run_whose_journal_is_gone_stops_and_says_so(run, tmp_path, journal, done, goes_on):
    done(journal)
    if goes_on:  # to its end at once; else it is to notice while it waits
        (tmp_path / "go").touch()
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (1, ""), err
    assert str(journal) in err
    assert "while it was in use" in err
    assert "Traceback" not in err


def test_a_journal_that_was_moved_has_all_that_was_recorded_and_is_resumed(run, tmp_path, journal):
    wait_until(lambda: succeeded(journal) == 8, "eight items on disk")
    moved(journal)
    (tmp_path / "go").touch()
    run.communicate(timeout=30)
    journal.with_name("away.db").rename(journal)
    assert succeeded(journal) >= 8
    again = start(tmp_path / "watched.py", "resume", "last")
    out, err = again.communicate(timeout=30)
    assert (again.returncode, out) == (0, f"{sum(range(40))}\n"), err


def succeeded(journal: Path) -> int:
    with closing(sqlite3.connect(journal)) as connection:
        rows = connection.execute("SELECT succeeded FROM stages WHERE kind = 'map'").fetchall()
    return rows[0][0] if rows else 0


def test_a_run_whose_log_was_removed_has_lost_nothing_and_is_resumed(run, tmp_path, journal):
    wait_until(lambda: succeeded(journal) == 8, "eight items on disk")
    log_removed(journal)
    (tmp_path / "go").touch()
    run.communicate(timeout=30)
    assert run.returncode == 1
    assert succeeded(journal) >= 8
    again = start(tmp_path / "watched.py", "resume", "last")
    out, err = again.communicate(timeout=30)
    assert (again.returncode, out) == (0, f"{sum(range(40))}\n"), err


def test_a_copy_is_no_loss(run, tmp_path, journal):
    shutil.copytree(journal.parent, tmp_path / "copy")
    (tmp_path / "go").touch()
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (0, f"{sum(range(40))}\n"), err


def test_a_journal_that_is_opened_twice_in_a_process_keeps_its_locks(journal):
    code = "import sys; from lokki.store.journal import Journal; Journal(sys.argv[1]).close()"
    with closing(Journal(journal)) as first, closing(Journal(journal)):
        subprocess.run([sys.executable, "-c", code, str(journal)], check=True)
        assert journal.with_name("lokki.db-wal").exists(), "removed under who has it open"
        assert first.history.runs() == []


def test_who_reads_a_journal_that_is_gone_is_reported(journal):
    with closing(Journal(journal)) as opened:
        assert opened.read("PRAGMA user_version") == [(len(MIGRATIONS),)]
        opened.commits.call("", lambda connection: None).result()  # its thread has opened it, too
        journal.unlink()
        with pytest.raises(JournalGone, match="was removed or moved away while it was in use"):
            opened.history.runs()


def test_a_journal_is_found_by_a_link_and_from_another_folder(tmp_path, monkeypatch):
    (tmp_path / "disk").mkdir()
    monkeypatch.chdir(tmp_path)
    Path("link.db").symlink_to(tmp_path / "disk" / "lokki.db")
    with closing(Journal("link.db")) as opened:
        monkeypatch.chdir("/")
        assert opened.history.runs() == []
        assert (tmp_path / "disk" / "lokki.db").stat().st_mode & 0o777 == 0o600
        log = tmp_path / "disk" / "lokki.db-wal"
        log.rename(tmp_path / "log")
        with pytest.raises(JournalGone, match=rf"{log} was removed or moved away"):
            opened.history.runs()
        (tmp_path / "log").rename(log)
        assert opened.history.runs() == []
        (tmp_path / "link.db").unlink()
        (tmp_path / "link.db").symlink_to(tmp_path / "other.db")
        (tmp_path / "other.db").touch()
        with pytest.raises(JournalGone, match=r"link.db was replaced by another file"):
            opened.history.runs()


def test_a_service_whose_journal_is_gone_ends_and_says_so(tmp_path, journal):
    place = Place(tmp_path)
    try:
        place.write("watched.py", textwrap.dedent(FLOW))
        server = place.serve("watched.py")
        server.start("watched", folder=str(tmp_path))
        until((tmp_path / "waits").exists, "the ninth call")
        runners = server.runners()
        assert runners
        removed(journal)
        (tmp_path / "go").touch()
        assert server.process.wait(40) == 1
        assert "while it was in use" in server.told
        assert "Traceback" not in server.told
        for runner in runners:
            until(lambda runner=runner: not alive(runner), "the end of the runner")
    finally:
        place.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
