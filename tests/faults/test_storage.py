"""Storage that fails: each a clear error without a traceback, and nothing recorded is lost."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import forking
import pytest

from lokki import JournalError, JournalVersionError
from lokki.store.journal import Journal
from lokki.store.schema import MIGRATIONS

FLOW = """
import os, time
from lokki import flow, main, step

@step
def numbers():
    return list(range({items}))

@step
def blob(number):
    {before}
    return os.urandom({size})

@step
def lengths(blobs):
    return sum(len(blob) for blob in blobs)

@flow
def blobs():
    return numbers().map(blob, concurrency_limit=1).agg(lengths)

if __name__ == "__main__":
    main(blobs)
"""


def _script(folder: Path, items: int = 20, size: int = 100_000, before: str = "pass") -> Path:
    script = folder / "blobs.py"
    text = FLOW.format(items=items, size=size, before=before)
    script.write_text(textwrap.dedent(text))
    return script


def _call(script: Path, *arguments: str, file_limit: int | None = None):
    if file_limit is None:
        return forking.done([str(script), *arguments])

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        timeout=50,
    )


def test_a_journal_that_can_grow_no_more_stops_the_run_and_keeps_what_is_recorded(
    tmp_path, journal
):
    # With pauses, since what is written at once is recorded or refused as a whole.
    script = _script(tmp_path, items=40, size=60_000, before="time.sleep(0.03)")
    full = _call(script, "run", file_limit=1_000_000)
    assert full.returncode == 1
    assert f"the journal {journal}: " in full.stderr
    assert "what was recorded is safe" in full.stderr
    assert "Traceback" not in full.stderr
    with closing(Journal(journal)) as opened:
        recorded = opened.history.stages(opened.history.find("last").id)[1].succeeded
    assert 0 < recorded < 40
    again = _call(script, "resume", "last")
    assert (again.returncode, again.stdout) == (0, f"{40 * 60_000}\n"), again.stderr


def test_a_payload_that_cannot_be_stored_fails_its_item_and_can_be_resumed(tmp_path):
    script = _script(tmp_path, items=3, size=3_000_000)
    full = _call(script, "run", file_limit=1_000_000)
    assert full.returncode == 1
    assert "step 'blob', item 0" in full.stderr
    assert "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    again = _call(script, "resume", "last")
    assert (again.returncode, again.stdout) == (0, "9000000\n"), again.stderr


@pytest.mark.parametrize("most", [0, 1_000, 4_096, 20_000, 60_000])
def test_a_journal_that_cannot_even_begin_is_reported_as_that(tmp_path, journal, most):
    script = _script(tmp_path, items=3, size=1_000)
    done = _call(script, "run", file_limit=most)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"the journal {journal}: disk I/O error; free some space there, or" in done.stderr
    assert "LOKKI_LOCAL_JOURNAL" in done.stderr
    assert "resume" not in done.stderr, "there is no run yet"
    assert "Traceback" not in done.stderr
    again = _call(script, "run")
    assert (again.returncode, again.stdout) == (0, "3000\n"), again.stderr


FULL_DISK = """
mount -t tmpfs -o size=1m tmpfs "$1"
head -c 2000000 /dev/zero > "$1/filler" 2>/dev/null
truncate -s -$2 "$1/filler"
mkdir "$1/lokki"
LOKKI_LOCAL_JOURNAL="$1/lokki/lokki.db" exec "$3" "$4" run
"""


@pytest.mark.parametrize("spare", ["0", "8k", "40k"])
def test_a_full_disk_at_the_very_first_start_is_reported_as_that(tmp_path, spare):
    disk = tmp_path / "disk"
    disk.mkdir()
    namespace = ["unshare", "--map-root-user", "--mount"]
    mount = [*namespace, "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if shutil.which("unshare") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    words = [str(disk), spare, sys.executable, str(_script(tmp_path))]
    command = [*namespace, "sh", "-c", FULL_DISK, "sh", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "its disk is full: free some space there, or set another path" in done.stderr
    assert "LOKKI_LOCAL_JOURNAL" in done.stderr
    assert "resume" not in done.stderr, "there is no run yet"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("where", ["/proc/nowhere/lokki.db", "/dev/null/lokki.db"])
def test_a_place_that_cannot_be_written_is_reported(tmp_path, monkeypatch, where):
    monkeypatch.setenv("LOKKI_LOCAL_JOURNAL", where)
    done = _call(_script(tmp_path), "run")
    assert done.returncode == 1
    assert where in done.stderr
    assert "LOKKI_LOCAL_JOURNAL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_journal_is_reported_and_left_alone(tmp_path, journal):
    journal.parent.mkdir()
    journal.write_bytes(b"this is not a database, but somebody's notes" * 100)
    done = _call(_script(tmp_path), "run")
    assert done.returncode == 1
    assert f"the journal {journal}: file is not a database" in done.stderr
    assert "Traceback" not in done.stderr
    assert journal.read_bytes().startswith(b"this is not")


def test_a_journal_with_damaged_pages_is_reported(tmp_path, journal):
    script = _script(tmp_path, items=30, size=20_000)
    assert _call(script, "run").returncode == 0
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("UPDATE runs SET status = 'failed'")
        connection.execute("UPDATE stages SET finished = NULL WHERE position = 2")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(journal, "r+b") as file:
        file.seek(4096 * 8)
        file.write(os.urandom(4096 * 20))
    done = _call(script, "resume", "last")
    assert done.returncode == 1
    assert "malformed" in done.stderr or "damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_payload_names_its_file(tmp_path, journal):
    ready = tmp_path / "ready"
    before = f"if number == 2: os.stat({str(ready)!r})"
    script = _script(tmp_path, items=3, size=100_000, before=before)
    assert _call(script, "run").returncode == 1
    stored = sorted((journal.parent / "payloads").rglob("0.pkl.gz"))
    (payload,) = stored
    content = bytearray(payload.read_bytes())
    content[5000] ^= 0xFF
    payload.write_bytes(content)
    ready.touch()
    done = _call(script, "resume", "last")
    assert done.returncode == 1
    assert "the result of step 'blob', item 0, cannot be read back" in done.stderr
    assert f"the payload {payload.as_uri()}: stored data is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    content[5000] ^= 0xFF
    payload.write_bytes(content)
    again = _call(script, "resume", "last")
    assert (again.returncode, again.stdout) == (0, "300000\n"), again.stderr


@pytest.mark.parametrize("wrong", ["exchanged", "missing"])
def test_a_payload_that_is_not_the_recorded_one_is_reported_and_made_anew(tmp_path, journal, wrong):
    script = _script(tmp_path, items=3, size=100_000)
    assert _call(script, "run").returncode == 0
    (payload,) = (journal.parent / "payloads").rglob("1.pkl.gz")
    (other,) = (journal.parent / "payloads").rglob("2.pkl.gz")
    if wrong == "exchanged":
        payload.write_bytes(other.read_bytes())
    else:
        payload.unlink()
    done = _call(script, "resume", "last", "--from", "lengths")
    assert done.returncode == 1
    assert "the result of step 'blob', item 1, cannot be read back: the payload" in done.stderr
    assert payload.as_uri() in done.stderr
    with closing(Journal(journal)) as opened:
        run_id = opened.history.find("last").id
    assert "resume it from stage 'blob', which makes it again" in done.stderr
    assert done.stderr.endswith(f"blobs.py resume {run_id} --from blob\n")
    assert "Traceback" not in done.stderr
    told = _call(script, "logs", run_id, "--level", "ERROR").stdout
    assert "lengths: the run failed: ResultUnreadable: the result of step 'blob', item 1" in told
    command = [sys.executable, "-m", "lokki", "resume", run_id, "--from", "blob"]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stdout) == (0, "300000\n"), again.stderr


@pytest.mark.parametrize("with_writer", [True, False], ids=["a folder each", "only keys"])
def test_references_of_an_older_lokki_are_read_on(tmp_path, journal, with_writer):
    script = _script(tmp_path, items=3, size=100_000)
    assert _call(script, "run").returncode == 0
    payloads = journal.parent / "payloads"
    with closing(sqlite3.connect(journal)) as connection:
        for item, ref in connection.execute("SELECT id, ref FROM items WHERE ref <> ''").fetchall():
            key, *checksum = ref.split(" ")
            *step, writer, item_name = key.split("/")
            index = item_name.removesuffix(".pkl.gz")
            folder = [*step, writer] if with_writer else step
            old = "/".join([*folder, index, "output.pkl.gz"])
            (payloads / old).parent.mkdir()
            (payloads / key).rename(payloads / old)
            old_ref = " ".join([old, *checksum]) if with_writer else old
            connection.execute("UPDATE items SET ref = ? WHERE id = ?", (old_ref, item))
        connection.commit()
    for stage in ("lengths", "blob"):
        again = _call(script, "resume", "last", "--from", stage)
        assert (again.returncode, again.stdout) == (0, "300000\n"), again.stderr


def test_a_journal_of_a_newer_schema_is_refused(journal):
    Journal(journal).close()
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(JournalVersionError, match="upgrade lokki"):
        Journal(journal)
    assert issubclass(JournalVersionError, JournalError)


def test_a_result_that_cannot_be_read_back_names_its_item_and_is_mended_by_new_code(tmp_path):
    script = tmp_path / "awkward.py"
    code = """
        from lokki import flow, main, step

        class Awkward(Exception):
            def __init__(self, told, kept{default}):
                super().__init__(told)

        @step
        def numbers(): return [1, 2, 3]
        @step
        def awkward(number): return Awkward("told", "kept") if number == 2 else number
        @step
        def count(values): return len(values)
        @flow
        def awkwardly(): return numbers().map(awkward).agg(count)

        main(awkwardly)
        """
    script.write_text(textwrap.dedent(code.format(default="")))
    done = _call(script, "run")
    assert done.returncode == 1
    assert "the result of step 'awkward' cannot be read back" in done.stderr
    assert "the run failed in step 'awkward', item 1" in done.stderr
    script.write_text(textwrap.dedent(code.format(default="=None")))
    again = _call(script, "resume", "last")
    assert (again.returncode, again.stdout) == (0, "3\n"), again.stderr
