"""The writer of a journal: what it does with lines; records and calls are in test_journal.py."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from contextlib import closing
from time import monotonic, sleep, time
from types import SimpleNamespace

import pytest

from lokki.errors import JournalError
from lokki.store import commits, sqlite
from lokki.store.journal import Journal
from lokki.store.leases import LEASE_SECONDS
from lokki.store.records import Opening
from lokki.store.rows import StageRow, stage_id


def never(error):
    raise error


def line(message):
    return (3.0, "b", None, 1, "INFO", "stdout", message)


def messages(journal):
    return [each.message for each in journal.history.lines("r1")]


@pytest.fixture
def patient(monkeypatch):
    """Lines wait for ever for more."""
    monkeypatch.setattr(commits, "_LINGER_SECONDS", 3600)


def test_lines_wait_for_one_another(patient, record, journal):
    record.run()
    writer = record.journal.own("r1", never)
    for number in range(100):
        writer.log(line(str(number)))
        sleep(0.001)  # as a step that prints now and then
    record.journal.flush("r1").result()
    assert messages(record.journal) == list(map(str, range(100)))
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT count FROM logs").fetchall() == [(100,)]


def test_records_wait_for_one_another(record, journal, monkeypatch):
    monkeypatch.setattr(commits, "_GATHER_SECONDS", 3600)
    record.run()
    number = record.journal.run("r1").number
    writer = record.journal.own("r1", never)
    with closing(sqlite3.connect(journal)) as connection:
        (before,) = connection.execute("PRAGMA data_version").fetchone()
        for position in range(20):
            at = stage_id(number, position), "r1", position, f"s{position}", "task", 3.0, None, 1
            writer.add(Opening(StageRow(*at)))
            sleep(0.001)  # as a run of short steps
            assert connection.execute("PRAGMA data_version").fetchone() == (before,)
        record.journal.flush("r1").result()
        assert connection.execute("PRAGMA data_version").fetchone() != (before,)
    assert len(record.journal.history.stages("r1")) == 20


def test_a_transaction_that_waits_for_another_process_looks_again_within_10_ms(
    record, journal, monkeypatch
):
    waits = []
    with closing(sqlite3.connect(journal, isolation_level=None, check_same_thread=False)) as other:

        def wait(seconds):
            waits.append(seconds)
            if len(waits) == 5:
                other.execute("ROLLBACK")

        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(sqlite, "time", SimpleNamespace(sleep=wait, monotonic=monotonic))
        record.journal.commits.call("", lambda ours: None).result(timeout=30)
    assert len(waits) == 5
    assert max(waits) <= 0.01


def test_a_journal_that_another_process_locks_for_a_long_time_is_reported(
    record, journal, monkeypatch
):
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(journal, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = record.journal.commits.call("", lambda ours: None)
        with pytest.raises(JournalError, match="another process has locked it for a long time"):
            begun.result(timeout=30)


def test_what_comes_while_another_process_writes_is_in_one_transaction(record, journal):
    record.run()
    opened = record.journal
    with closing(sqlite3.connect(journal, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = opened.commits.call("", lambda ours: ours.execute("UPDATE runs SET flow = 'new'"))
        sleep(0.1)  # it waits for the other one
        seen = opened.commits.call("", lambda ours: opened.run("r1").flow)
        other.execute("ROLLBACK")
        assert seen.result() != "new"  # to readers, until both are committed
    first.result()
    assert opened.run("r1").flow == "new"


def test_lines_wait_for_nothing_once_they_are_many(patient, record):
    record.run()
    writer = record.journal.own("r1", never)
    for number in range(20_000):
        writer.log(line(str(number)))
    assert len(writer.lines) <= 16_000


def test_lines_wait_not_longer_than_the_journal_is_open(patient, journal, record):
    record.run()
    with closing(Journal(journal)) as other:
        other.take("r1", time() + LEASE_SECONDS + 1).result()
        other.own("r1", never).log(line("last"))
    assert messages(record.journal) == ["last"]


def test_a_line_that_comes_while_lines_are_taken_is_written(record):
    """One that a thread adds just after the committer has seen that there are no more."""
    record.run()
    writer = record.journal.own("r1", never)
    thread = threading.Thread(target=writer.note, args=(line("second"),))

    class Busy(deque):
        def __bool__(self):
            more = len(self) > 0
            if not more and thread.ident is None:
                thread.start()
                thread.join(0.1)  # it waits for us now, unless it finds nothing to wait for
            return more

    writer.lines = Busy()
    writer.note(line("first"))
    record.journal.flush("r1").result()
    thread.join()
    record.journal.flush("r1").result()
    assert messages(record.journal) == ["first", "second"]


def test_a_run_that_is_lost_keeps_no_lines(record, journal):
    record.run()
    lost = threading.Event()
    writer = record.journal.own("r1", lambda error: lost.set())
    with closing(Journal(journal)) as other:
        other.take("r1", time() + LEASE_SECONDS + 1).result()
        while not lost.is_set():
            writer.log(line("before"))
        for _ in range(10):
            writer.log(line("after"))
        assert not writer.lines
        assert messages(other) == []


def test_a_late_line_drops_none_that_was_there_before_the_release(patient, record, monkeypatch):
    record.run()
    committer = record.journal.commits
    writer = record.journal.own("r1", never)
    held, released = threading.Event(), threading.Event()
    note_lines = committer.note_lines

    def late(of):
        held.set()
        assert released.wait(10)
        note_lines(of)

    monkeypatch.setattr(committer, "note_lines", late)
    thread = threading.Thread(target=writer.log, args=(line("late"),))
    thread.start()
    assert held.wait(10)
    monkeypatch.setattr(committer, "note_lines", note_lines)
    writer.log(line("before"))
    committer.release(writer)
    released.set()
    thread.join()
    record.journal.finish("r1", "succeeded", 4.0, None).result()
    assert messages(record.journal) == ["late", "before"]
