"""Migrations: a journal that an earlier version wrote is brought up to date, and read."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from time import time

import pytest

from lokki import JournalError, JournalVersionError
from lokki.store.connection import open_database
from lokki.store.groups import group
from lokki.store.history import read_history
from lokki.store.jobs import Jobs, NewRun
from lokki.store.journal import Journal
from lokki.store.leases import LEASE_SECONDS
from lokki.store.lines import LogLine
from lokki.store.offers import Offer
from lokki.store.rows import item_range, run_range, stage_id
from lokki.store.schema import MIGRATIONS, migrate

TRACE = 'Traceback (most recent call last):\n  File "/home/u/birds.py", line 7, in flap\n'


@pytest.fixture
def first_version(journal):
    """A journal of schema version 1: a failed run with 1 failed, 2 tolerated and 1 retrying."""
    journal.parent.mkdir()
    stage = stage_id(1, 0)
    key = stage << 32
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.executescript(MIGRATIONS[0])
        connection.execute("PRAGMA user_version = 1")
        connection.execute(
            "INSERT INTO runs VALUES (1, 'r1', 'birds', NULL, 'p', 'map(flap)', 'failed', x'',"
            " '{}', 1.0, 1.0, 9.0, '{}', NULL, NULL)"
        )
        connection.execute(
            "INSERT INTO stages VALUES (?, 'r1', 0, 'flap', 'map', 1.0, NULL, 8, 2, 1, 2, 1)",
            (stage,),
        )
        statuses = ["succeeded", "tolerated", "tolerated", "failed", "succeeded", "retrying"]
        connection.executemany(
            "INSERT INTO items VALUES (?, ?, 0, 1, 1.0, 2.0, NULL, NULL)",
            [(key | index, status) for index, status in enumerate(statuses)],
        )
        connection.executemany(
            "INSERT INTO failures VALUES (?, 'flap', 1, 2.0, ?, ?, ?)",
            [
                (key | 1, "ValueError", "no 1", TRACE),
                (key | 2, "ValueError", "no 2", TRACE),
                (key | 3, "KeyError", "'é'", ""),
                (key | 5, "OSError", "busy", TRACE),
            ],
        )
        connection.execute("INSERT INTO events VALUES (1, 'r1', 1.0, 'run_started', NULL, NULL)")
        connection.execute(
            "INSERT INTO logs VALUES (1, 'r1', 2.0, 'flap', 0, 1, 'INFO', 'stdout', 'hello')"
        )
    return journal


def test_a_journal_of_the_first_version_is_read_with_its_failures(first_version):
    with read_history(first_version) as history:
        (run,) = history.runs()
        assert (run.id, run.status, run.finished) == ("r1", "failed", 9.0)
        assert (run.started_by, run.cancel_requested) == (None, None)
        (stage,) = history.stages("r1")
        assert history.troubled(stage) == {"tolerated": 2, "failed": 1, "retrying": 1}
        tolerated, failed, _ = sorted(history.groups(stage), key=lambda group: group.retrying)
        assert tolerated.id == group("ValueError", "no 1", TRACE)
        assert (tolerated.items, tolerated.tolerated_count) == ([1, 2], 2)
        assert (failed.id, failed.items) == (group("KeyError", "'é'", ""), [3])
        cells = history.strip(stage, 8)
        assert [next(iter(+cell)) for cell in cells] == [
            *("succeeded", "tolerated", "tolerated", "failed", "succeeded", "cancelled"),
            *("pending", "pending"),
        ]
        assert list(history.lines("r1", level="INFO", item=0, since=2.0, until=2.0)) == [
            LogLine(1 << 10, 2.0, "flap", 0, 1, "INFO", "stdout", "hello")
        ]
        for other in ({"level": "WARNING"}, {"item": 1}, {"since": 2.1}, {"until": 1.9}):
            assert list(history.lines("r1", **other)) == []


def test_idempotency_keys_of_before_are_those_of_their_flows(tmp_path):
    journal = tmp_path / "lokki.db"
    with closing(sqlite3.connect(journal)) as connection, connection:
        for name, count in (("lokki_group", 3), ("lokki_rank", 1), ("lokki_lines", 7)):
            connection.create_function(name, count, lambda *values: "")
        for script in MIGRATIONS[:5]:
            connection.executescript(script)
        connection.execute("PRAGMA user_version = 5")
        connection.execute(
            "INSERT INTO runs (id, flow, fingerprint, shape, status, params, params_json, created)"
            " VALUES ('r1', 'birds', 'p', 's', 'succeeded', x'', '{}', 1.0)"
        )
        connection.execute("INSERT INTO requests VALUES ('k', 'asked', 'r1')")
    with closing(Journal(journal)) as opened:
        jobs, offer = Jobs(opened), Offer(frozenset({"/f.py"}), "/venv", "/home/u")
        found = [
            jobs.put(
                NewRun(run_id, flow, f"/f.py:{flow}", "p", "s", b"", "{}", 2.0, "me"),
                offer,
                key="k",
                body="asked",
            )
            .result()
            .id
            for run_id, flow in (("r2", "birds"), ("r3", "fish"))
        ]
    assert found == ["r1", "r3"]


def test_a_journal_that_an_older_lokki_works_on_is_left(first_version):
    owner = f"{socket.gethostname()}:{os.getppid()}:0000"
    with closing(sqlite3.connect(first_version)) as connection, connection:
        connection.execute(
            "UPDATE runs SET status = 'running', owner = ?, leased_until = ?",
            (owner, time() + LEASE_SECONDS),
        )
    with pytest.raises(JournalError, match=rf"process {os.getppid()} on .* working on run r1"):
        Journal(first_version)
    with closing(sqlite3.connect(first_version)) as connection, connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        connection.execute("UPDATE runs SET leased_until = 1.0")
    Journal(first_version).close()


def test_an_owner_elsewhere_whose_clock_was_ahead_keeps_a_journal_from_no_newer_lokki(
    first_version,
):
    def sets(until):
        with closing(sqlite3.connect(first_version)) as connection, connection:
            connection.execute(
                "UPDATE runs SET status = 'running', owner = 'elsewhere:1:abcd', leased_until = ?",
                (until,),
            )

    sets(time() + 7_200)
    with pytest.raises(JournalError, match="process 1 on elsewhere"):
        Journal(first_version)
    with closing(sqlite3.connect(first_version)) as connection:
        ((until,),) = connection.execute("SELECT leased_until FROM runs").fetchall()
    assert until <= time() + LEASE_SECONDS
    sets(time())
    Journal(first_version).close()


def test_a_journal_of_the_first_version_is_written_on(first_version):
    with closing(Journal(first_version)) as book:
        book.take("r1", 20.0).result()
        assert book.request_cancel("r1", 21.0).result()
        book.finish("r1", "cancelled", 22.0, None).result()
        assert book.run("r1").status == "cancelled"
        assert book.begin_removal("r1", 30.0).result()
        book.remove("r1").result()
        assert book.history.runs() == []


def test_a_migrated_journal_has_the_schema_of_a_new_one(first_version, tmp_path):
    def schema(path):
        Journal(path).close()
        with closing(sqlite3.connect(path)) as connection:
            names = connection.execute("SELECT type, name FROM sqlite_master ORDER BY 2").fetchall()
            tables = [name for kind, name in names if kind == "table"]
            return names, [
                connection.execute(f"PRAGMA table_info({table})").fetchall() for table in tables
            ]

    assert schema(first_version) == schema(tmp_path / "new.db")


@pytest.mark.parametrize("opening", [Journal, lambda path: read_history(path).__enter__()])
def test_a_journal_of_a_newer_version_is_refused_and_left(journal, opening):
    Journal(journal).close()
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute(f"PRAGMA user_version = {newer}")
    with pytest.raises(JournalVersionError, match=f"schema version {newer}, .* upgrade lokki"):
        opening(journal)
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newer,)


def test_migrating_twice_changes_nothing(journal):
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, journal)
        before = connection.execute("SELECT sql FROM sqlite_master").fetchall()
        migrate(connection, journal)
        assert connection.execute("SELECT sql FROM sqlite_master").fetchall() == before


def test_the_keys_of_a_runs_items_are_within_its_range_alone():
    for number in (1, 2, 70_000):
        first, last = run_range(number)
        assert item_range(stage_id(number, 0))[0] == first
        assert item_range(stage_id(number, 255))[1] == last
        assert run_range(number + 1)[0] == last + 1


@pytest.mark.parametrize("version", [0, 7])
@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("table", ["birds (name TEXT)", "runs (id TEXT, flow TEXT, status TEXT)"])
def test_the_database_of_another_program_is_refused_and_not_changed(
    journal, version, create, table
):
    journal.parent.mkdir()
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute(f"CREATE TABLE {table}")
        connection.execute(f"PRAGMA user_version = {version}")
    before = journal.read_bytes()
    with pytest.raises(JournalError, match="is the database of another program, not a journal"):
        open_database(journal, create=create)
    assert journal.read_bytes() == before
