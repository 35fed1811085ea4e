"""A journal is copied to another place, whatever is in it."""

from __future__ import annotations

import time
from contextlib import closing

import pytest
from journals import ask

from lokki import JournalError
from lokki.model.attachment import MARKDOWN, Shown
from lokki.postgres_url import PostgresUrl
from lokki.rate import Rate
from lokki.store.copying import TABLES, copy
from lokki.store.jobs import Jobs, NewRun
from lokki.store.journal import Journal
from lokki.store.limits import reserve
from lokki.store.offers import Offer
from lokki.store.schedules import Schedules, Ticks


@pytest.fixture
def other(postgres) -> PostgresUrl:
    return postgres.journal()


def fill(record) -> None:
    """Rows in every table, of some more than are copied at a time."""
    for run_id in ("r1", "r2"):
        record.run(run_id, at=100.0)
        statuses = dict.fromkeys(range(1_200), "succeeded") | dict.fromkeys(range(600), "failed")
        record.stage(run_id, statuses, 1_300, errors={1: [("E", "nul \0", "1"), ("E", "2", "2")]})
        record.lines(run_id, (3.0, "b", 1, 2, "INFO", "stdout", "hello"))
        record.shown(run_id, Shown("b", 3, 1, 0, 2.0, "nul \0", MARKDOWN, 5, b"hello"))
        record.journal.finish(run_id, "failed", 9.0, "{}").result()
    new = NewRun("r3", "f", "f.py:f", "p", "[]", b"\0", "{}", 101.0, "me")
    Jobs(record.journal).put(new, Offer({"f.py"}, "python", "/"), key="k", body="b").result()
    schedules = Schedules(record.journal)
    schedules.follow("f", "rate(1 day)", 1.0).result()
    row = schedules.find("f")
    assert row is not None
    schedules.mark_processed(row, 2.0, Ticks(1.5, 2.0, 3, "missed"), None).result()
    reserve(record.journal, "api", Rate(5, 1), 2, 100.0).result()


def everything(place) -> dict[str, list[tuple]]:
    """The rows of all tables, in their order, without the keys that only order them."""
    with closing(Journal(place)) as book:
        return {
            table: book.read(f"SELECT * FROM {table} ORDER BY {key}")
            if key != "rowid"
            else book.read(
                "SELECT item, step, attempt, at, type, reason, traceback, grp, whole"
                " FROM failures ORDER BY rowid"
            )
            for table, key in TABLES.items()
        }


def test_a_journal_is_copied_to_a_server_and_back(record, journal, other, tmp_path):
    fill(record)
    before = everything(journal)
    assert all(before.values()), "a table without a row shows nothing"
    assert copy(journal, other) == 3
    assert everything(other) == before
    back = tmp_path / "back" / "lokki.db"
    assert copy(other, back) == 3
    assert everything(back) == before
    for place in (other, back):  # and it goes on, with new numbers
        with closing(Journal(place)) as book:
            record.journal = book
            assert book.take("r1", time.time()).result(30).number == 1
            book.finish("r1", "failed", 10.0, None).result(30)
            assert book.run(record.run("r4")).number == 4
            record.lines("r4", (3.0, "b", 1, 2, "INFO", "stdout", "hello"))


def test_every_table_is_copied(record, journal):
    names = ask(journal, "SELECT name FROM sqlite_master WHERE type = 'table'")
    left_out = {"sqlite_sequence", "places"}  # of processes that are at work elsewhere
    assert {name for (name,) in names} - left_out == set(TABLES)


def test_what_cannot_be_copied_is_refused_and_nothing_is_left(record, journal, other, tmp_path):
    with pytest.raises(JournalError, match="no runs to copy"):
        copy(tmp_path / "none.db", other)
    assert not (tmp_path / "none.db").exists()
    record.run("r1", at=time.time())
    with pytest.raises(JournalError, match="run r1 is being run by process"):
        copy(journal, other)
    record.journal.finish("r1", "failed", 9.0, None).result()
    assert copy(journal, other) == 1
    with pytest.raises(JournalError, match="has runs: copy to one without any"):
        copy(journal, other)
    assert ask(other, "SELECT count(*) FROM runs") == [(1,)]
