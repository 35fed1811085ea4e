"""What a journal keeps of the times of schedules, also for several services at once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import count

import pytest

from lokki.store import schema
from lokki.store.jobs import Jobs, NewRun
from lokki.store.journal import Journal
from lokki.store.offers import Offer
from lokki.store.schedules import Due, Schedules, Ticks

OFFER = Offer(frozenset({"/f.py"}), "/venv", "/home/u")


@pytest.fixture
def schedules(opened):
    found = Schedules(opened)
    found.follow("f", "rate(1 minute)", 0.0).result()
    return found


@pytest.fixture
def ticked(schedules):
    """Deal with a time in one of two ways; gives what came of it."""
    ids = map("r{:05}".format, count())

    def deal(at, overlap="skip", row=None):
        new = NewRun(next(ids), "f", "/f.py:f", "p", "a", b"", "{}", at, "schedule")
        row = row or schedules.find("f")
        schedules.mark_processed(
            row, at, None, Due(new, OFFER, overlap == "skip", overlap == "queue", 5_000)
        ).result()
        return schedules.ticks("f", 1)[0]

    return deal


def test_a_time_is_dealt_with_by_one_of_two_services(schedules, ticked, opened):
    row = schedules.find("f")
    first = ticked(60.0, "allow", row)
    assert first == Ticks(60.0, 60.0, 1, "started", "r00000")
    assert ticked(60.0, "allow", row) == first
    assert [run.id for run in opened.history.runs()] == ["r00000"]
    assert schedules.find("f").run == "r00000"


def test_the_history_goes_back_a_thousand_rows(schedules, ticked):
    for minute in range(1, 1_011):
        ticked(minute * 60.0, "allow")
    kept = schedules.ticks("f", 5_000)
    assert len(kept) == 1_000
    assert (kept[0].run, kept[-1].run) == ("r01009", "r00010")


def test_a_run_that_was_resumed_is_in_the_way_too(schedules, ticked, opened):
    def end(run, now):
        opened.take(run, now).result()
        writer = opened.own(run, lambda error: None)
        opened.finish(run, "failed", now, None).result()
        opened.commits.release(writer)

    first = ticked(60.0).run
    assert ticked(120.0) == Ticks(120.0, 120.0, 1, "skipped", first)
    assert ticked(180.0) == Ticks(120.0, 180.0, 2, "skipped", first)
    end(first, 181.0)
    second = ticked(240.0).run
    end(second, 241.0)
    Jobs(opened).put_again(first, {}, 250.0, OFFER).result()
    assert ticked(300.0) == Ticks(300.0, 300.0, 1, "skipped", first)


def test_a_run_that_was_scheduled_by_an_earlier_lokki_is_in_the_way(journal, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:5])
        Journal(journal).close()
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute(
            "INSERT INTO runs (id, flow, fingerprint, shape, status, params, params_json, created,"
            " started_by) VALUES ('old', 'f', 'p', 'a', 'queued', x'', '{}', 1.0,"
            " 'schedule rate(1 minute)')"
        )
        connection.execute("INSERT INTO jobs (run, queued) VALUES ('old', 1.0)")
        connection.execute(
            "INSERT INTO schedules (flow, expression, since, last) VALUES ('f', 'x', 0.0, 1.0)"
        )
    with closing(Journal(journal)) as opened:
        schedules = Schedules(opened)
        new = NewRun("new", "f", "/f.py:f", "p", "a", b"", "{}", 60.0, "schedule")
        schedules.mark_processed(
            schedules.find("f"), 60.0, None, Due(new, OFFER, skips=True, in_turn=False, most=10)
        ).result()
        assert schedules.ticks("f", 5) == [Ticks(60.0, 60.0, 1, "skipped", "old")]
