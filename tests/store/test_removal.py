"""Which runs may be removed."""

from __future__ import annotations

import time

import pytest

from lokki.store.leases import LEASE_SECONDS
from lokki.store.outcomes import Outcomes
from lokki.store.removal import may_go
from lokki.store.spans import Span

NOW = 100 * LEASE_SECONDS


@pytest.fixture
def runs(record):
    """Five runs, the newest first: one at work, one lost, three that have ended."""
    for at, status in enumerate(["succeeded", "failed", "cancelled"]):
        record.run(status, at=10.0 * at, status=status)
    record.run("lost", at=30.0)
    record.run("working", at=time.time())
    return record.journal.history.runs


def gone(runs, **limits):
    limits = {"older_than": None, "keep": None, **limits}
    return [run.id for run in may_go(runs(), NOW, **limits)]


def test_what_has_ended_before_a_time_goes(runs):
    assert gone(runs, older_than=12.0) == ["failed", "succeeded"]
    assert gone(runs, older_than=11.0) == ["succeeded"]
    assert gone(runs, older_than=1.0) == []


def test_a_run_that_has_not_ended_goes_by_its_last_sign_of_life(runs):
    assert gone(runs, older_than=30.0) == ["cancelled", "failed", "succeeded"]
    assert gone(runs, older_than=30.1) == ["lost", "cancelled", "failed", "succeeded"]


def test_the_newest_stay_and_with_no_time_what_has_not_ended(runs):
    assert gone(runs, keep=0) == ["cancelled", "failed", "succeeded"]
    assert gone(runs, keep=3) == ["failed", "succeeded"]
    assert gone(runs, keep=4, older_than=50.0) == ["succeeded"]
    assert gone(runs, keep=0, older_than=12.0) == ["failed", "succeeded"]


def test_what_a_process_is_at_work_on_stays(runs):
    assert "working" not in gone(runs, older_than=2 * time.time())
    assert "working" not in gone(runs, keep=0)


def test_what_has_begun_to_go_goes_when_nobody_is_at_it(runs, opened):
    assert opened.begin_removal("failed", NOW).result()
    assert gone(runs, keep=5, older_than=0.0) == []
    later = NOW + LEASE_SECONDS
    gone_later = may_go(runs(), later, older_than=0.0, keep=5)
    assert [run.id for run in gone_later] == ["failed"]


def test_a_lost_run_goes_by_its_latest_outcome(runs, record):
    stage = record.stage("lost", {}, 2)
    writer = record.journal.own("lost", lambda error: None)
    writer.add(Outcomes(stage.id, (1, 0, 0, 0), [Span.of(0, 40.0, [50.0], [(b"",)])]))
    record.journal.flush("lost").result()
    record.journal.commits.release(writer)
    assert "lost" not in gone(runs, older_than=50.0)
    assert "lost" in gone(runs, older_than=50.1)
